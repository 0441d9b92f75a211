"""Errors of concepts, scores, names and contrasts."""

from conceptprobe.errors import ConceptProbeError


class ConceptError(ConceptProbeError):
    """Concepts cannot be made, do not fit an index, or a setting of theirs is out of range."""


class ContrastError(ConceptError):
    """Models cannot be compared by their indices."""
