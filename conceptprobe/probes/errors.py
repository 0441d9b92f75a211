"""What can go wrong in probing."""

from conceptprobe.errors import ConceptProbeError


class ProbeError(ConceptProbeError):
    """A probe cannot run as asked."""
