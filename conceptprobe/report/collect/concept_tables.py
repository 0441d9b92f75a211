"""The concepts of a feature's top images, each tested alone."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import hypergeom

from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.enrichment import Enrichment, log_likelihood_ratio

CONCEPTS_SHOWN = 8


@dataclass(frozen=True, eq=False)
class ConceptTable:
    """The best concepts of each feature of a layer, by their log-likelihood ratio.

    Attributes:
        concept_ft: Positions of the concepts, int64 [f,t]; -1 past the end.
        hits_ft: Images of the list that are in the concept, int64 [f,t].
        llr_ft: Log-likelihood ratios (`log_likelihood_ratio`), float64 [f,t].
        p_ft: Probability that at least as many images of a random list are in the concept (hypergeometric), as if it
            were the only concept, float64 [f,t].
        q_ft: Benjamini and Hochberg's q-values of `p_ft` over all concepts, for each feature alone, float64 [f,t].
        enrichment_ft: Share of the list over share of all images, float64 [f,t].
    """

    concept_ft: np.ndarray
    hits_ft: np.ndarray
    llr_ft: np.ndarray
    p_ft: np.ndarray
    q_ft: np.ndarray
    enrichment_ft: np.ndarray


def tabulate_concepts(concepts: ConceptSet, rows_fk: np.ndarray, live_f: np.ndarray) -> ConceptTable:
    """Find the best concepts of each list, in the order in which `Enrichment.best` would choose them.

    Args:
        concepts: The concepts, over all images.
        rows_fk: Rows of the first images of each feature, int64 [f,k]. A list with a -1 is too short to have concepts.
        live_f: Which features to test, bool [f].
    """
    features, k = rows_fk.shape
    images, count = concepts.members_nc.shape[0], len(concepts)
    looked_at = live_f & (rows_fk >= 0).all(1)
    hits = Enrichment(concepts, k).hits(np.where(looked_at[:, None], rows_fk, -1))
    feature = np.repeat(np.arange(features), np.diff(hits.indptr))
    concept, times = hits.indices.astype(np.int64), hits.data.astype(np.int64)
    llr = log_likelihood_ratio(times, k, concepts.sizes[concept], images)
    sizes, size_c = np.unique(concepts.sizes, return_inverse=True)
    tail_hs = hypergeom.sf(np.arange(k + 1)[:, None] - 1, images, sizes, k)
    p = tail_hs[times, size_c[concept]]
    q = adjust(p, feature, features, count)

    by_rank = sorted(range(count), key=lambda c: (not concepts.is_leaf[c], concepts.sizes[c], concepts.names[c]))
    rank_c = np.argsort(by_rank)
    enriched = np.flatnonzero(llr > 0)
    order = enriched[np.lexsort((rank_c[concept[enriched]], -llr[enriched], feature[enriched]))]
    position = np.arange(len(order)) - np.searchsorted(feature[order], feature[order])
    order, position = order[position < CONCEPTS_SHOWN], position[position < CONCEPTS_SHOWN]
    at = feature[order], position

    def table(values: np.ndarray, missing: float) -> np.ndarray:
        result = np.full((features, CONCEPTS_SHOWN), missing, values.dtype)
        result[at] = values[order]
        return result

    enrichment = (times / k) / (concepts.sizes[concept] / images)
    return ConceptTable(
        table(concept, -1), table(times, 0), table(llr, np.nan), table(p, np.nan), table(q, np.nan),
        table(enrichment, np.nan),
    )  # fmt: skip


def adjust(p: np.ndarray, feature: np.ndarray, features: int, tests: int) -> np.ndarray:
    """Benjamini and Hochberg's q-values within each feature; its tests without a p-value count as p = 1.

    Args:
        p: The p-values, float64 [m].
        feature: The feature of each p-value, ascending, int64 [m].
        features: The number of features.
        tests: The number of tests of each feature.
    """
    order = np.lexsort((p, feature))
    edges = np.searchsorted(feature, np.arange(features + 1))
    rank = np.arange(len(p)) - edges[feature]
    raw = p[order] * tests / (rank + 1)
    adjusted = np.empty(len(p))
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        adjusted[start:end] = np.minimum.accumulate(raw[start:end][::-1])[::-1]
    result = np.empty(len(p))
    result[order] = np.minimum(adjusted, 1)
    return result
