"""Errors of concepts, scores, names and contrasts."""

from conceptprobe.errors import ConceptProbeError


class ConceptError(ConceptProbeError):
    """Concepts cannot be made of what was given, or do not fit an index."""


class ContrastError(ConceptError):
    """Models cannot be compared by the indices that were given."""
