"""Errors of visualizations."""

from conceptprobe.errors import ConceptProbeError


class VisualizeError(ConceptProbeError):
    """A visualization is not possible with these objectives or settings, or cannot be read."""
