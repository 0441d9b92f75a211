from .allocator import keep_freed_memory
from .concepts.comparison.contrast import Contrast, contrast, load_contrast
from .concepts.comparison.matching import Matches, load_matches, match_features
from .concepts.errors import ConceptError, ContrastError
from .concepts.naming.names import FeatureNames, label_features, load_names
from .concepts.naming.vocabulary import word_list
from .concepts.scoring.label_free import LabelFreeScores, load_label_free, score_without_labels
from .concepts.scoring.localisation import Localisation, load_localisation, localise
from .concepts.scoring.scores import FeatureScores, load_scores, score_features
from .concepts.sets.concept_set import ConceptSet
from .concepts.sets.from_index import concepts_of
from .concepts.sets.taxonomy import Taxonomy
from .errors import ConceptProbeError, DisplayError, FeatureNameError, FolderBusyError, OutputError
from .feature import FeatureId
from .images import ImageSource, load_images
from .images.errors import ImageError
from .indexing import (
    Index,
    TopImages,
    Verification,
    append_index,
    build_index,
    index_activations,
    load_verification,
    merge_indices,
    open_index,
    verify_index,
)
from .indexing.errors import IndexingError
from .indexing.ray_engine import build_index_on_ray
from .models import Layer, Tokens, VisionModel, list_models, load_model
from .models.errors import ModelError
from .probes import PROBES, ProbeResult, load_probe, run_probe
from .probes.errors import ProbeError
from .report import write_report
from .report.errors import ReportError
from .search.features import find_features
from .version import __version__
from .visualization import (
    PRESETS,
    Evaluation,
    Visualizations,
    evaluate_visualizations,
    load_evaluation,
    load_visualizations,
    visualize,
)
from .visualization.errors import VisualizeError
from .visualization.objectives import objectives

__all__ = [
    "PRESETS",
    "PROBES",
    "ConceptError",
    "ConceptProbeError",
    "ConceptSet",
    "Contrast",
    "ContrastError",
    "DisplayError",
    "Evaluation",
    "FeatureId",
    "FeatureNameError",
    "FeatureNames",
    "FeatureScores",
    "FolderBusyError",
    "ImageError",
    "ImageSource",
    "Index",
    "IndexingError",
    "LabelFreeScores",
    "Layer",
    "Localisation",
    "Matches",
    "ModelError",
    "OutputError",
    "ProbeError",
    "ProbeResult",
    "ReportError",
    "Taxonomy",
    "Tokens",
    "TopImages",
    "Verification",
    "VisionModel",
    "Visualizations",
    "VisualizeError",
    "__version__",
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
    "load_evaluation",
    "load_images",
    "load_label_free",
    "load_localisation",
    "load_matches",
    "load_model",
    "load_names",
    "load_probe",
    "load_scores",
    "load_verification",
    "load_visualizations",
    "localise",
    "match_features",
    "merge_indices",
    "objectives",
    "open_index",
    "run_probe",
    "score_features",
    "score_without_labels",
    "verify_index",
    "visualize",
    "word_list",
    "write_report",
]
