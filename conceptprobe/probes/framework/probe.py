"""What a probe is, and how those that show a model changed images, or change it, are run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from conceptprobe.models import VisionModel
from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.responses import Condition, Response, Subject, respond
from conceptprobe.probes.framework.survival import SurvivalRecord

CLEAN = Condition("clean", 0.0)


@dataclass(frozen=True, eq=False)
class Findings:
    """What a probe found out about one model; see `ProbeResult`, whose tables have a column for the model too."""

    rows: pd.DataFrame
    features: pd.DataFrame = field(default_factory=pd.DataFrame)
    survival: pd.DataFrame = field(default_factory=pd.DataFrame)
    artifacts: Mapping[str, np.ndarray] = field(default_factory=dict)
    caveats: tuple[str, ...] = ()

    def with_caveat(self, text: str) -> "Findings":
        return replace(self, caveats=(*self.caveats, text))


@dataclass(frozen=True)
class Probe:
    """One behavioural test.

    Attributes:
        name: How it is asked for.
        question: What it asks, in a sentence.
        source: The paper that the protocol is from.
        settings: A frozen dataclass of what may be set, validated when it is made.
        run: Does it for one model: subject, items, settings, seed.
        check: Raises ProbeError where the model cannot be asked so; called for every model before any compute.
        check_models: Raises ProbeError where the models do not go together; called first of all.
        needs: Of "classes" (right answers and a head), "answers" (the same of the models that can name classes, and
            nothing of the others), "labels" (right answers alone), "categories" (a head over the sixteen of
            `categories`), "attention" (probabilities), "masks".
        needs_more: What its settings make it need beside those.
        x_of_model: Whether x says something of the model and not of a condition: differences are over x then.
        follows: Whether features can be followed through it.
        reads: Where it reads the features of layers itself: those that it reads unless others are named.
        context: Published figures: name, value, source, tag.
        axes: What x is, in words: by metric or, before that, by series; "" is for all others.
    """

    name: str
    question: str
    source: str
    settings: type
    run: Callable[[Subject, Items, Any, int], Findings]
    check: Callable[[Subject, Items, Any], object] = lambda subject, items, settings: None
    check_models: Callable[[Sequence[VisionModel], Any], object] = lambda models, settings: None
    needs: frozenset[str] = frozenset()
    needs_more: Callable[[Any], frozenset[str]] = lambda settings: frozenset()
    x_of_model: bool = False
    follows: bool = False
    reads: Callable[[VisionModel], Sequence[str]] | None = None
    context: tuple[dict[str, str], ...] = ()
    axes: Mapping[str, str] = field(default_factory=dict)


def behave(subject: Subject, items: Items, conditions: Iterable[Condition], seed: int) -> Findings:
    """Show a model the images clean and under each condition.

    Metrics a row: `correct` and `probability` of the right class, where there is a head; `cosine` of the gist (the
    image's embedding) and `r`, Pearson's correlation of its numbers, with that of the clean image.
    """
    levels_nchw = items.pixels(subject.model)
    clean = clean_response(subject, items)
    record = SurvivalRecord(subject, clean, seed) if subject.layers else None
    targets_n = None if subject.head is None else subject.head.targets(items.classes or ())
    frames = []
    for condition in [CLEAN, *conditions]:
        response = clean if condition is CLEAN else respond(subject, levels_nchw, condition)
        metrics = {} if condition is CLEAN else alikeness(clean.gist_nd, response.gist_nd)
        if targets_n is not None and response.scores_nc is not None:
            metrics |= answers(response.scores_nc, targets_n)
        frames += [rows_of(name, condition, items.ids, values_n) for name, values_n in metrics.items()]
        if record is not None and condition is not CLEAN:
            record.add(condition.series, condition.x, response)
    rows = pd.concat(frames, ignore_index=True)
    return Findings(rows) if record is None else Findings(rows, record.features(), record.summary())


def clean_response(subject: Subject, items: Items) -> Response:
    """What a model makes of the images as they are. Not to be changed: it is kept for other probes."""
    return items.memory.get(
        ("clean", subject.model, subject.head, subject.layers, subject.pooling, *items.key),
        lambda: respond(subject, items.pixels(subject.model), CLEAN),
        lambda response: response.nbytes,
    )


def answers(scores_nc: np.ndarray, targets_n: np.ndarray) -> dict[str, np.ndarray]:
    """Whether the best class is the right one (of equal scores the first is best), and the right one's softmax."""
    at = np.arange(len(targets_n))
    scores_nc = scores_nc.astype(np.float64) - scores_nc.max(1, keepdims=True)
    probability_n = np.exp(scores_nc[at, targets_n]) / np.exp(scores_nc).sum(1)
    return {"correct": (scores_nc.argmax(1) == targets_n).astype(float), "probability": probability_n}


def rows_of(metric: str, condition: Condition, ids: tuple[str, ...], values_n: np.ndarray) -> pd.DataFrame:
    """One metric of all images under a condition."""
    about = {"metric": metric, "series": condition.series, "x": float(condition.x), "draw": condition.draw}
    return pd.DataFrame({**about, "image": ids, "value": np.asarray(values_n, float)})


def alikeness(first_nd: np.ndarray, second_nd: np.ndarray) -> dict[str, np.ndarray]:
    """Cosine and Pearson's r of each image's vectors, before and after."""
    return {"cosine": _row_cosines(first_nd, second_nd), "r": _row_cosines(_centred(first_nd), _centred(second_nd))}


def _row_cosines(first_nd: np.ndarray, second_nd: np.ndarray) -> np.ndarray:
    first_nd, second_nd = first_nd.astype(np.float64), second_nd.astype(np.float64)
    lengths_n = np.linalg.norm(first_nd, axis=1) * np.linalg.norm(second_nd, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (first_nd * second_nd).sum(1) / lengths_n


def _centred(values_nd: np.ndarray) -> np.ndarray:
    return values_nd - values_nd.mean(1, keepdims=True)
