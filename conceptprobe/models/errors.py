"""What can go wrong with a model through a user's doing."""

from conceptprobe.errors import ConceptProbeError


class ModelError(ConceptProbeError):
    """A model was asked for something that it does not have or cannot do."""


class SpecError(ModelError):
    """A model spec cannot be read, or names an architecture that is not known."""


class WeightsError(ModelError):
    """Weights cannot be found, or do not fit the architecture."""


class UnknownLayerError(ModelError):
    """A layer name fits no layer of the model."""
