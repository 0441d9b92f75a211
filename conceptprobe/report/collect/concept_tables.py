"""Which concepts a feature's top images are of: several a feature, each by itself."""

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
        concept_ft: Their positions, int64 [f,t]; -1 past the end.
        hits_ft: Images of the list in them, int64 [f,t].
        llr_ft: See `log_likelihood_ratio`, float64 [f,t].
        p_ft: Probability that so many images of a random list are in the concept (hypergeometric), as if it were the
            only concept, float64 [f,t].
        q_ft: Benjamini and Hochberg's q-values of those over all concepts, for each feature by itself, float64 [f,t].
        enrichment_ft: Share of the list over share of all images, float64 [f,t].
    """

    concept_ft: np.ndarray
    hits_ft: np.ndarray
    llr_ft: np.ndarray
    p_ft: np.ndarray
    q_ft: np.ndarray
    enrichment_ft: np.ndarray


def tabulate_concepts(concepts: ConceptSet, rows_fk: np.ndarray, live_f: np.ndarray) -> ConceptTable:
    """Find the best concepts of each list, those first that `Enrichment.best` would choose.

    Args:
        rows_fk: Rows of the first images of each feature, int64 [f,k]. A list with a -1 is too short: it has none.
        live_f: Features that are looked at, bool [f].
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
    place = np.arange(len(order)) - np.searchsorted(feature[order], feature[order])
    order, place = order[place < CONCEPTS_SHOWN], place[place < CONCEPTS_SHOWN]
    at = feature[order], place

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
    """Benjamini and Hochberg's q-values within each feature, where all its other tests have p = 1.

    Args:
        p: p-values, float64 [m].
        feature: Which feature each is of, ascending, int64 [m].
        features: How many there are.
        tests: How many tests each feature has.
    """
    order = np.lexsort((p, feature))
    edges = np.searchsorted(feature, np.arange(features + 1))
    place = np.arange(len(p)) - edges[feature]
    raw = p[order] * tests / (place + 1)
    adjusted = np.empty(len(p))
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        adjusted[start:end] = np.minimum.accumulate(raw[start:end][::-1])[::-1]
    result = np.empty(len(p))
    result[order] = np.minimum(adjusted, 1)
    return result
