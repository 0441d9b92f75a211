"""The definition of a probe, and how a model is run under a probe's conditions."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from conceptprobe.models import VisionModel
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.responses import Condition, Response, respond
from conceptprobe.probes.framework.survival import SurvivalRecord

CLEAN = Condition("clean", 0.0)


@dataclass(frozen=True, eq=False)
class Findings:
    """The outcome of a probe on one model; see `ProbeResult`, whose tables also have a column `model`."""

    rows: pd.DataFrame
    features: pd.DataFrame = field(default_factory=pd.DataFrame)
    survival: pd.DataFrame = field(default_factory=pd.DataFrame)
    artifacts: Mapping[str, np.ndarray] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()

    def with_caveat(self, text: str) -> "Findings":
        """The findings with one more caveat."""
        return replace(self, caveats=(*self.caveats, text))

    def with_rows(self, frames: Iterable[pd.DataFrame]) -> "Findings":
        """The findings with more rows."""
        return replace(self, rows=pd.concat([self.rows, *frames], ignore_index=True))


@dataclass(frozen=True)
class Probe:
    """One behavioural test.

    Attributes:
        name: The name that users call it by.
        question: What it asks, in a sentence.
        source: The paper that the protocol is from.
        settings: A pydantic dataclass of its settings.
        run: Runs it on one model; takes the model, the images, the settings and the seed.
        check: Raises ProbeError for a model or images that the probe cannot run on; called before any compute.
        check_models: Raises ProbeError for models that cannot be compared; called first of all.
        needs: Of "classes" (right answers and a head), "answers" (the same for the models that can name classes, and
            nothing for the others), "labels" (right answers alone), "categories" (a head over the sixteen of
            `categories`), "attention" (probabilities), "masks".
        needs_more: What some settings need in addition.
        x_of_model: Whether x describes the model and not a condition; differences are then over x.
        follows: Whether features can be followed through the probe.
        reads: The default layers of a probe that reads the features of layers itself.
        context: Published figures: name, value, source, tag.
        axes: What x is, in words: by metric or by series; "" is for all others.
    """

    name: str
    question: str
    source: str
    settings: type
    run: Callable[[ProbedModel, ProbeImages, Any, int], Findings]
    check: Callable[[ProbedModel, ProbeImages, Any], object] = lambda probed, images, settings: None
    check_models: Callable[[Sequence[VisionModel], Any], object] = lambda models, settings: None
    needs: frozenset[str] = frozenset()
    needs_more: Callable[[Any], frozenset[str]] = lambda settings: frozenset()
    x_of_model: bool = False
    follows: bool = False
    reads: Callable[[VisionModel], Sequence[str]] | None = None
    context: tuple[dict[str, str], ...] = ()
    axes: Mapping[str, str] = field(default_factory=dict)

    def all_needs(self, settings: Any) -> frozenset[str]:
        """What the probe needs with these settings."""
        return self.needs | self.needs_more(settings)


def run_conditions(probed: ProbedModel, images: ProbeImages, conditions: Iterable[Condition], seed: int) -> Findings:
    """Show a model the images clean and under each condition.

    The metrics are `correct` and `probability` of the right class, where there is a head; and `cosine` and Pearson's
    `r` of the image's embedding with that of the clean image.
    """
    levels_nchw = images.pixels(probed.model)
    clean = clean_response(probed, images)
    record = SurvivalRecord(probed, clean, seed) if probed.layers else None
    targets_n = None if probed.head is None else probed.head.targets(images.classes or ())
    frames = []
    for condition in [CLEAN, *conditions]:
        response = clean if condition is CLEAN else respond(probed, levels_nchw, condition)
        metrics = {} if condition is CLEAN else similarities(clean.embedding_nd, response.embedding_nd)
        if targets_n is not None and response.scores_nc is not None:
            metrics |= answers(response.scores_nc, targets_n)
        frames += rows_of_metrics(metrics, condition, images.ids)
        if record is not None and condition is not CLEAN:
            record.add(condition.series, condition.x, response)
    rows = pd.concat(frames, ignore_index=True)
    return Findings(rows) if record is None else Findings(rows, record.features(), record.summary())


def clean_response(probed: ProbedModel, images: ProbeImages) -> Response:
    """The response of a model to the unchanged images, cached for other probes and so not to be changed."""
    return images.memory.get(
        ("clean", probed.model, probed.head, probed.layers, probed.pooling, *images.key),
        lambda: respond(probed, images.pixels(probed.model), CLEAN),
        lambda response: response.nbytes,
    )


def answers(scores_nc: np.ndarray, targets_n: np.ndarray) -> dict[str, np.ndarray]:
    """Whether the best class is the right one, and the softmax of the right class; ties go to the first class."""
    at = np.arange(len(targets_n))
    scores_nc = scores_nc.astype(np.float64) - scores_nc.max(1, keepdims=True)
    probability_n = np.exp(scores_nc[at, targets_n]) / np.exp(scores_nc).sum(1)
    return {"correct": (scores_nc.argmax(1) == targets_n).astype(float), "probability": probability_n}


def rows_of(metric: str, condition: Condition, ids: tuple[str, ...], values_n: np.ndarray) -> pd.DataFrame:
    """One row for each image: a metric under a condition."""
    about = {"metric": metric, "series": condition.series, "x": float(condition.x), "draw": condition.draw}
    return pd.DataFrame({**about, "image": ids, "value": np.asarray(values_n, float)})


def rows_of_metrics(
    metrics: Mapping[str, np.ndarray], condition: Condition, ids: tuple[str, ...], suffix: str = ""
) -> list[pd.DataFrame]:
    """`rows_of` each metric; the suffix is added to the names of the metrics."""
    return [rows_of(name + suffix, condition, ids, values_n) for name, values_n in metrics.items()]


def published(source: str, tag: str, figures: Mapping[str, str]) -> tuple[dict[str, str], ...]:
    """Published figures by name, as the context of a probe.

    Args:
        source: Where they are published.
        tag: How they were read: `paper`, the authors' public `code`, or `recomputed` from public data.
        figures: Values by name.
    """
    return tuple({"name": name, "value": value, "source": source, "tag": tag} for name, value in figures.items())


def similarities(first_nd: np.ndarray, second_nd: np.ndarray) -> dict[str, np.ndarray]:
    """Cosine and Pearson's r of each image's two vectors."""
    return {"cosine": _row_cosines(first_nd, second_nd), "r": _row_cosines(_centred(first_nd), _centred(second_nd))}


def _row_cosines(first_nd: np.ndarray, second_nd: np.ndarray) -> np.ndarray:
    first_nd, second_nd = first_nd.astype(np.float64), second_nd.astype(np.float64)
    lengths_n = np.linalg.norm(first_nd, axis=1) * np.linalg.norm(second_nd, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((first_nd * second_nd).sum(1) / lengths_n)


def _centred(values_nd: np.ndarray) -> np.ndarray:
    return np.asarray(values_nd - values_nd.mean(1, keepdims=True))
