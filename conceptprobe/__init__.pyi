from .allocator import keep_freed_memory
from .concepts.comparison.contrast import Contrast, contrast, load_contrast
from .concepts.comparison.matching import Matches, match_features
from .concepts.naming.names import FeatureNames, label_features, load_names
from .concepts.naming.vocabulary import word_list
from .concepts.scoring.localisation import Localisation, localise
from .concepts.scoring.scores import FeatureScores, load_scores, score_features
from .concepts.sets.concept_set import ConceptSet
from .concepts.sets.from_index import concepts_of
from .errors import ConceptProbeError
from .feature import FeatureId
from .images import ImageSource, load_images
from .indexing import (
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
from .indexing.ray_engine import build_index_on_ray
from .models import Layer, VisionModel, list_models, load_model
from .probes import ProbeResult, load_probe, run_probe
from .report import write_report
from .search.features import find_features
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
