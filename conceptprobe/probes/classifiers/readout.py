"""What simple classifiers can read from a model's frozen features."""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor

from conceptprobe.models import Layer, VisionModel
from conceptprobe.probes.classifiers.tasks import Split
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.responses import Condition, Subject, respond

RESIDUAL = re.compile(r"blocks\.(\d+)\.resid")
C_VALUES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
ITERATIONS = 1000


@dataclass(frozen=True, eq=False)
class Reading:
    """What a classifier answered on the images to test on, in their order: int64 [n]; and the C that it was given."""

    answers_n: np.ndarray
    c: float


def read_linearly(
    features_nd: np.ndarray, targets_n: np.ndarray, split: Split, c_values: Sequence[float] = C_VALUES
) -> Reading:
    """Multinomial logistic regression of standardised features.

    The C with the most right answers on the validation side is taken, of equal ones the smallest; then train and
    validation side together are fitted with it. C is scikit-learn's, the inverse strength of the L2 penalty.
    """
    features_nd = features_nd.astype(np.float64)
    train_n, validation_n, learnt_n = split.train_n, split.validation_n, split.learnt_n
    best, most = min(c_values), -1.0
    with threadpool_limits(1):  # thousands of small steps, in which threads would only wait for each other
        for c in sorted(c_values) if len(c_values) > 1 else ():
            fitted = _fit(features_nd[train_n], targets_n[train_n], c)
            right = float(fitted.score(features_nd[validation_n], targets_n[validation_n]))
            if right > most:
                best, most = c, right
        fitted = _fit(features_nd[learnt_n], targets_n[learnt_n], best)
        return Reading(fitted.predict(features_nd[split.test_n]), best)


def nearest_neighbours(
    features_nd: np.ndarray, targets_n: np.ndarray, split: Split, k: int, temperature: float
) -> np.ndarray:
    """The class with most votes of the k nearest images by cosine, each of weight exp(cosine / temperature): int64 [n]
    for the images to test on (Wu et al. 2018, arXiv 1805.01978).

    Of equally near images the earlier comes first, of equal votes the lower class.
    """
    features_nd = features_nd.astype(np.float64)
    unit_nd = features_nd / np.maximum(np.linalg.norm(features_nd, axis=1, keepdims=True), 1e-12)
    known_m = targets_n[split.learnt_n]
    cosine_nm = unit_nd[split.test_n] @ unit_nd[split.learnt_n].T
    near_nk = np.argsort(-cosine_nm, axis=1, kind="stable")[:, :k]
    weight_nk = np.exp((np.take_along_axis(cosine_nm, near_nk, 1) - 1) / temperature)  # minus 1: no overflow
    votes_nc = np.zeros((len(near_nk), int(targets_n.max()) + 1))
    np.add.at(votes_nc, (np.arange(len(near_nk))[:, None], known_m[near_nk]), weight_nk)
    return votes_nc.argmax(1)


def most_frequent(targets_n: np.ndarray, split: Split) -> int:
    """The class that most images to learn from have; of equal ones the lowest."""
    return int(np.bincount(targets_n[split.learnt_n]).argmax())


def frozen_features(
    subject: Subject,
    levels_nchw: Tensor,
    layers: Sequence[Layer],
    pooling: str,
    change: Callable[[Tensor, np.ndarray], Tensor] | None = None,
) -> Mapping[str, np.ndarray]:
    """Pooled activations of layers, float32 [n,f] each.

    Args:
        levels_nchw: uint8, as `Items.pixels` gives them.
        change: As in `Condition`.
    """
    reader = replace(subject, head=None, layers=tuple(layers), pooling=pooling)
    return respond(reader, levels_nchw, Condition("features", 0, change=change)).acts


def residual_layers(model: VisionModel) -> list[Layer]:
    """The output of each transformer block; none for models without such blocks."""
    return [layer for layer in model.layers if RESIDUAL.fullmatch(layer.name)]


def depth_layers(model: VisionModel) -> tuple[str, ...]:
    """One layer for each step of depth: the transformer blocks' outputs, or those of the outermost listed modules."""
    if residuals := residual_layers(model):
        return tuple(layer.name for layer in residuals)
    listed = [layer.name for layer in model.layers if layer.kind in ("map", "tokens", "vector")]
    whole = {*listed}
    inner = {name for name in listed if any(name.startswith(f"{other}.") for other in whole)}
    return tuple(name for name in listed if name not in inner)


def check_layers(subject: Subject) -> None:
    """Refuse to read nothing.

    Raises:
        ProbeError: No layer is given.
    """
    if not subject.layers:
        raise ProbeError(f"no layer of {subject.model.spec} is given to read")


def _fit(features_nd: np.ndarray, targets_n: np.ndarray, c: float) -> Pipeline:
    with warnings.catch_warnings():
        # A weak penalty need not converge; validation judges its answers as they are.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=ITERATIONS)).fit(features_nd, targets_n)
