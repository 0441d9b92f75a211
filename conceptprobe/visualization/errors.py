"""What can go wrong in visualizing."""

from conceptprobe.errors import ConceptProbeError


class VisualizeError(ConceptProbeError):
    """A visualization cannot be made as asked."""
