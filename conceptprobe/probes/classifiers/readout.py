"""Simple classifiers of a model's frozen features: linear probes and nearest neighbours."""

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
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.responses import Condition, respond

RESIDUAL = re.compile(r"blocks\.(\d+)\.resid")
C_VALUES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)
ITERATIONS = 1000


@dataclass(frozen=True, eq=False)
class LinearReadout:
    """The outcome of a linear probe.

    Attributes:
        answers_n: Its answers on the test images, in their order, int64 [n].
        c: The inverse penalty that was selected.
    """

    answers_n: np.ndarray
    c: float


def fit_linear_probe(
    features_nd: np.ndarray, targets_n: np.ndarray, split: Split, c_values: Sequence[float] = C_VALUES
) -> LinearReadout:
    """Multinomial logistic regression of standardised features.

    The C with the most right answers on the validation images is selected, and the smallest of equally good ones; the
    classifier is then fitted with it on the train and validation images together.

    Args:
        features_nd: Features of all images.
        targets_n: The class of each image, int64 [n].
        split: The train, validation and test images.
        c_values: Inverse strengths of the L2 penalty to select from, as scikit-learn's C.
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
        return LinearReadout(fitted.predict(features_nd[split.test_n]), best)


def nearest_neighbours(
    features_nd: np.ndarray, targets_n: np.ndarray, split: Split, k: int, temperature: float
) -> np.ndarray:
    """Answers of k nearest neighbours for the test images, int64 [n] (Wu et al. 2018, arXiv 1805.01978).

    The k nearest images by cosine vote with weight exp(cosine / temperature). Ties go to the earlier image and to the
    lower class.
    """
    features_nd = features_nd.astype(np.float64)
    unit_nd = features_nd / np.maximum(np.linalg.norm(features_nd, axis=1, keepdims=True), 1e-12)
    known_m = targets_n[split.learnt_n]
    cosine_nm = unit_nd[split.test_n] @ unit_nd[split.learnt_n].T
    near_nk = np.argsort(-cosine_nm, axis=1, kind="stable")[:, :k]
    weight_nk = np.exp((np.take_along_axis(cosine_nm, near_nk, 1) - 1) / temperature)  # minus 1: no overflow
    votes_nc = np.zeros((len(near_nk), int(targets_n.max()) + 1))
    np.add.at(votes_nc, (np.arange(len(near_nk))[:, None], known_m[near_nk]), weight_nk)
    return np.asarray(votes_nc.argmax(1))


def most_frequent(targets_n: np.ndarray, split: Split) -> int:
    """The most frequent class of the images to learn from; the lowest of equally frequent ones."""
    return int(np.bincount(targets_n[split.learnt_n]).argmax())


def frozen_features(
    probed: ProbedModel,
    levels_nchw: Tensor,
    layers: Sequence[Layer],
    pooling: str,
    change: Callable[[Tensor, np.ndarray], Tensor] | None = None,
) -> Mapping[str, np.ndarray]:
    """Pooled activations of layers, float32 [n,f] each.

    Args:
        probed: The model.
        levels_nchw: uint8, as `ProbeImages.pixels` returns them.
        layers: The layers.
        pooling: How they are pooled.
        change: As in `Condition`.
    """
    reader = replace(probed, head=None, layers=tuple(layers), pooling=pooling)
    return respond(reader, levels_nchw, Condition("features", 0, change=change)).acts


def residual_layers(model: VisionModel) -> list[Layer]:
    """The outputs of the transformer blocks; none for models without such blocks."""
    return [layer for layer in model.layers if RESIDUAL.fullmatch(layer.name)]


def depth_layers(model: VisionModel) -> tuple[str, ...]:
    """One layer for each step of depth: the outputs of the transformer blocks, or of the outermost listed modules."""
    if residuals := residual_layers(model):
        return tuple(layer.name for layer in residuals)
    listed = [layer.name for layer in model.layers if layer.kind in ("map", "tokens", "vector")]
    whole = {*listed}
    inner = {name for name in listed if any(name.startswith(f"{other}.") for other in whole)}
    return tuple(name for name in listed if name not in inner)


def check_layers(probed: ProbedModel) -> None:
    """Refuse a model without layers to read.

    Raises:
        ProbeError: There is no layer.
    """
    if not probed.layers:
        raise ProbeError(f"there is no layer of {probed.model.spec} to read: name at least one in layers")


def _fit(features_nd: np.ndarray, targets_n: np.ndarray, c: float) -> Pipeline:
    with warnings.catch_warnings():
        # A weak penalty need not converge; validation scores its answers as they are.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=ITERATIONS)).fit(features_nd, targets_n)
