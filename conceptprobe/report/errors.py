"""What can go wrong in a report."""

from conceptprobe.errors import ConceptProbeError


class ReportError(ConceptProbeError):
    """A report cannot be written as asked, or what was given to it does not belong together."""
