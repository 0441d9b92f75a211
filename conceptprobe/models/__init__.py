"""Any ViT or CNN behind one face: named layers, captured and changed."""

from conceptprobe.models.errors import ModelError, SpecError, UnknownLayerError, WeightsError
from conceptprobe.models.layers import Layer, Tokens
from conceptprobe.models.loading import list_models, load_model
from conceptprobe.models.vision_model import VisionModel

__all__ = [
    "Layer",
    "ModelError",
    "SpecError",
    "Tokens",
    "UnknownLayerError",
    "VisionModel",
    "WeightsError",
    "list_models",
    "load_model",
]
