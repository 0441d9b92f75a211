"""The errors that a report raises."""

from conceptprobe.errors import ConceptProbeError


class ReportError(ConceptProbeError):
    """A report cannot be written as requested, or its inputs do not belong together."""
