"""The paired comparison of models on the same images: how much of each verdict, and which concepts."""

import functools
import itertools
import operator
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.random import Generator
from rich.console import Console
from rich.progress import track
from scipy.stats import false_discovery_control

from conceptprobe.concepts.comparison.checks import caveats_of, check_scores, comparable, model_names
from conceptprobe.concepts.comparison.clusters import THRESHOLD, redundancy_clusters
from conceptprobe.concepts.comparison.coverage import SURE, Lists, holders, least_llr, power_to_find
from conceptprobe.concepts.comparison.intervals import Measure, binomial, estimate
from conceptprobe.concepts.comparison.layer_pairs import check_comparable, feature_vectors, place_name, side_by_side
from conceptprobe.concepts.comparison.matched_difference import matched_difference, strata_of
from conceptprobe.concepts.comparison.matching import match_features
from conceptprobe.concepts.comparison.resampling import Plan, Resamples, codes, random_null, rejudge
from conceptprobe.concepts.comparison.summary import summarise
from conceptprobe.concepts.errors import ContrastError
from conceptprobe.concepts.scoring.scores import FeatureScores, score_features
from conceptprobe.concepts.scoring.verdicts import ONE_CONCEPT, POSITIVE, TESTED, VERDICTS
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.sets.from_index import concepts_of
from conceptprobe.concepts.statistics.hierarchy import Relations
from conceptprobe.concepts.statistics.nulls import Null
from conceptprobe.display import figures, html
from conceptprobe.indexing import Index
from conceptprobe.indexing.index import IndexLike, as_index
from conceptprobe.output.tables import load_tables, save_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESAMPLES = 100
ALL = "all"
MEASURES = (*(verdict.value for verdict in TESTED), "abstraction")
ONE_MEANING = [VERDICTS.index(verdict) for verdict in ONE_CONCEPT]
TABLES = ("differences", "models", "concepts", "matches")


NAME = "contrast"
HEADS = ("models", "place", "measure", "first", "second", "difference", "95 % low", "95 % high", "p", "q")


@dataclass(frozen=True, eq=False, repr=False)
class Contrast:
    """How models differ on the same images.

    Attributes:
        differences: One row for each other model, place and measure: model_a, model_b, place (a layer, or `all`),
            measure, a, b, difference (a - b), low, high, se, se_images, low_binomial, high_binomial (as if features
            were independent; for comparison), matched_difference and p (within strata, against permuted model labels),
            q (Benjamini-Hochberg over the rows of the two models).
        models: One row for each model, place and measure: model, place, measure, value, low, high, counted (features
            that it is an average over), features, tested, dead, untested, clusters.
        concepts: One row for each model and concept; see `holders`. With power (the probability that the model would
            be found to hold the concept, had it a feature as strong as another model's) and sure (it has none, and
            power is at least 0.8).
        matches: `Matches.frame` of the first model with each other, and model_b; empty where not asked for.
        settings: How it was made.
        caveats: What to keep in mind, in words.
    """

    differences: pd.DataFrame
    models: pd.DataFrame
    concepts: pd.DataFrame
    matches: pd.DataFrame
    settings: dict[str, Any]
    caveats: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Contrast({' | '.join(self.settings['models'])}, {len(self.settings['places'])} places)"

    def _repr_html_(self) -> str:
        rows = []
        for row in self.differences.itertuples():
            unit = 1 if row.measure == "abstraction" else 100
            numbers = (row.a, row.b, row.difference, row.low, row.high)
            rows.append(
                [
                    f"{row.model_a} against {row.model_b}", row.place, row.measure,
                    *(html.number(unit * value) for value in numbers), html.number(row.p), html.number(row.q),
                ]
            )  # fmt: skip
        table = html.folded(html.count_of(len(rows), "difference"), html.table(HEADS, rows))
        note = "Shares and their differences are in percent and percentage points; abstraction is from 0 to 1."
        return html.block(" against ".join(self.settings["models"]), html.lines(self.summary()) + table, [note])

    def figure(self) -> "Figure":
        """Differences with their intervals as a matplotlib figure; needs the extra `plots`."""
        return figures.differences_figure(self.differences, str(self.settings["models"][0]), (*POSITIVE, "abstraction"))

    def summary(self) -> str:
        """The findings in words, with their intervals."""
        return summarise(self.differences, self.models, self.concepts, self.matches, self.settings, self.caveats)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write a parquet file for each table, `contrast.json` and `summary.txt`; equal results give equal bytes."""
        tables = {name: getattr(self, name) for name in TABLES}
        about = {"settings": self.settings, "caveats": self.caveats}
        files = {"summary.txt": f"{self.summary()}\n".encode()}
        return save_tables(folder, NAME, tables, about, files)


def load_contrast(folder: str | os.PathLike[str]) -> Contrast:
    """Read what `Contrast.save` wrote.

    Raises:
        OutputError: The folder holds no contrast, or a damaged one, or of another version.
    """
    tables, about = load_tables(folder, NAME, TABLES, command="conceptprobe contrast INDEX_A INDEX_B --out {folder}")
    return Contrast(**tables, settings=about["settings"], caveats=tuple(about["caveats"]))


@dataclass(frozen=True, eq=False)
class Side:
    """The features of one or two models at the compared places, one after the other.

    Attributes:
        name: The model's; of two, the second's.
        scores: Rows of `FeatureScores.frame`, with the column `place`.
        again: Verdicts over resampled images.
        cluster_f: Clusters of redundant features, int64 [f].
    """

    name: str
    scores: pd.DataFrame
    again: Resamples
    cluster_f: np.ndarray

    def __add__(self, other: "Side") -> "Side":
        return Side(
            other.name,
            pd.concat([self.scores, other.scores], ignore_index=True),
            self.again + other.again,
            np.concatenate([self.cluster_f, other.cluster_f]),
        )

    def at(self, features: np.ndarray) -> "Side":
        """Some of the features, by their positions."""
        return Side(self.name, self.scores.iloc[features], self.again.at(features), self.cluster_f[features])

    def place(self, name: str) -> np.ndarray:
        """Positions of the features at a place; `all` is every place."""
        return np.flatnonzero((self.scores["place"] == name) | (name == ALL))


def contrast(
    index_a: IndexLike,
    index_b: IndexLike,
    *more: IndexLike,
    concepts: ConceptSet | None = None,
    scores: Sequence[FeatureScores] | None = None,
    pairs: Iterable[Sequence[str]] | None = None,
    pooling: str | None = None,
    k: int | None = None,
    q: float = 0.05,
    resamples: int = RESAMPLES,
    match: bool = True,
    class_names: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Contrast:
    """Compare models by what their features respond to. docs/contrast.md has the method and its simulations.

    Args:
        index_a: An index, or its path.
        index_b: Another model's, over the same images.
        more: Further ones; each is compared with the first.
        concepts: Over the images, in their order; by default all that the source knows (see `concepts_of`).
        scores: Scores of the indices, in their order, by the same concepts; made where they are not given.
        pairs: For each place the layers that are compared, one of each index. By default those of the same name, or at
            the same relative depth among the indexed layers.
        pooling: By default the first that all have.
        k: See `score_features`, as for q; not with `scores`.
        q: False discovery rate.
        resamples: How often images are resampled.
        match: Whether to match features, for which indices need vectors.
        class_names: What each model was trained to tell apart, by its spec; by default asked of the models.
        seed: Where draws come from.
        progress: Show bars on stderr.

    Raises:
        ContrastError: The indices are of other images or have lists of other lengths, their layers do not pair, or
            scores are of other indices or concepts.
        ConceptError: There are no concepts, or k or q is out of range.
    """
    indices = tuple(as_index(index) for index in (index_a, index_b, *more))
    pooling = check_comparable(indices, pooling)
    places = side_by_side(indices, pairs)
    if resamples < 2:
        raise ContrastError(f"resamples is {resamples}: at least 2 are needed to see how verdicts vary")
    names = model_names(indices)
    concepts = concepts_of(indices[0]) if concepts is None else concepts
    if scores is None:
        scores = [
            score_features(
                index, concepts, k, layers=[layers[at] for layers in places], pooling=pooling, q=q, seed=seed,
                progress=progress,
            )
            for at, index in enumerate(indices)
        ]  # fmt: skip
    check_scores(indices, places, pooling, concepts, scores)
    k, q = scores[0].settings["k"], scores[0].settings["q"]
    plan = Plan.of(len(indices[0].images), k, seed)
    relations = Relations(concepts, seed=seed)
    clusters = list(cluster_features(indices, places, pooling))
    null = random_null(relations, plan.k, np.random.default_rng([seed, plan.k]))
    sides, lists = [], []
    for at, index in enumerate(indices):
        parts, again = [], []
        layers = [place[at] for place in places]
        shown = track(layers, f"resamples of {names[at]}", console=Console(stderr=True), disable=not progress)
        for place, layer in enumerate(shown):
            frame = scores[at].frame[scores[at].frame["layer"] == layer].reset_index(drop=True)
            rows_fk, _ = index.top_rows(layer, pooling)
            parts.append(Lists(rows_fk[:, :k], frame))
            rng = np.random.default_rng([seed, plan.k, place])  # of the place: models share its draws
            again.append(resample(rows_fk, frame, relations, plan, resamples, rng, null, q))
        together = [part.scores.assign(place=place_name(place)) for part, place in zip(parts, places, strict=True)]
        resampled = functools.reduce(operator.add, again)
        sides.append(Side(names[at], pd.concat(together, ignore_index=True), resampled, clusters[at]))
        lists.append(parts)
    differences = pd.concat([compare(sides[0], side, places, plan, seed) for side in sides[1:]], ignore_index=True)
    matches = [
        match_features(index_a, index, pairs=[(place[0], place[at]) for place in places], rate=q, seed=seed)
        .frame.assign(model_b=names[at])
        for at, index in enumerate(indices[1:], 1)
        if match and comparable(indices, pooling)
    ]  # fmt: skip
    short = max(side.again.short for side in sides)
    settings = {
        "models": list(names), "places": [list(place) for place in places], "pooling": pooling, "k": k, "q": q,
        "images": plan.images, "source": indices[0].manifest.source["spec"], "resamples": resamples,
        "resample": {"kept": plan.kept, "k": plan.k}, "cluster_threshold": THRESHOLD, "seed": seed,
        "scores": [score.settings for score in scores],
    }  # fmt: skip
    return Contrast(
        differences,
        pd.concat([describe(side, places, plan) for side in sides], ignore_index=True),
        who_holds(sides, lists, concepts),
        pd.concat(matches, ignore_index=True) if matches else pd.DataFrame(),
        settings,
        tuple(caveats_of(indices, names, places, concepts, scores, short, pooling, class_names)),
    )


def resample(
    rows_fk: np.ndarray, scores: pd.DataFrame, relations: Relations, plan: Plan, resamples: int, rng: Generator,
    null: Null, q: float,
) -> Resamples:  # fmt: skip
    """Verdicts of a layer over resampled images."""
    dead_f, tested_f = scores["dead"].to_numpy(), scores["tested"].to_numpy()
    # Looks are tested only where chance does not explain the list; what was not tested is not significant.
    p_visual_f = scores["p_visual"].fillna(1 if scores["p_visual"].notna().any() else np.nan).to_numpy()
    faults_f = np.where(dead_f | tested_f, "", "untested").astype(object)
    return rejudge(
        rows_fk, relations, plan, resamples, rng, random=null, q=q, p_visual_f=p_visual_f, dead_f=dead_f,
        faults_f=faults_f,
    )  # fmt: skip


def cluster_features(indices: Sequence[Index], places: Sequence[Sequence[str]], pooling: str) -> Iterator[np.ndarray]:
    """Clusters of redundant features over all models and places, int64 [f] for each model. Where an index has no
    vectors of this pooling, every feature is a cluster of its own."""
    widths = [[index.manifest.layers[place[at]]["width"] for place in places] for at, index in enumerate(indices)]
    ends = np.cumsum([sum(own) for own in widths])
    if comparable(indices, pooling):
        vectors = [feature_vectors(index, place[at]) for at, index in enumerate(indices) for place in places]
        cluster_f = redundancy_clusters(np.concatenate(vectors))
    else:
        cluster_f = np.arange(ends[-1])
    yield from np.split(cluster_f, ends[:-1])


def measure_of(side: Side, name: str, plan: Plan) -> Measure:
    """What `name` of MEASURES averages: whether a tested feature has a verdict, or the abstraction of those that are
    object or conceptual."""
    verdict_f, verdict_bf = codes(side.scores["verdict"]), side.again.verdict_bf
    if name in TESTED:
        counts_f = side.scores["tested"].to_numpy()
        counts_bf = np.broadcast_to(counts_f, verdict_bf.shape)
        value_f, value_bf = (verdict == VERDICTS.index(name) for verdict in (verdict_f, verdict_bf))
    else:
        value_f, value_bf = side.scores["abstraction"].to_numpy(), side.again.abstraction_bf
        counts_f = np.isin(verdict_f, ONE_MEANING) & ~np.isnan(value_f)
        counts_bf = np.isin(verdict_bf, ONE_MEANING) & ~np.isnan(value_bf)
    arrays = np.where(counts_f, value_f, 0), counts_f, np.where(counts_bf, value_bf, 0), counts_bf
    own_f, counts, own_bf, counts_b = (array.astype(np.float64) for array in arrays)
    return Measure(own_f, counts, own_bf, counts_b, plan.scale, is_share=name in TESTED)


def compare(a: Side, b: Side, places: Sequence[Sequence[str]], plan: Plan, seed: int) -> pd.DataFrame:
    """The rows of `Contrast.differences` for two models."""
    both = a + b
    sign_f = np.repeat([1, -1], [len(a.scores), len(b.scores)])
    stratum_f = strata_of(both.scores["place"].to_numpy(), both.scores["firing_rate"].to_numpy())
    rows = []
    for place, name in itertools.product(names_of(places), MEASURES):
        at = both.place(place)
        measure, sign, cluster = measure_of(both.at(at), name, plan), sign_f[at], both.cluster_f[at]
        found, naive = estimate(measure, sign, cluster), binomial(measure, sign)
        rng = np.random.default_rng([seed, zlib.crc32(f"{place} {name}".encode())])
        matched = matched_difference(measure.value_f, measure.counts_f, sign, cluster, stratum_f[at], rng)
        means = [measure.of(sign == own).mean() for own in (1, -1)]
        rows.append(
            (a.name, b.name, place, name, *means, found.value, found.low, found.high, found.se, found.se_images,
             naive.low, naive.high, matched.value, matched.p)
        )  # fmt: skip
    columns = (
        "model_a", "model_b", "place", "measure", "a", "b", "difference", "low", "high", "se", "se_images",
        "low_binomial", "high_binomial", "matched_difference", "p",
    )  # fmt: skip
    frame = pd.DataFrame(rows, columns=columns)
    known = frame["p"].notna()
    frame["q"] = np.nan
    if known.any():
        frame.loc[known, "q"] = false_discovery_control(frame.loc[known, "p"])
    return frame


def names_of(places: Sequence[Sequence[str]]) -> list[str]:
    """The places by name, and all of them together."""
    return [*(place_name(place) for place in places), ALL]


def describe(side: Side, places: Sequence[Sequence[str]], plan: Plan) -> pd.DataFrame:
    """The rows of `Contrast.models` for one model."""
    rows = []
    for place, name in itertools.product(names_of(places), MEASURES):
        part = side.at(side.place(place))
        tested, dead = part.scores["tested"], part.scores["dead"]
        measure = measure_of(part, name, plan)
        found = estimate(measure, np.ones(len(tested)), part.cluster_f)
        low, high = np.clip((found.low, found.high), 0, 1)  # shares and abstraction are from 0 to 1
        counts = len(tested), tested.sum(), dead.sum(), (~tested & ~dead).sum(), len(np.unique(part.cluster_f))
        rows.append((side.name, place, name, found.value, low, high, int(measure.counts_f.sum()), *map(int, counts)))
    columns = (
        "model", "place", "measure", "value", "low", "high", "counted", "features", "tested", "dead", "untested",
        "clusters",
    )  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def who_holds(sides: Sequence[Side], lists: Sequence[Sequence[Lists]], concepts: ConceptSet) -> pd.DataFrame:
    """The rows of `Contrast.concepts`."""
    tables = [holders(side.name, own, concepts) for side, own in zip(sides, lists, strict=True)]
    for at, (side, table) in enumerate(zip(sides, tables, strict=True)):
        others = [other["hits"].where(other["state"] == "held") for i, other in enumerate(tables) if i != at]
        strongest_c = pd.concat(others, axis=1).max(axis=1).to_numpy(np.float64)
        images = concepts.members_nc.shape[0]
        table["power"] = power_to_find(table, strongest_c, least_llr(side.scores), images)
        table["sure"] = (table["state"] == "none") & (table["power"] >= SURE)
    return pd.concat(tables, ignore_index=True)
