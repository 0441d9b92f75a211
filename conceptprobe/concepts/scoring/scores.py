"""Score features: what concept each responds to, and whether that is an object or a concept."""

import importlib.metadata
import json
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.looks.significance import Looks, look_at
from conceptprobe.concepts.scoring.verdicts import explain, judge, list_faults
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.sets.from_index import concepts_of
from conceptprobe.concepts.statistics.coherence import mean_cosine, monosemanticity, redundancy
from conceptprobe.concepts.statistics.enrichment import Enrichment
from conceptprobe.concepts.statistics.hierarchy import Relations
from conceptprobe.concepts.statistics.nulls import DRAWS, Null, Nulls, counts_of, draw_null, draw_nulls
from conceptprobe.display import figures, html
from conceptprobe.display.progress import tracked
from conceptprobe.images import ImagesLike, as_images
from conceptprobe.indexing import Index
from conceptprobe.indexing.index import IndexLike, as_index
from conceptprobe.indexing.source import source_of
from conceptprobe.models import ModelLike, as_model
from conceptprobe.output.tables import load_tables, save_tables
from conceptprobe.search.embeddings import embed_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "scores"
LEAST_K, MOST_K = 8, 40
CURVE = (0.5, 1, 2, 4)
CURVE_DRAWS = 20_000
POSITIVE = ("object", "conceptual", "polysemantic")
SHARES = (*POSITIVE, "unresolved", "dead", "untested")
EXAMPLES = 5
EXAMPLE_HEADS = ("feature", "concept", "images of it", "LLR", "q", "abstraction")


@dataclass(frozen=True, eq=False, repr=False)
class FeatureScores:
    """What the features of an index respond to.

    Attributes:
        frame: One row a feature: feature, layer, index, pooling, concept, kind, hits, k, size, llr, p_random, p_hub,
            p_visual, p, q, verdict, reason, abstraction, effective_leaves, least_effective_leaves, largest_leaf_share,
            second_concept, second_hits, second_length, p_second, clarity, monosemanticity, redundancy, firing_rate,
            dead, tested. docs/concepts.md says what each is.
        curve: One row a feature and length of its list: feature, layer, k, concept, hits, llr, p, q, verdict; against
            random lists alone.
        settings: How they were made.
    """

    frame: pd.DataFrame
    curve: pd.DataFrame
    settings: dict[str, Any]

    def __repr__(self) -> str:
        counts = self.frame["verdict"].value_counts()
        verdicts = ", ".join(f"{counts.get(name, 0)} {name}" for name in (*POSITIVE, "unresolved", "dead"))
        return f"FeatureScores({self.settings['model']}, k {self.settings['k']}: {verdicts})"

    def __len__(self) -> int:
        return len(self.frame)

    def _repr_html_(self) -> str:
        heads, rows = ["layer", *SHARES], []
        for layer, part in self.summary().groupby("layer", sort=False):
            of = part.set_index("verdict")
            cells = [f"{of['count'][name]:,} ({html.percent(of['share'][name])})" for name in SHARES]
            rows.append([str(layer), *cells])
        parts = [html.table(heads, rows)]
        for verdict, words in (("conceptual", "Most conceptual"), ("object", "Most object-like")):
            best = self.frame[self.frame["verdict"] == verdict].nlargest(EXAMPLES, "llr")
            if len(best):
                parts += [
                    html.heading(words),
                    html.table(EXAMPLE_HEADS, [example_row(row) for row in best.itertuples()]),
                ]
        title = f"{self.settings['model']}: scores at k {self.settings['k']}, q ≤ {self.settings['q']:g}"
        note = "Shares of the first four verdicts are of the tested features, of the last two of all."
        return html.block(title, "".join(parts), [note])

    def figure(self, *others: "FeatureScores") -> "Figure":
        """Verdicts by layer as a matplotlib figure, other models beside this one; needs the extra `plots`."""
        tables = [(str(scores.settings["model"]), scores.summary()) for scores in (self, *others)]
        return figures.shares_figure(tables, POSITIVE)

    def summary(self) -> pd.DataFrame:
        """How many features of each layer have each verdict: layer, verdict, count, of, share, low, high.

        Shares are of the features that were tested; those of `dead` and `untested` are of all. The 95 % intervals are
        Wilson's (1927), for features drawn independently; features that say the same are not, see `contrast`.
        """
        rows = []
        for layer, part in self.frame.groupby("layer", sort=False):
            tested = part[part["tested"]]
            counts = {name: (int((tested["verdict"] == name).sum()), len(tested)) for name in (*POSITIVE, "unresolved")}
            counts["dead"] = int(part["dead"].sum()), len(part)
            counts["untested"] = int((~part["tested"] & ~part["dead"]).sum()), len(part)
            for verdict, (count, of) in counts.items():
                low, high = binomtest(count, of).proportion_ci(method="wilson") if of else (np.nan, np.nan)
                rows.append((layer, verdict, count, of, count / of if of else np.nan, low, high))
        return pd.DataFrame(rows, columns=["layer", "verdict", "count", "of", "share", "low", "high"])

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write `features.parquet`, `curve.parquet` and `scores.json`; equal scores give equal bytes."""
        return save_tables(folder, NAME, {"features": self.frame, "curve": self.curve}, self.settings)


def example_row(row: Any) -> list[str]:
    """A feature's cells under `EXAMPLE_HEADS`."""
    return [
        f"{row.layer}:{row.feature}", str(row.concept), f"{row.hits} of {row.k}", html.number(row.llr),
        html.number(row.q), html.number(row.abstraction),
    ]  # fmt: skip


def load_scores(folder: str | os.PathLike[str]) -> FeatureScores:
    """Read what `FeatureScores.save` wrote.

    Raises:
        OutputError: The folder holds no scores, or damaged ones, or of another version.
    """
    tables, settings = load_tables(folder, NAME, ("features", "curve"), command="conceptprobe score INDEX")
    return FeatureScores(tables["features"], tables["curve"], settings)


def score_features(
    index: IndexLike,
    concepts: ConceptSet | None = None,
    k: int | None = None,
    *,
    layers: str | Sequence[str] | None = None,
    pooling: str | None = None,
    q: float = 0.05,
    draws: int = DRAWS,
    visual: np.ndarray | str | None = "auto",
    scorer: ModelLike | None = None,
    images: ImagesLike | None = None,
    seed: int = 0,
    progress: bool = False,
) -> FeatureScores:
    """Score every feature of an index: which concept explains its top images, and what kind of feature that makes it.

    q-values are Benjamini and Hochberg's over the tested features of a layer, so that a layer's scores do not depend on
    which others are scored with it. docs/concepts.md has the formulas, and the simulations behind them.

    Args:
        index: A finished index.
        concepts: Over its images, in its order; by default all that its source knows (see `concepts_of`).
        k: How many top images are looked at, at most the k of the index. By default the median size of a leaf, from 8
            to 40, and no more than half the images.
        layers: By default all.
        pooling: By default the index's first.
        q: False discovery rate of the verdicts object, conceptual and polysemantic.
        draws: Lists that each null draws.
        visual: What tests whether images share a concept only because they look alike: `auto` describes the images
            where they can be read, and otherwise leaves the test out and says so; an array float [n,v] describes them
            otherwise; None leaves it out.
        scorer: A model with an embedding, in whose space clarity, monosemanticity and redundancy are; without one
            they are NaN. No verdict depends on it.
        images: Where the images are now, if not where the index was built from.
        seed: Where the draws come from.
        progress: Show bars on stderr.

    Raises:
        ConceptError: The concepts are of other images, or k, q, draws or visual is out of range.
        IndexingError: The index has no such layer or pooling; or its images cannot be read, where there is a scorer.
    """
    index = as_index(index)
    scorer = None if scorer is None else as_model(scorer)
    images = None if images is None else as_images(images)
    concepts = concepts_of(index) if concepts is None else concepts
    layers = index.choose_layers(layers)
    pooling = index.pooling if pooling is None else pooling
    k = _length(index, concepts, k)
    if not 0 < q < 1:
        raise ConceptError(f"q is {q}: a false discovery rate is between 0 and 1")
    if draws < 100:
        raise ConceptError(f"draws is {draws}: a null needs at least 100")
    for layer in layers:
        index.top_rows(layer, pooling)
    looks = look_at(index, concepts, k, pooling, visual, images, seed, progress)
    embeddings_nd = None if scorer is None else embed_images(scorer, source_of(index, images), progress=progress)
    relations = Relations(concepts, seed=seed)
    lengths = sorted(
        {max(2, int(k * factor)) for factor in CURVE if k * factor <= min(index.manifest.k, len(index.images) // 2)}
        | {k}
    )
    randoms = {
        length: draw_null(
            concepts,
            counts_of(length, draws if length == k else min(draws, CURVE_DRAWS)),
            np.random.default_rng([seed, length]),
        )
        for length in tracked(lengths, "random lists", show=progress)
    }
    frames, curves = [], []
    for layer in tracked(layers, f"scores of {index.path.name}", show=progress):
        frame, curve = _score_layer(index, layer, pooling, relations, k, q, draws, looks, randoms, seed)
        frames.append(frame.assign(**_coherence(index, layer, pooling, k, embeddings_nd)))
        curves.append(curve)
    manifest = index.manifest
    settings = {
        "model": manifest.model.spec, "source": manifest.source.spec,
        "fingerprints": {"model": manifest.model.fingerprint, "source": manifest.source.fingerprint},
        "layers": list(layers), "pooling": pooling, "k": k, "index_k": manifest.k, "q": q, "draws": draws, "seed": seed,
        "concepts": describe_concepts(concepts), "looks": looks.how, "scorer": None if scorer is None else scorer.spec,
        "curve": lengths,
        "versions": {name: importlib.metadata.version(name) for name in ("conceptprobe", "numpy", "scipy")},
    }  # fmt: skip
    return FeatureScores(pd.concat(frames, ignore_index=True), pd.concat(curves, ignore_index=True), settings)


def _score_layer(
    index: Index,
    layer: str,
    pooling: str,
    relations: Relations,
    k: int,
    q: float,
    draws: int,
    looks: Looks,
    randoms: dict[int, Null],
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    rows_fk, values_fk = index.top_rows(layer, pooling)
    stats = index.stats(layer, pooling)
    dead_f, faults_f = stats["dead"].to_numpy(), list_faults(rows_fk, values_fk, k)
    tested_f = ~dead_f & (faults_f == "")
    rng = np.random.default_rng([seed, k, zlib.crc32(f"{layer} {pooling}".encode())])
    lists_fk = rows_fk[:, :k]
    nulls = draw_nulls(lists_fk, relations.concepts, rng, live_f=tested_f, draws=draws, random=randoms[k])
    enrichment = Enrichment(relations.concepts, k)
    best = enrichment.best(lists_fk)
    p_f = np.maximum(nulls.p_random(best.llr_f, k), nulls.p_hub(best.llr_f, k))
    p_visual_f = looks.p_values(index, layer, lists_fk, best, enrichment, tested_f & (p_f <= q), rng)
    frame = judge(lists_fk, relations, nulls, q=q, p_visual_f=p_visual_f, dead_f=dead_f, faults_f=faults_f)
    frame["reason"] = explain(frame, q)
    frame["firing_rate"], frame["dead"], frame["tested"] = stats["firing_rate"], dead_f, tested_f
    _place(frame, index, layer, pooling)
    curve = []
    for length, null in randoms.items():
        alone = Nulls(length, null, (null,), np.zeros(len(frame), np.int64))
        faults_f = list_faults(rows_fk, values_fk, length)
        part = judge(rows_fk, relations, alone, q=q, dead_f=dead_f, faults_f=faults_f)
        part.insert(0, "feature", frame["feature"])
        part.insert(1, "layer", layer)
        curve.append(part[["feature", "layer", "k", "concept", "hits", "llr", "p", "q", "verdict"]])
    return frame.drop(columns="fault"), pd.concat(curve).sort_values(["feature", "k"], kind="stable")


def _coherence(
    index: Index, layer: str, pooling: str, k: int, embeddings_nd: np.ndarray | None
) -> dict[str, np.ndarray | float]:
    result: dict[str, np.ndarray | float] = dict.fromkeys(("clarity", "monosemanticity", "redundancy"), np.nan)
    if embeddings_nd is None:
        return result
    lists_fk = index.top_rows(layer, pooling)[0][:, :k]
    result["clarity"], result["redundancy"] = mean_cosine(embeddings_nd, lists_fk), redundancy(embeddings_nd, lists_fk)
    if index.keeps_activations(pooling):
        result["monosemanticity"] = monosemanticity(embeddings_nd, index.activation_blocks(layer))
    return result


def _place(frame: pd.DataFrame, index: Index, layer: str, pooling: str) -> None:
    for at, (name, value) in enumerate(
        {"feature": range(len(frame)), "layer": layer, "index": index.path.name, "pooling": pooling}.items()
    ):
        frame.insert(at, name, value)


def _length(index: Index, concepts: ConceptSet, k: int | None) -> int:
    images, most = len(index.images), index.manifest.k
    if concepts.members_nc.shape[0] != images:
        raise ConceptError(
            f"the concepts are over {concepts.members_nc.shape[0]} images, {index.path} has {images}: make them with "
            "concepts_of(index), or with ConceptSet.from_sets(sets, index.images['id'])"
        )
    if k is not None:
        if not 2 <= k <= min(most, images - 1):
            raise ConceptError(
                f"k is {k}: it must be from 2 to {min(most, images - 1)}, as {index.path} keeps lists of {most} of "
                f"{images} images"
            )
        return k
    if images < 2 * LEAST_K:
        raise ConceptError(
            f"{index.path} has {images} images: too few to tell what a feature responds to; at least {2 * LEAST_K} are "
            "needed, or a k of your own"
        )
    return min(most, images // 2, MOST_K, max(LEAST_K, int(np.median(concepts.sizes[concepts.is_leaf]))))


def describe_concepts(concepts: ConceptSet) -> dict[str, Any]:
    """What scores say of the concepts they are by; the fingerprint is over names, leaves and images of each."""
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
