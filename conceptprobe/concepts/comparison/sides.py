"""The features of a model in a comparison: their verdicts, over all images and over resampled ones."""

import functools
import operator
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from conceptprobe.concepts.comparison.clusters import redundancy_clusters
from conceptprobe.concepts.comparison.intervals import Measure
from conceptprobe.concepts.comparison.layer_pairs import feature_vectors
from conceptprobe.concepts.comparison.resampling import Resamples, random_null, rejudge, verdict_codes
from conceptprobe.concepts.comparison.settings import Comparison
from conceptprobe.concepts.scoring.verdicts import ONE_CONCEPT, TESTED, VERDICTS
from conceptprobe.concepts.statistics.hierarchy import Relations
from conceptprobe.display.progress import tracked

ALL = "all"
MEASURES = (*(verdict.value for verdict in TESTED), "abstraction")
ONE_MEANING = [VERDICTS.index(verdict) for verdict in ONE_CONCEPT]


@dataclass(frozen=True, eq=False)
class Side:
    """The features of one or two models in the compared layers, one after the other.

    Attributes:
        name: The model's name; that of the second where there are two.
        scores: Rows of `FeatureScores.frame`; `layer` is the name of the pair of layers.
        resamples: Verdicts over resampled images.
        cluster_f: Clusters of redundant features, int64 [f].
    """

    name: str
    scores: pd.DataFrame
    resamples: Resamples
    cluster_f: np.ndarray

    def __add__(self, other: "Side") -> "Side":
        return Side(
            other.name,
            pd.concat([self.scores, other.scores], ignore_index=True),
            self.resamples + other.resamples,
            np.concatenate([self.cluster_f, other.cluster_f]),
        )

    def at(self, features: np.ndarray) -> "Side":
        """The side with only some of its features, by their positions."""
        return Side(self.name, self.scores.iloc[features], self.resamples.at(features), self.cluster_f[features])

    def of_layer(self, name: str) -> np.ndarray:
        """Positions of the features of a layer; `all` is every layer."""
        return np.flatnonzero((self.scores["layer"] == name) | (name == ALL))

    def measure(self, name: str, scale: float) -> Measure:
        """What a measure averages over the features.

        A verdict rate averages whether a tested feature has the verdict, and abstraction is averaged over the object
        and conceptual features.

        Args:
            name: One of MEASURES.
            scale: See `Plan.scale`.
        """
        verdict_f, verdict_bf = verdict_codes(self.scores["verdict"]), self.resamples.verdict_bf
        if name in TESTED:
            counts_f = self.scores["tested"].to_numpy()
            counts_bf = np.broadcast_to(counts_f, verdict_bf.shape)
            value_f, value_bf = (verdict == VERDICTS.index(name) for verdict in (verdict_f, verdict_bf))
        else:
            value_f, value_bf = self.scores["abstraction"].to_numpy(), self.resamples.abstraction_bf
            counts_f = np.isin(verdict_f, ONE_MEANING) & ~np.isnan(value_f)
            counts_bf = np.isin(verdict_bf, ONE_MEANING) & ~np.isnan(value_bf)
        arrays = np.where(counts_f, value_f, 0), counts_f, np.where(counts_bf, value_bf, 0), counts_bf
        value_f, counts_f, value_bf, counts_bf = (array.astype(np.float64) for array in arrays)
        return Measure(value_f, counts_f, value_bf, counts_bf, scale, is_rate=name in TESTED)


def make_sides(comparison: Comparison) -> list[Side]:
    """Judge the features of every model over resampled images."""
    plan, relations = comparison.plan, Relations(comparison.concepts, seed=comparison.settings.seed)
    null = random_null(relations, plan.k, np.random.default_rng([plan.seed, plan.k]))
    sides = []
    clusters = cluster_features(comparison)
    for at, (index, name, cluster_f) in enumerate(zip(comparison.indices, comparison.names, clusters, strict=True)):
        frames, resamples = [], []
        layers = tracked(comparison.layers_of(at), f"resamples of {name}", show=comparison.settings.progress)
        for number, layer in enumerate(layers):
            frame = comparison.scores_of(at, layer)
            dead_f, tested_f = frame["dead"].to_numpy(), frame["tested"].to_numpy()
            # Looks are tested only where chance does not explain the list; what was not tested is not significant.
            p_visual_f = frame["p_visual"].fillna(1 if frame["p_visual"].notna().any() else np.nan).to_numpy()
            rng = np.random.default_rng([plan.seed, plan.k, number])  # the same draws for every model
            resamples.append(
                rejudge(
                    index.top_rows(layer, comparison.pooling)[0], relations, plan, comparison.settings.resamples, rng,
                    random=null, q=comparison.q, p_visual_f=p_visual_f, dead_f=dead_f,
                    faults_f=np.where(dead_f | tested_f, "", "untested").astype(object),
                )
            )  # fmt: skip
            frames.append(frame.assign(layer=comparison.layer_names[number]))
        scores = pd.concat(frames, ignore_index=True)
        sides.append(Side(name, scores, functools.reduce(operator.add, resamples), cluster_f))
    return sides


def cluster_features(comparison: Comparison) -> Iterator[np.ndarray]:
    """Clusters of redundant features over all models and layers, int64 [f] for each model.

    Where an index has no vectors of this pooling, every feature is a cluster by itself.
    """
    numbered = list(enumerate(comparison.indices))
    widths = [[i.width(layer) for layer in comparison.layers_of(at)] for at, i in numbered]
    ends = np.cumsum([sum(layer_widths) for layer_widths in widths])
    if comparison.has_vectors:
        vectors = [feature_vectors(index, layer) for at, index in numbered for layer in comparison.layers_of(at)]
        cluster_f = redundancy_clusters(np.concatenate(vectors))
    else:
        cluster_f = np.arange(ends[-1])
    yield from np.split(cluster_f, ends[:-1])
