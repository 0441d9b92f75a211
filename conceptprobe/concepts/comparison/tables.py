"""The tables of a contrast."""

import itertools
import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from conceptprobe.concepts.comparison.coverage import SURE, Lists, concept_states, least_llr, power_to_find
from conceptprobe.concepts.comparison.intervals import binomial, estimate
from conceptprobe.concepts.comparison.matched_difference import matched_difference, strata_of
from conceptprobe.concepts.comparison.matching import match_features
from conceptprobe.concepts.comparison.settings import Comparison
from conceptprobe.concepts.comparison.sides import ALL, MEASURES, Side


def difference_table(comparison: Comparison, a: Side, b: Side) -> pd.DataFrame:
    """The rows of `Contrast.frame` for two models."""
    both = a + b
    sign_f = np.repeat([1, -1], [len(a.scores), len(b.scores)])
    stratum_f = strata_of(both.scores["layer"].to_numpy(), both.scores["firing_rate"].to_numpy())
    rows = []
    for layer, name in itertools.product((*comparison.layer_names, ALL), MEASURES):
        at = both.of_layer(layer)
        measure, sign, cluster = both.at(at).measure(name, comparison.plan.scale), sign_f[at], both.cluster_f[at]
        difference, naive = estimate(measure, sign, cluster), binomial(measure, sign)
        rng = np.random.default_rng([comparison.settings.seed, zlib.crc32(f"{layer} {name}".encode())])
        matched = matched_difference(measure.value_f, measure.counts_f, sign, cluster, stratum_f[at], rng)
        means = [measure.of(sign == model).mean() for model in (1, -1)]
        rows.append(
            (a.name, b.name, layer, name, *means, difference.value, difference.low, difference.high, difference.se,
             difference.se_images, naive.low, naive.high, difference.p, matched.value, matched.low, matched.high,
             matched.p)
        )  # fmt: skip
    columns = (
        "model_a", "model_b", "layer", "measure", "a", "b", "difference", "low", "high", "se", "se_images",
        "low_binomial", "high_binomial", "p", "matched_difference", "matched_low", "matched_high", "matched_p",
    )  # fmt: skip
    frame = pd.DataFrame(rows, columns=columns)
    known = frame["p"].notna()
    q = np.full(len(frame), np.nan)
    if known.any():
        q[known] = false_discovery_control(frame.loc[known, "p"])
    frame.insert(frame.columns.get_loc("p") + 1, "q", q)
    return frame


def model_table(comparison: Comparison, side: Side) -> pd.DataFrame:
    """The rows of `Contrast.models` for one model."""
    rows = []
    for layer, name in itertools.product((*comparison.layer_names, ALL), MEASURES):
        part = side.at(side.of_layer(layer))
        tested, dead = part.scores["tested"], part.scores["dead"]
        measure = part.measure(name, comparison.plan.scale)
        average = estimate(measure, np.ones(len(tested)), part.cluster_f)
        low, high = np.clip((average.low, average.high), 0, 1)  # verdict rates and abstraction are from 0 to 1
        counts = len(tested), tested.sum(), dead.sum(), (~tested & ~dead).sum(), len(np.unique(part.cluster_f))
        rows.append((side.name, layer, name, average.value, low, high, int(measure.counts_f.sum()), *map(int, counts)))
    columns = (
        "model", "layer", "measure", "value", "low", "high", "counted", "features", "tested", "dead", "untested",
        "clusters",
    )  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def concept_table(comparison: Comparison, sides: Sequence[Side]) -> pd.DataFrame:
    """The rows of `Contrast.concepts`."""
    tables = []
    for number, (index, side) in enumerate(zip(comparison.indices, sides, strict=True)):
        lists = [
            Lists(index.top_rows(layer, comparison.pooling)[0][:, : comparison.k], comparison.scores_of(number, layer))
            for layer in comparison.layers_of(number)
        ]
        tables.append(concept_states(side.name, lists, comparison.concepts))
    for number, (side, table) in enumerate(zip(sides, tables, strict=True)):
        others = [other["hits"].where(other["state"] == "held") for i, other in enumerate(tables) if i != number]
        strongest_c = pd.concat(others, axis=1).max(axis=1).to_numpy(np.float64)
        table["power"] = power_to_find(table, strongest_c, least_llr(side.scores), comparison.plan.images)
        table["sure"] = (table["state"] == "none") & (table["power"] >= SURE)
    return pd.concat(tables, ignore_index=True)


def match_table(comparison: Comparison) -> pd.DataFrame:
    """The rows of `Contrast.matches`; empty where matching is off or an index lacks vectors."""
    first, *others = comparison.indices
    if not comparison.settings.match or not comparison.has_vectors:
        return pd.DataFrame()
    tables = []
    for at, index in enumerate(others, 1):
        pairs = [(pair[0], pair[at]) for pair in comparison.pairs]
        matches = match_features(first, index, pairs=pairs, q=comparison.q, seed=comparison.settings.seed)
        tables.append(matches.frame.assign(model_b=comparison.names[at]))
    return pd.concat(tables, ignore_index=True)
