from .allocator import keep_freed_memory
from .concepts.concept_set import ConceptSet
from .concepts.contrast import Contrast, contrast, load_contrast
from .concepts.families import concepts_of
from .concepts.localisation import Localisation, localise
from .concepts.matching import Matches, match_features
from .concepts.names import FeatureNames, label_features, load_names
from .concepts.scores import FeatureScores, load_scores, score_features
from .concepts.words import word_list
from .errors import ConceptProbeError
from .images import ImageSource, load_images
from .indexing import (
    FeatureId,
    Index,
    TopImages,
    Verification,
    append_index,
    build_index,
    index_activations,
    merge_indices,
    open_index,
    verify_index,
)
from .indexing.find import find_features
from .indexing.ray_engine import build_index_on_ray
from .models import Layer, VisionModel, list_models, load_model
from .probes import ProbeResult, load_probe, run_probe
from .report import write_report
from .visualization import Visualizations, evaluate_visualizations, load_visualizations, visualize

__all__ = [
    "ConceptProbeError",
    "ConceptSet",
    "Contrast",
    "FeatureId",
    "FeatureNames",
    "FeatureScores",
    "ImageSource",
    "Index",
    "Layer",
    "Localisation",
    "Matches",
    "ProbeResult",
    "TopImages",
    "Verification",
    "VisionModel",
    "Visualizations",
    "append_index",
    "build_index",
    "build_index_on_ray",
    "concepts_of",
    "contrast",
    "evaluate_visualizations",
    "find_features",
    "index_activations",
    "keep_freed_memory",
    "label_features",
    "list_models",
    "load_contrast",
    "load_images",
    "load_model",
    "load_names",
    "load_probe",
    "load_scores",
    "load_visualizations",
    "localise",
    "match_features",
    "merge_indices",
    "open_index",
    "run_probe",
    "score_features",
    "verify_index",
    "visualize",
    "word_list",
    "write_report",
]
