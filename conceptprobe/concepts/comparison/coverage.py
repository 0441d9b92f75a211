"""Which model has a feature for a concept, and how surely another has none."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import binom, hypergeom

from conceptprobe.concepts.scoring.verdicts import POSITIVE
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.enrichment import Enrichment, log_likelihood_ratio

ENRICHED_P = 0.05
SURE = 0.8


@dataclass(frozen=True, eq=False)
class Lists:
    """The top lists of a layer, with the rows of `FeatureScores.frame` for it."""

    rows_fk: np.ndarray
    scores: pd.DataFrame


def holders(model: str, lists: Sequence[Lists], concepts: ConceptSet) -> pd.DataFrame:
    """What a model has for each concept.

    A concept is `held` when it is the best concept of a significant feature: a verdict of object, conceptual or
    polysemantic. It is `enriched` when no feature is for it, but one that may be for a narrower or broader concept has
    more of its images than chance gives (hypergeometric, Bonferroni over the features, at 0.05); else `none`.

    Returns:
        One row a concept: model, concept, kind, size, at_leaf_level, state, held (how many features hold it), layer and
        feature (the one of the largest log-likelihood ratio for it: of those that hold it, or of all where none does),
        hits, k, llr, q (of that feature for its own best concept), verdict.
    """
    count, k = len(concepts), lists[0].rows_fk.shape[1]
    images = concepts.members_nc.shape[0]
    enrichment = Enrichment(concepts, k)
    names = {name: at for at, name in enumerate(concepts.names)}
    tested = sum(int(part.scores["tested"].sum()) for part in lists)
    held_c = np.zeros(count, np.int64)
    best = pd.DataFrame({"llr": np.full(count, -1.0), "holds": False, "part": -1, "row": -1, "hits": 0})
    for number, part in enumerate(lists):
        scores = part.scores.reset_index(drop=True)
        testable = np.flatnonzero(scores["tested"])
        hits = enrichment.hits(part.rows_fk[testable]).tocoo()
        row, concept = testable[hits.coords[0]], hits.coords[1]
        own_f = scores["concept"].map(names).fillna(-1).astype(np.int64).where(scores["verdict"].isin(POSITIVE), -1)
        held_c += np.bincount(own_f[own_f >= 0], minlength=count)
        found = pd.DataFrame(
            {
                "concept": concept, "hits": hits.data.astype(np.int64), "part": number, "row": row,
                "llr": log_likelihood_ratio(hits.data, k, concepts.sizes[concept], images),
                "holds": own_f.to_numpy()[row] == concept,
            }
        )  # fmt: skip
        top = found.sort_values(["concept", "holds", "llr", "row"], ascending=[True, False, False, True])
        top = top.drop_duplicates("concept").set_index("concept").reindex(range(count))
        better = (top["holds"].eq(True) > best["holds"]) | (
            (top["holds"].eq(True) == best["holds"]) & (top["llr"] > best["llr"])
        )
        best[better] = top.loc[better, best.columns].astype(best.dtypes)
    chance_c = hypergeom.sf(best["hits"] - 1, images, concepts.sizes, k)
    state = np.select([held_c > 0, chance_c * max(tested, 1) <= ENRICHED_P], ["held", "enriched"], "none")
    table = pd.DataFrame(
        {
            "model": model, "concept": concepts.names, "kind": concepts.kinds, "size": concepts.sizes,
            "at_leaf_level": concepts.at_leaf_level, "state": state, "held": held_c,
        }
    )  # fmt: skip
    shown = pd.concat([part.scores[["layer", "feature", "q", "verdict"]] for part in lists], keys=range(len(lists)))
    shown.index = pd.MultiIndex.from_arrays(
        [np.repeat(range(len(lists)), [len(part.scores) for part in lists]),
         np.concatenate([np.arange(len(part.scores)) for part in lists])]
    )  # fmt: skip
    at = shown.reindex(pd.MultiIndex.from_arrays([best["part"], best["row"]])).reset_index(drop=True)
    return table.assign(
        layer=at["layer"], feature=at["feature"].astype("Int64"), hits=best["hits"], k=k, llr=best["llr"].clip(lower=0),
        q=at["q"], verdict=at["verdict"],
    )  # fmt: skip


def least_llr(scores: pd.DataFrame) -> float:
    """The smallest log-likelihood ratio of a significant feature of a model; NaN where there is none."""
    return float(scores.loc[scores["verdict"].isin(POSITIVE), "llr"].min())


def power_to_find(table: pd.DataFrame, strongest_hits_c: np.ndarray, least: float, images: int) -> np.ndarray:
    """The probability that a model would be found to hold a concept, had it a feature as strong as another model's
    strongest, float64 [c]; NaN where no other model holds it or nothing in this model is significant.

    Such a feature is taken to list an image of the concept at the other's rate in each of its k places; it counts as
    found when its ratio is no less than the smallest significant one of this model.

    Args:
        table: Rows of `holders`.
        strongest_hits_c: Most hits of a feature of another model that holds the concept, float64 [c]; NaN where none.
        least: See `least_llr`.
        images: All images.
    """
    k = int(table["k"].iloc[0])
    ratio_hc = log_likelihood_ratio(np.arange(k + 1)[:, None], k, table["size"].to_numpy(), images)
    enough_hc = ratio_hc >= least - 1e-9
    needed_c = np.where(enough_hc.any(0), enough_hc.argmax(0), k + 1)
    power_c = binom.sf(needed_c - 1, k, np.nan_to_num(strongest_hits_c) / k)
    return np.where(np.isnan(strongest_hits_c) | np.isnan(least), np.nan, power_c)
