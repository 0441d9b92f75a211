"""Errors about models that a user can cause."""

from conceptprobe.errors import ConceptProbeError


class ModelError(ConceptProbeError):
    """A model lacks what was requested or cannot do it."""


class SpecError(ModelError):
    """A model spec cannot be parsed or names an unknown architecture."""


class WeightsError(ModelError):
    """Weights cannot be found or do not fit the architecture."""


class UnknownLayerError(ModelError):
    """A layer name matches no layer of the model."""
