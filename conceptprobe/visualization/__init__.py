"""Images of what features look for: optimised, many at once, each with a record of how it came about.

Letters in tensor names beside the package's: n units (an objective with its random stream), g images of a unit, e views
of an image, s steps.
"""

from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.evaluation.evaluation import Evaluation
from conceptprobe.visualization.evaluation.evaluation import evaluate as evaluate_visualizations
from conceptprobe.visualization.objectives.expressions import Objective
from conceptprobe.visualization.objectives.objectives import (
    SAE,
    caricature,
    cls,
    direction,
    distance,
    diversity,
    feature,
    latent,
    load_sae,
    logit,
    negative,
    specific,
    text,
    token,
)
from conceptprobe.visualization.optimization.presets import PRESETS, Near, Preset, get_preset
from conceptprobe.visualization.optimization.regularizers import L1, L2, Spectral, TotalVariation
from conceptprobe.visualization.parametrizations.parametrizations import Fourier, Phase, Pixels
from conceptprobe.visualization.results.record import VisualizationRecord
from conceptprobe.visualization.results.visualizations import (
    Visualization,
    Visualizations,
    join_visualizations,
    load_visualizations,
)
from conceptprobe.visualization.visualize import visualize

__all__ = [
    "L1",
    "L2",
    "PRESETS",
    "SAE",
    "Evaluation",
    "Fourier",
    "Near",
    "Objective",
    "Phase",
    "Pixels",
    "Preset",
    "Spectral",
    "TotalVariation",
    "Visualization",
    "VisualizationRecord",
    "Visualizations",
    "VisualizeError",
    "caricature",
    "cls",
    "direction",
    "distance",
    "diversity",
    "evaluate_visualizations",
    "feature",
    "get_preset",
    "join_visualizations",
    "latent",
    "load_sae",
    "load_visualizations",
    "logit",
    "negative",
    "specific",
    "text",
    "token",
    "visualize",
]
