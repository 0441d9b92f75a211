from .errors import ConceptProbeError
from .images import ImageSource, load_images
from .indexing import FeatureId, Index, TopImages, build_index, open_index
from .models import Layer, VisionModel, list_models, load_model
from .report import write_report

__all__ = [
    "ConceptProbeError",
    "FeatureId",
    "ImageSource",
    "Index",
    "Layer",
    "TopImages",
    "VisionModel",
    "build_index",
    "list_models",
    "load_images",
    "load_model",
    "open_index",
    "write_report",
]
