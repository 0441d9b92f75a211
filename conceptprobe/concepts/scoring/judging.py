"""The verdict on each list of top images, with the numbers that it follows from."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from conceptprobe.concepts.scoring.verdicts import Verdict
from conceptprobe.concepts.statistics.enrichment import Enrichment, log_likelihood_ratio
from conceptprobe.concepts.statistics.hierarchy import HALF, Relations
from conceptprobe.concepts.statistics.nulls import Nulls

SECOND_P = 0.01
SECOND_HITS = 2
SHORT, TIED = "short", "tied"
TIED_SHARE = 0.1
CELLS_AT_ONCE = 4_000_000


@dataclass(frozen=True, eq=False)
class Second:
    """The best second concept of each list: that of its images outside the first concept.

    Attributes:
        concept_f: Position of the second concept, int64 [f]; -1 where there is none.
        hits_f: Images of the list in it, int64 [f].
        length_f: Images outside the first concept that were tested, int64 [f].
        llr_f: Log-likelihood ratio among the images outside the first concept, float64 [f].
    """

    concept_f: np.ndarray
    hits_f: np.ndarray
    length_f: np.ndarray
    llr_f: np.ndarray


@dataclass(frozen=True, eq=False)
class ListFaults:
    """Why lists of top images cannot be tested.

    Attributes:
        fault_f: `short`: fewer than k images have a finite value; `tied`: the order of the images chose the last ones,
            since images outside the list may have the same value; empty where a list can be tested, str [f].
        images_f: For a short list the images with a finite value, for a tied one those with the value of the last
            image, int64 [f]; 0 for the others.
    """

    fault_f: np.ndarray
    images_f: np.ndarray


def judge(
    rows_fk: np.ndarray,
    relations: Relations,
    nulls: Nulls,
    *,
    q: float = 0.05,
    p_visual_f: np.ndarray | None = None,
    dead_f: np.ndarray | None = None,
    faults_f: np.ndarray | None = None,
) -> pd.DataFrame:
    """Judge the lists of one layer's features. Nothing is drawn at random here, except what `relations` caches.

    Args:
        rows_fk: Rows of the top images, best first, int64 [f,K] with K at least the k of `nulls`.
        relations: The concepts, over the same rows.
        nulls: The null distributions of these features, in this order.
        q: False discovery rate of the positive verdicts.
        p_visual_f: p-values against looks, float [f]; NaN where looks were not tested.
        dead_f: Which features are dead, bool [f].
        faults_f: Why lists cannot be tested, str [f]; empty where they can. See `ListFaults`.

    Returns:
        One row a feature: concept, kind, hits, k, size, llr, p_random, p_hub, p_visual, p, q, verdict, abstraction,
        effective_leaves, least_effective_leaves, largest_leaf_share, second_concept, second_hits, second_length,
        p_second, fault.
    """
    concepts, features, k = relations.concepts, len(rows_fk), nulls.k
    dead_f = np.zeros(features, bool) if dead_f is None else dead_f
    faults_f = np.full(features, "", object) if faults_f is None else faults_f
    testable_f = ~dead_f & (faults_f == "")
    rows_fk = np.where(testable_f[:, None], rows_fk[:, :k], -1)
    enrichment = Enrichment(concepts, k)
    best = enrichment.best(rows_fk)
    found_f = best.concept_f >= 0

    p_random_f, p_hub_f = nulls.p_random(best.llr_f, k), nulls.p_hub(best.llr_f, k)
    p_visual_f = np.full(features, np.nan) if p_visual_f is None else np.asarray(p_visual_f, np.float64)
    p_f = np.fmax(np.maximum(p_random_f, p_hub_f), p_visual_f)
    q_f = np.full(features, np.nan)
    if testable_f.any():
        q_f[testable_f] = false_discovery_control(p_f[testable_f])
    significant_f = found_f & (q_f <= q)

    inside_fk = relations.inside(rows_fk, best.concept_f)
    second = second_concepts(rows_fk, inside_fk, best.concept_f, significant_f, relations, enrichment, nulls)
    p_second_f = np.full(features, np.nan)
    for length in np.unique(second.length_f[second.concept_f >= 0]).tolist():
        at = (second.length_f == length) & (second.concept_f >= 0)
        both = np.maximum(nulls.p_random(second.llr_f, length), nulls.p_hub(second.llr_f, length))
        p_second_f[at] = both[at]

    spread = relations.spread(np.where(inside_fk, rows_fk, -1))
    broad_f = significant_f & ~concepts.at_leaf_level[best.concept_f]
    least_f = np.full(features, np.nan)
    least_f[broad_f] = relations.least_effective(best.concept_f[broad_f], best.hits_f[broad_f])
    abstraction_f = np.clip(1 - concepts.information[best.concept_f] / spread.information_f, 0, 1)

    consistent_f = (spread.effective_f >= least_f - 1e-9) & (spread.largest_f < HALF)
    polysemantic_f = (p_second_f <= SECOND_P) & (second.hits_f >= SECOND_HITS)
    verdict_f = np.select(
        [dead_f, ~significant_f, polysemantic_f, ~broad_f, consistent_f],
        [Verdict.DEAD.value, Verdict.UNRESOLVED.value, Verdict.POLYSEMANTIC.value, Verdict.OBJECT.value,
         Verdict.CONCEPTUAL.value],
        Verdict.UNRESOLVED.value,
    )  # fmt: skip

    def known(values: np.ndarray) -> np.ndarray:
        return np.where(found_f, values, np.nan)

    def named(values: Any, at_f: np.ndarray) -> np.ndarray:
        return np.array([*values, None], object)[at_f]

    return pd.DataFrame(
        {
            "concept": named(concepts.names, best.concept_f),
            "kind": named(concepts.kinds, best.concept_f),
            "hits": best.hits_f,
            "k": k,
            "size": np.where(found_f, concepts.sizes[best.concept_f], 0),
            "llr": best.llr_f,
            "p_random": np.where(testable_f, p_random_f, np.nan),
            "p_hub": np.where(testable_f, p_hub_f, np.nan),
            "p_visual": np.where(testable_f, p_visual_f, np.nan),
            "p": np.where(testable_f, p_f, np.nan),
            "q": q_f,
            "verdict": verdict_f.astype(object),
            "abstraction": known(abstraction_f),
            "effective_leaves": known(spread.effective_f),
            "least_effective_leaves": least_f,
            "largest_leaf_share": known(spread.largest_f),
            "second_concept": named(concepts.names, second.concept_f),
            "second_hits": second.hits_f,
            "second_length": second.length_f,
            "p_second": p_second_f,
            "fault": faults_f,
        }
    )


def second_concepts(
    rows_fk: np.ndarray,
    inside_fk: np.ndarray,
    concept_f: np.ndarray,
    chosen_f: np.ndarray,
    relations: Relations,
    enrichment: Enrichment,
    nulls: Nulls,
) -> Second:
    """Repeat the test on the images outside the first concept, among concepts that are not related to it.

    A concept counts with its images outside the first concept. The images of a list that remain are cut to the next
    shorter length that has a null.

    Args:
        rows_fk: Rows of the top images, int64 [f,k].
        inside_fk: Which of them are in the first concept, bool [f,k].
        concept_f: Position of the first concept, int64 [f].
        chosen_f: Which features to test, bool [f].
        relations: The concepts.
        enrichment: The statistic of the first test.
        nulls: The null distributions, whose lengths are used.
    """
    concepts, features = relations.concepts, len(rows_fk)
    images = concepts.members_nc.shape[0]
    hits_f, length_f = np.zeros(features, np.int64), np.zeros(features, np.int64)
    result = Second(np.full(features, -1), hits_f, length_f, np.zeros(features))
    left_f = rows_fk.shape[1] - inside_fk.sum(1)
    at_f = np.searchsorted(nulls.lengths, left_f, side="right") - 1
    outside_fk = np.take_along_axis(rows_fk, np.argsort(inside_fk, axis=1, kind="stable"), 1)
    step = max(1, CELLS_AT_ONCE // len(concepts))
    for at in np.unique(at_f[chosen_f & (at_f >= 0)]).tolist():
        length = int(nulls.lengths[at])
        of_length = np.flatnonzero(chosen_f & (at_f == at))
        for chunk in np.split(of_length, range(step, len(of_length), step)):
            first = concept_f[chunk]
            hits = enrichment.hits(outside_fk[chunk, :length])
            rows = np.repeat(np.arange(len(chunk)), np.diff(hits.indptr))
            sizes_fc = concepts.sizes - relations.shared[first].toarray()
            open_fc = np.ones(sizes_fc.shape, bool)
            for row, concept in enumerate(first.tolist()):
                open_fc[row, relations.related(concept)] = False
            outside = images - concepts.sizes[first]
            llr = log_likelihood_ratio(hits.data, length, sizes_fc[rows, hits.indices], outside[rows])
            best = enrichment.pick(hits, np.where(open_fc[rows, hits.indices], llr, 0))
            result.concept_f[chunk], result.hits_f[chunk] = best.concept_f, best.hits_f
            result.length_f[chunk], result.llr_f[chunk] = length, best.llr_f
    return result


def list_faults(rows_fk: np.ndarray, values_fk: np.ndarray, k: int) -> ListFaults:
    """Find the lists whose first k images cannot be tested.

    A list is tied when more than a tenth of its images have the value of its last one, and so does the image after
    them; where the index keeps no image after them, two images with that value are enough to suspect it.

    Args:
        rows_fk: Rows of the lists as the index keeps them, int64 [f,K] with K >= k; -1 past the end.
        values_fk: Values of these images, float [f,K].
        k: How many images are tested.
    """
    length_f = (rows_fk >= 0).sum(1)
    last_f = values_fk[:, k - 1]
    tied_f = (values_fk[:, :k] == last_f[:, None]).sum(1)
    continues_f = values_fk[:, k] == last_f if values_fk.shape[1] > k else tied_f > 1
    short_f = length_f < k
    arbitrary_f = ~short_f & continues_f & (tied_f > max(1, int(TIED_SHARE * k)))
    return ListFaults(
        np.select([short_f, arbitrary_f], [SHORT, TIED], "").astype(object),
        np.select([short_f, arbitrary_f], [length_f, tied_f], 0),
    )


def explain(verdicts: pd.DataFrame, q: float) -> list[str]:
    """The reason for each verdict in words.

    Args:
        verdicts: What `judge` returned, with the column fault_images: `ListFaults.images_f`.
        q: False discovery rate of the verdicts.
    """
    return [_reason(row, q) for row in verdicts.itertuples()]


def _reason(row: Any, q: float) -> str:
    if row.verdict == Verdict.DEAD:
        return "its activations hardly vary"
    if row.fault == SHORT:
        return f"only {row.fault_images} images have a finite value, {row.k} are needed"
    if row.fault == TIED:
        return f"{row.fault_images} of the {row.k} images have the same value as images outside the list"
    if pd.isna(row.concept):
        return "no concept has more of its images than chance would give"
    share = f"{row.hits} of {row.k} images are {row.concept}"
    if not row.q <= q:
        tests = {"random lists": row.p_random, "images that many features list": row.p_hub, "look-alikes": row.p_visual}
        worst = max(tests, key=lambda name: -1 if np.isnan(tests[name]) else tests[name])
        return f"{share}, as {worst} may be too (p {tests[worst]:.2g}, q {row.q:.2g})"
    if row.verdict == Verdict.POLYSEMANTIC:
        return f"{share}, and {row.second_hits} of {row.second_length} others are {row.second_concept}"
    if row.verdict == Verdict.OBJECT:
        return f"{share}, which is an object"
    spread = f"spread over {row.effective_leaves:.1f} objects"
    if row.verdict == Verdict.CONCEPTUAL:
        return f"{share}, {spread}"
    if row.largest_leaf_share >= HALF:
        return f"{share}, but {row.largest_leaf_share:.0%} of those are one object"
    return f"{share}, but {spread}, fewer than the {row.least_effective_leaves:.1f} expected of that concept"
