"""A scoring run: what the scores of an index are made with, prepared once, and the scores of each layer."""

import importlib.metadata
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from pydantic import Field
from pydantic.dataclasses import dataclass as checked_dataclass
from rich.console import Console
from rich.progress import track

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.looks.significance import LooksTest, prepare_looks_test
from conceptprobe.concepts.scoring.judging import explain, judge, list_faults
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.coherence import mean_cosine, monosemanticity, redundancy
from conceptprobe.concepts.statistics.enrichment import Enrichment
from conceptprobe.concepts.statistics.hierarchy import Relations
from conceptprobe.concepts.statistics.nulls import DRAWS, Null, Nulls, counts_of, draw_null, draw_nulls
from conceptprobe.images import ImageSource
from conceptprobe.indexing import Index
from conceptprobe.indexing.activations import activations_of
from conceptprobe.indexing.source import source_of
from conceptprobe.models import VisionModel
from conceptprobe.search.embeddings import embed_images
from conceptprobe.validation import CONFIG

LEAST_K, MOST_K = 8, 40
CURVE = (0.5, 1, 2, 4)
CURVE_DRAWS = 20_000
CURVE_COLUMNS = ["feature", "layer", "k", "concept", "hits", "llr", "p", "q", "verdict"]


@checked_dataclass(frozen=True, kw_only=True, config=CONFIG)
class ScoreSettings:
    """Settings of a scoring run.

    Attributes:
        k: How many top images of a feature count; None chooses by the index and the concepts, see `choose_k`.
        q: False discovery rate of the verdicts that name a concept.
        draws: Lists in each null distribution.
        seed: Seed of every random draw.
    """

    k: Annotated[int, Field(ge=2)] | None = None
    q: Annotated[float, Field(gt=0, lt=1)] = 0.05
    draws: Annotated[int, Field(ge=100)] = DRAWS
    seed: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, eq=False)
class LayerScores:
    """Scores of one layer.

    Attributes:
        frame: Rows of `FeatureScores.frame`.
        curve: Rows of `FeatureScores.curve`.
    """

    frame: pd.DataFrame
    curve: pd.DataFrame


@dataclass(frozen=True, eq=False)
class ScoringRun:
    """What the layers of an index are scored with; made by `prepare_run`.

    Attributes:
        index: The index.
        layers: Names of the layers to score.
        pooling: The pooling whose top lists are scored.
        k: How many top images of a feature count.
        settings: Settings of the user.
        relations: The concepts, and how they lie in each other.
        looks: The test of whether images share a concept only because they look alike.
        random: Null distributions of random lists, by the length of the lists: k, and the other lengths of the curve.
        scorer: The model in whose space coherence is measured, if any.
        embeddings_nd: Embeddings of all images by the scorer.
    """

    index: Index
    layers: Sequence[str]
    pooling: str
    k: int
    settings: ScoreSettings
    relations: Relations
    looks: LooksTest
    random: dict[int, Null]
    scorer: VisionModel | None
    embeddings_nd: np.ndarray | None

    @property
    def concepts(self) -> ConceptSet:
        """The concepts that features are scored by."""
        return self.relations.concepts

    @cached_property
    def enrichment(self) -> Enrichment:
        """Log-likelihood ratios of the concepts for lists of k images."""
        return Enrichment(self.concepts, self.k)

    def generator(self, layer: str) -> Generator:
        """The generator of a layer's draws, which do not depend on the other layers of the run."""
        return np.random.default_rng([self.settings.seed, self.k, zlib.crc32(f"{layer} {self.pooling}".encode())])

    def score(self, layer: str) -> LayerScores:
        """Score one layer: test its top lists against the nulls, judge them, and say why."""
        q, generator = self.settings.q, self.generator(layer)
        rows_fk, values_fk = self.index.top_rows(layer, self.pooling)
        stats = self.index.stats(layer, self.pooling)
        dead_f, faults = stats["dead"].to_numpy(), list_faults(rows_fk, values_fk, self.k)
        tested_f = ~dead_f & (faults.fault_f == "")
        lists_fk = rows_fk[:, : self.k]
        nulls = draw_nulls(
            lists_fk, self.concepts, generator,
            live_f=tested_f, draws=self.settings.draws, random=self.random[self.k],
        )  # fmt: skip
        best = self.enrichment.best(lists_fk)
        p_f = np.maximum(nulls.p_random(best.llr_f, self.k), nulls.p_hub(best.llr_f, self.k))
        # Only lists that chance does not explain are tested against looks, which costs the most.
        p_visual_f = self.looks.p_values(layer, lists_fk, best, self.enrichment, tested_f & (p_f <= q), generator)
        frame = judge(
            lists_fk, self.relations, nulls, q=q, p_visual_f=p_visual_f, dead_f=dead_f, faults_f=faults.fault_f
        )
        frame["fault_images"] = faults.images_f
        frame["reason"] = explain(frame, q)
        frame["firing_rate"], frame["dead"], frame["tested"] = stats["firing_rate"], dead_f, tested_f
        keys = {"feature": range(len(frame)), "layer": layer, "index": self.index.path.name, "pooling": self.pooling}
        for at, (name, value) in enumerate(keys.items()):
            frame.insert(at, name, value)
        frame = frame.assign(**self.coherence(layer, lists_fk))
        return LayerScores(frame, self.curve(layer, rows_fk, values_fk, dead_f))

    def curve(self, layer: str, rows_fk: np.ndarray, values_fk: np.ndarray, dead_f: np.ndarray) -> pd.DataFrame:
        """Verdicts of a layer at every length of list that has a null, against random lists alone."""
        parts = []
        for length, null in self.random.items():
            nulls = Nulls(length, null, (null,), np.zeros(len(rows_fk), np.int64))
            faults_f = list_faults(rows_fk, values_fk, length).fault_f
            part = judge(rows_fk, self.relations, nulls, q=self.settings.q, dead_f=dead_f, faults_f=faults_f)
            parts.append(part.assign(feature=range(len(part)), layer=layer)[CURVE_COLUMNS])
        return pd.concat(parts).sort_values(["feature", "k"], kind="stable")

    def coherence(self, layer: str, lists_fk: np.ndarray) -> dict[str, np.ndarray | float]:
        """How alike the images of each feature are to the scorer; NaN without one."""
        result: dict[str, np.ndarray | float] = dict.fromkeys(("clarity", "monosemanticity", "redundancy"), np.nan)
        if self.embeddings_nd is None:
            return result
        result["clarity"] = mean_cosine(self.embeddings_nd, lists_fk)
        result["redundancy"] = redundancy(self.embeddings_nd, lists_fk)
        if self.index.manifest.vectors and self.pooling == self.index.manifest.pooling[0]:
            result["monosemanticity"] = monosemanticity(self.embeddings_nd, activations_of(self.index, layer))
        return result

    def describe(self) -> dict[str, Any]:
        """How the scores were made, in JSON's types: `FeatureScores.settings`."""
        manifest = self.index.manifest
        return {
            "model": manifest.model["spec"], "source": manifest.source["spec"],
            "fingerprints": {"model": manifest.model["fingerprint"], "source": manifest.source["fingerprint"]},
            "layers": list(self.layers), "pooling": self.pooling, "k": self.k, "index_k": manifest.k,
            "q": self.settings.q, "draws": self.settings.draws, "seed": self.settings.seed,
            "concepts": describe_concepts(self.concepts), "looks": self.looks.method.to_json(),
            "scorer": None if self.scorer is None else self.scorer.spec, "curve": list(self.random),
            "versions": {name: importlib.metadata.version(name) for name in ("conceptprobe", "numpy", "scipy")},
        }  # fmt: skip


def prepare_run(
    index: Index,
    concepts: ConceptSet,
    settings: ScoreSettings,
    *,
    layers: str | Sequence[str] | None,
    pooling: str | None,
    visual: np.ndarray | str | None,
    scorer: VisionModel | None,
    images: ImageSource | None,
    progress: bool,
) -> ScoringRun:
    """Check that the settings fit the index, and prepare what its layers share; see `score_features`.

    Raises:
        ConceptError: The concepts are of other images, or k or visual is out of range.
        IndexingError: The index has no such layer or pooling; or its images cannot be read, where there is a scorer.
    """
    layers = index.choose_layers(layers)
    pooling = index.manifest.pooling[0] if pooling is None else pooling
    k = choose_k(index, concepts, settings.k)
    for layer in layers:
        index.top_rows(layer, pooling)
    looks = prepare_looks_test(
        index, concepts, visual, k=k, pooling=pooling, images=images, seed=settings.seed, progress=progress
    )
    embeddings_nd = None if scorer is None else embed_images(scorer, source_of(index, images), progress=progress)
    relations = Relations(concepts, seed=settings.seed)
    random = {}
    for length in track(curve_lengths(index, k), "random lists", console=Console(stderr=True), disable=not progress):
        draws = settings.draws if length == k else min(settings.draws, CURVE_DRAWS)
        generator = np.random.default_rng([settings.seed, length])
        random[length] = draw_null(concepts, counts_of(length, draws), generator)
    return ScoringRun(index, layers, pooling, k, settings, relations, looks, random, scorer, embeddings_nd)


def choose_k(index: Index, concepts: ConceptSet, k: int | None) -> int:
    """The k of a run: the one that the user asks for, or the median size of a leaf within the limits of the index.

    Raises:
        ConceptError: The concepts are of other images, k is out of range, or there are too few images to choose a k.
    """
    images, most = len(index.images), index.manifest.k
    if concepts.members_nc.shape[0] != images:
        raise ConceptError(
            f"the concepts are over {concepts.members_nc.shape[0]} images, {index.path} has {images}: make them with "
            "concepts_of(index), or with ConceptSet.from_sets(sets, index.images['id'])"
        )
    if k is not None:
        if not k <= min(most, images - 1):
            raise ConceptError(
                f"k is {k}: it must be from 2 to {min(most, images - 1)}, as {index.path} keeps lists of {most} of "
                f"{images} images"
            )
        return k
    if images < 2 * LEAST_K:
        raise ConceptError(
            f"{index.path} has {images} images, too few to choose k: index at least {2 * LEAST_K} images, or give k"
        )
    return min(most, images // 2, MOST_K, max(LEAST_K, int(np.median(concepts.sizes[concepts.is_leaf]))))


def curve_lengths(index: Index, k: int) -> list[int]:
    """Lengths of lists on the curve, ascending: k, and half, twice and four times that where the index allows it."""
    most = min(index.manifest.k, len(index.images) // 2)
    return sorted({max(2, int(k * factor)) for factor in CURVE if k * factor <= most} | {k})


def describe_concepts(concepts: ConceptSet) -> dict[str, Any]:
    """What scores store of their concepts; the fingerprint is over the names, the leaves and the images of each."""
    kinds, counts = np.unique(concepts.kinds, return_counts=True)
    members = concepts.members_nc
    digest = sha256(json.dumps(concepts.names).encode())
    for array in (members.indptr.astype(np.int64), members.indices.astype(np.int64), concepts.is_leaf):
        digest.update(np.ascontiguousarray(array).tobytes())
    return {
        "count": len(concepts),
        "leaves": int(concepts.is_leaf.sum()),
        "kinds": dict(zip(kinds.tolist(), counts.tolist(), strict=True)),
        "dropped": len(concepts.dropped),
        "options": list(concepts.options),
        "fingerprint": digest.hexdigest(),
    }
