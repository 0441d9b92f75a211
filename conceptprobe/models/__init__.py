"""Any ViT or CNN behind one interface, with named layers that can be captured and changed."""

from conceptprobe.models.errors import ModelError, SpecError, UnknownLayerError, WeightsError
from conceptprobe.models.layers import Layer, Tokens
from conceptprobe.models.loading import ModelLike, as_model, list_models, load_model
from conceptprobe.models.vision_model import VisionModel

__all__ = [
    "Layer",
    "ModelError",
    "ModelLike",
    "SpecError",
    "Tokens",
    "UnknownLayerError",
    "VisionModel",
    "WeightsError",
    "as_model",
    "list_models",
    "load_model",
]
