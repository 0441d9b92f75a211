"""Whether a feature's images have more in common than their looks, without any label.

A scorer, a model of another family, measures how alike the images are in meaning. Meaning and looks go together, so a
list is tested against lists that looks alone would give, or where only lists are known, lists that look as much alike.
"""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass
from scipy.stats import false_discovery_control

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.looks.descriptors import describe_images
from conceptprobe.concepts.looks.look_alikes import LookAlikes, draw_look_alikes
from conceptprobe.concepts.looks.method import ALIKE, PREDICTED
from conceptprobe.concepts.looks.predicted import VisualNull
from conceptprobe.concepts.statistics.coherence import mean_cosine
from conceptprobe.display import figures, html
from conceptprobe.images import ImagesLike, as_images
from conceptprobe.indexing import Index
from conceptprobe.indexing.activations import activations_of
from conceptprobe.indexing.index import IndexLike, as_index
from conceptprobe.indexing.source import source_of
from conceptprobe.intervals import wilson_interval
from conceptprobe.models import ModelLike, VisionModel, as_model
from conceptprobe.models.errors import SpecError
from conceptprobe.models.spec import ModelSpec
from conceptprobe.output.tables import load_tables, save_tables
from conceptprobe.search.embeddings import CACHE, embed_images
from conceptprobe.validation import CONFIG, make_settings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "label_free"
SAMPLE = 100_000
BEYOND_LOOKS = "beyond looks"
HEADS = ("layer", "tested", BEYOND_LOOKS, "share", "median excess")
MINI = {"clip": "text", "supervised": "labels", "distilled": "images"}
WORDS = {
    "text": ("clip", "siglip", "openai", "laion", "datacomp", "webli", "dfn"),
    "images": ("dino", "lvd", "mae", "ijepa", "moco", "simclr", "aim"),
}


@checked_dataclass(frozen=True, kw_only=True, config=CONFIG)
class LabelFreeSettings:
    """Settings of `score_without_labels`.

    Attributes:
        k: How many top images of a feature count.
        q: False discovery rate of the summary.
        draws: Lists of look-alikes to draw, where they are needed.
        matches: Lists that each feature is tested against.
        sample: The largest number of images to embed and describe, beside those of the features' lists.
        seed: Seed of every random draw.
    """

    k: Annotated[int, Field(ge=2)] = 20
    q: Annotated[float, Field(gt=0, lt=1)] = 0.05
    draws: Annotated[int, Field(ge=1)] = 20_000
    matches: Annotated[int, Field(ge=1)] = 1_000
    sample: Annotated[int, Field(ge=2)] = SAMPLE
    seed: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, eq=False, repr=False)
class LabelFreeScores:
    """How much more the images of features have in common than their looks.

    Attributes:
        frame: One row for each feature: feature, layer, index, pooling, scorer, looks (the lists that it is tested
            against: `predicted` or `alike`), coherence_semantic (S), coherence_visual (V), excess (S - E[S|V]), p
            (share of those lists with an S as large), q (Benjamini-Hochberg over the layer's live features), dead. Dead
            features, and those with fewer than k images, have no excess, p and q.
        settings: How they were made.
    """

    frame: pd.DataFrame
    settings: dict[str, Any]

    def __repr__(self) -> str:
        count, of = self.summary()[["count", "of"]].sum()
        return (
            f"LabelFreeScores({self.settings['model']} by {self.settings['scorer']}, k {self.settings['k']}: "
            f"{count} of {of} {BEYOND_LOOKS})"
        )

    def __len__(self) -> int:
        return len(self.frame)

    def _repr_html_(self) -> str:
        rows = [
            [row.layer, f"{row.of:,}", f"{row.count:,}", html.percent(row.share), html.number(row.median_excess)]
            for row in self.summary().itertuples()
        ]
        title = f"{self.settings['model']}: meaning {BEYOND_LOOKS} by {self.settings['scorer']}"
        note = f"Counted are features with q ≤ {self.settings['q']:g}. Shares under two scorers do not compare."
        return html.block(title, html.table(HEADS, rows), [note])

    def summary(self) -> pd.DataFrame:
        """How many features of each layer mean more than their looks.

        The columns are layer, count (features with a q of at most `settings["q"]`), of (tested features), share, low,
        high (Wilson's 95 % interval, as if features were independent), median_excess.
        """
        rows = []
        for layer, part in self.frame.groupby("layer", sort=False):
            of, count = int(part["q"].notna().sum()), int((part["q"] <= self.settings["q"]).sum())
            share = count / of if of else np.nan
            rows.append((layer, count, of, share, *wilson_interval(share, of), part["excess"].median()))
        return pd.DataFrame(rows, columns=["layer", "count", "of", "share", "low", "high", "median_excess"])

    def figure(self, *others: "LabelFreeScores") -> "Figure":
        """The shares of `summary` by layer as a matplotlib figure, other models beside this one; needs `plots`.

        Args:
            others: Scores of other models by the same scorer.

        Raises:
            DisplayError: matplotlib is not installed.
        """
        tables = [(str(s.settings["model"]), s.summary().assign(verdict=BEYOND_LOOKS)) for s in (self, *others)]
        return figures.shares_figure(tables, (BEYOND_LOOKS,))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write `features.parquet` and `label_free.json`; equal scores give equal bytes.

        Args:
            folder: Missing, empty, or earlier scores of this kind, which are replaced.

        Raises:
            OutputError: The folder holds something else, or cannot be written.
        """
        return save_tables(folder, NAME, {"features": self.frame}, self.settings)


def load_label_free(folder: str | os.PathLike[str]) -> LabelFreeScores:
    """Read what `LabelFreeScores.save` wrote.

    Raises:
        OutputError: The folder holds no such scores, or they are damaged or of another version.
    """
    command = "score_without_labels(INDEX, SCORER).save('{folder}')"
    tables, settings = load_tables(folder, NAME, ("features",), command=command)
    return LabelFreeScores(tables["features"], settings)


@dataclass(frozen=True, eq=False)
class LabelFreeRun:
    """What the layers of an index are scored with.

    Attributes:
        index: The index.
        pooling: The pooling whose top lists are scored.
        settings: Settings of the user.
        rows: Rows of the images that are embedded and described, ascending, int64 [n].
        looks_nv: What they look like, rows of length one, float32 [n,v].
        meanings_nd: Their embeddings by the scorer, rows of length one, float32 [n,d].
        null: The predicted null distribution where all activations are known, else lists of look-alikes.
        rng: The generator of the draws.
    """

    index: Index
    pooling: str
    settings: LabelFreeSettings
    rows: np.ndarray
    looks_nv: np.ndarray
    meanings_nd: np.ndarray
    null: VisualNull | LookAlikes
    rng: Generator

    def score(self, layer: str, lists_fk: np.ndarray) -> pd.DataFrame:
        """The rows of `LabelFreeScores.frame` for a layer, without its scorer.

        Args:
            layer: The layer's name.
            lists_fk: Top lists of its features, int64 [f,k].
        """
        matches = self.settings.matches
        dead_f = self.index.stats(layer, self.pooling)["dead"].to_numpy()
        local_fk = np.where(lists_fk >= 0, np.searchsorted(self.rows, lists_fk), -1)
        semantic_f, visual_f = mean_cosine(self.meanings_nd, local_fk), mean_cosine(self.looks_nv, local_fk)
        tested = np.flatnonzero(~dead_f & (lists_fk >= 0).all(1))
        excess_f, p_f, q_f = (np.full(len(lists_fk), np.nan) for _ in range(3))
        if not len(tested):
            pass
        elif isinstance(self.null, VisualNull):
            acts_nf = np.concatenate([acts_bf[:, tested] for acts_bf in activations_of(self.index, layer)])
            statistic = partial(mean_cosine, self.meanings_nd)
            compared = self.null.compare(acts_nf, local_fk[tested], statistic, self.rng, draws=matches)
            excess_f[tested], p_f[tested] = semantic_f[tested] - compared.mean_f, compared.p_f
        else:
            meaning_d = mean_cosine(self.meanings_nd, self.null.rows_dk)
            matched_fm = meaning_d[self.null.matched(visual_f[tested], matches)[:, None] + np.arange(matches)]
            excess_f[tested] = semantic_f[tested] - matched_fm.mean(1)
            p_f[tested] = (1 + (matched_fm >= semantic_f[tested, None]).sum(1)) / (1 + matches)
        q_f[tested] = false_discovery_control(p_f[tested]) if len(tested) else np.nan
        return pd.DataFrame({
            "feature": np.arange(len(lists_fk)), "layer": layer, "index": self.index.path.name,
            "pooling": self.pooling, "looks": self.method, "coherence_semantic": semantic_f,
            "coherence_visual": visual_f, "excess": excess_f, "p": p_f, "q": q_f, "dead": dead_f,
        })  # fmt: skip

    @property
    def method(self) -> str:
        """Which lists features are tested against, `predicted` or `alike`."""
        return PREDICTED if isinstance(self.null, VisualNull) else ALIKE


def score_without_labels(
    index: IndexLike,
    scorer: ModelLike,
    *,
    k: int = 20,
    layers: str | Sequence[str] | None = None,
    pooling: str | None = None,
    images: ImagesLike | None = None,
    q: float = 0.05,
    draws: int = 20_000,
    matches: int = 1_000,
    sample: int = SAMPLE,
    seed: int = 0,
    cache: str | os.PathLike[str] | None = CACHE,
    progress: bool = False,
) -> LabelFreeScores:
    """Test each feature for meaning beyond looks: S - E[S|V].

    S is the mean cosine of the pairs of its top images in the scorer's space, V that in the space of `describe_images`.
    E[S|V] is the mean S of lists that looks alone would give the feature (`VisualNull`), where the index has vectors,
    the pooling is its first and all images are described. Otherwise it is the mean S of the lists of look-alikes
    (`draw_look_alikes`) with the nearest V, which too often takes a look that goes with a meaning for that meaning.
    S - V would mean nothing: the two have different scales.

    Args:
        index: A finished index.
        scorer: A model with an embedding that learned from something else than the index's model.
        k: How many top images of a feature count, at most the k of the index and half the images.
        layers: A name or several; by default all layers of the index.
        pooling: By default the first pooling of the index.
        images: The images, if they are no longer where the index was built from.
        q: False discovery rate of the summary.
        draws: Lists of look-alikes to draw, where they are needed.
        matches: Lists that each feature is tested against.
        sample: Where there are more images, only so many are embedded, described and drawn from: a random sample, and
            the images of the features' lists.
        seed: Seed of every random draw.
        cache: The folder that caches embeddings and descriptors; None caches nothing.
        progress: Whether to show bars on stderr.

    Raises:
        ConceptError: The scorer learned from the same as the index's model, or a setting is out of range.
        IndexingError: The index has no such layer or pooling, or its images cannot be read.
    """
    settings = make_settings(
        LabelFreeSettings, {"k": k, "q": q, "draws": draws, "matches": matches, "sample": sample, "seed": seed},
        what="scores", error=ConceptError,
    )  # fmt: skip
    index = as_index(index)
    scorer = as_model(scorer)
    images = None if images is None else as_images(images)
    refuse_kin(scorer, index)
    layers = index.choose_layers(layers)
    pooling = index.manifest.pooling[0] if pooling is None else pooling
    most = min(index.manifest.k, len(index.images) // 2)
    if k > most:
        raise ConceptError(f"k is {k}: this index allows 2 to {most}, half its images or the length of its lists")
    if matches > draws:
        raise ConceptError(f"matches is {matches} and draws {draws}: give at least as many draws as matches")
    lists = {layer: index.top_rows(layer, pooling)[0][:, :k].astype(np.int64) for layer in layers}
    rng = np.random.default_rng(seed)
    rows = sampled_images(list(lists.values()), len(index.images), sample, rng)
    source = source_of(index, images)
    looks_nv = describe_images(source, rows, cache=cache, progress=progress)
    meanings_nd = embed_images(scorer, source, rows, cache=cache, progress=progress)
    known = index.manifest.vectors and pooling == index.manifest.pooling[0] and len(index.images) <= sample
    null = VisualNull(looks_nv, seed=seed) if known else draw_look_alikes(looks_nv, k, draws, rng)
    run = LabelFreeRun(index, pooling, settings, rows, looks_nv, meanings_nd, null, rng)
    frame = pd.concat([run.score(layer, lists_fk) for layer, lists_fk in lists.items()], ignore_index=True)
    frame.insert(4, "scorer", scorer.spec)
    manifest = index.manifest
    about = {
        "model": manifest.model["spec"], "source": manifest.source["spec"], "scorer": scorer.spec,
        "fingerprints": {
            "model": manifest.model["fingerprint"], "source": manifest.source["fingerprint"],
            "scorer": scorer.fingerprint,
        },
        "layers": list(layers), "pooling": pooling, "looks": run.method, **asdict(settings),
    }  # fmt: skip
    return LabelFreeScores(frame, about)


def sampled_images(lists: Sequence[np.ndarray], images: int, size: int, generator: Generator) -> np.ndarray:
    """Choose the images to describe, rows ascending.

    These are all images, or if there are more than `size`, a random sample of that size and the images of the lists.

    Args:
        lists: Top lists of each layer; -1 past their ends.
        images: The number of images.
        size: The size of the sample.
        generator: The generator of the sample.
    """
    if images <= size:
        return np.arange(images)
    chosen = generator.choice(images, size, replace=False)
    return np.unique(np.concatenate([chosen, *(rows[rows >= 0] for rows in lists)]))


def refuse_kin(scorer: VisionModel, index: Index) -> None:
    """Refuse a scorer that learned from the same as the index's model, since it would find meaning where that does.

    Raises:
        ConceptError: Scorer and model are the same, or both learned from text, or labels, or images alone.
    """
    target = index.manifest.model
    shared = learned_from(scorer.spec) & learned_from(target["spec"])
    if scorer.fingerprint == target["fingerprint"] or shared:
        why = f"both learned from {', '.join(sorted(shared))}" if shared else "they are the same model"
        raise ConceptError(
            f"{scorer.spec} cannot judge {target['spec']}: {why}, so the scorer would agree with the model. Give a "
            "scorer that learned from something else: text (open_clip), labels (a timm or torchvision classifier) or "
            "images alone (DINO, MAE)"
        )


def learned_from(spec: str) -> frozenset[str]:
    """What a model learned from, by its spec: text, labels or images alone; empty where the spec does not say."""
    try:
        parsed = ModelSpec.parse(spec)
    except SpecError:
        return frozenset()
    if parsed.is_random:
        return frozenset()
    if parsed.family == "mini":
        return frozenset([MINI[parsed.architecture]])
    if parsed.family == "open_clip":
        return frozenset(["text"])
    name = parsed.architecture if parsed.path else parsed.text
    found = {kind for kind, words in WORDS.items() if any(word in name.lower() for word in words)}
    return frozenset(found | ({"labels"} if not found or "_ft_" in name else set()))
