"""How well each concept explains a list of images: hits, log-likelihood ratios, and the best concept."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.sets.concept_set import ConceptSet

PRODUCTS_AT_ONCE = 4_000_000


def log_likelihood_ratio(
    hits: np.ndarray | int, k: np.ndarray | int, sizes: np.ndarray | float, images: np.ndarray | float
) -> np.ndarray:
    """How much better a mixture with a concept explains a list than chance does, in nats, float64.

    The ratio is 0 where the list has no more images of the concept than chance gives. An image of the list is drawn
    from the concept with probability pi, else from all images:
    LLR = max over pi in [0,1] of h log(1 + pi r) + (k - h) log(1 - pi), with r = N / n - 1, at
    pi = (h (r + 1) - k) / (k r). All arguments broadcast.

    Args:
        hits: Number of images of the list in the concept, h.
        k: Length of the list.
        sizes: Number of images in the concept, n; where it is 0 or N the ratio is 0.
        images: Number of all images, N.
    """
    hits, k, sizes, images = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (hits, k, sizes, images)))
    result = np.zeros(hits.shape)
    enriched = (sizes > 0) & (sizes < images) & (hits * images > k * sizes)
    h, k, r = hits[enriched], k[enriched], images[enriched] / sizes[enriched] - 1
    pi = np.minimum((h * (r + 1) - k) / (k * r), 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        outside = np.where(h < k, (k - h) * np.log1p(-pi), 0)
    result[enriched] = h * np.log1p(pi * r) + outside
    return result


@dataclass(frozen=True, eq=False)
class Best:
    """The best concept of each list.

    Attributes:
        concept_f: Position of the concept, int64 [f]; -1 where no concept has more images than chance gives.
        hits_f: Number of images of the list in the concept, int64 [f].
        llr_f: Log-likelihood ratio of the concept, float64 [f].
    """

    concept_f: np.ndarray
    hits_f: np.ndarray
    llr_f: np.ndarray


class Enrichment:
    """Log-likelihood ratios of concepts for lists of one length.

    Args:
        concepts: The concepts, over the images whose rows are in the lists.
        k: Length of the lists.
    """

    def __init__(self, concepts: ConceptSet, k: int) -> None:
        self.concepts, self.k = concepts, k
        sizes, self._size_c = np.unique(concepts.sizes, return_inverse=True)
        self._table = log_likelihood_ratio(np.arange(k + 1)[:, None], k, sizes, concepts.members_nc.shape[0])
        self._by_rank = np.array(
            sorted(range(len(concepts)), key=lambda c: (not concepts.is_leaf[c], concepts.sizes[c], concepts.names[c]))
        )
        self._rank_c = np.argsort(self._by_rank)

    def hits(self, rows_fk: np.ndarray) -> sparse.csr_array:
        """The number of images of each list in each concept, CSR float32 [f,c]."""
        return list_matrix(rows_fk, self.concepts.members_nc.shape[0]) @ self.concepts.members_nc

    def best(self, rows_fk: np.ndarray) -> Best:
        """The concept with the largest ratio for each list; a leaf breaks ties, then the smaller, then by name.

        Args:
            rows_fk: Rows of images, int64 [f,k].
        """
        parts = [self.pick(hits, llr) for _, hits, llr in self._chunks(rows_fk)]
        return Best(
            np.concatenate([np.empty(0, np.int64), *(part.concept_f for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.hits_f for part in parts)]),
            np.concatenate([np.empty(0), *(part.llr_f for part in parts)]),
        )

    def pick(self, hits: sparse.csr_array, llr: np.ndarray) -> Best:
        """The concept with the largest ratio in each row.

        Args:
            hits: The hits of each list, CSR [f,c].
            llr: The ratio of each stored entry of `hits`.
        """
        counts = np.diff(hits.indptr)
        top = row_maxima(llr, hits.indptr)
        ranks = np.where(llr == np.repeat(top, counts), self._rank_c[hits.indices], len(self.concepts))
        concept = self._by_rank[-row_maxima(-ranks, hits.indptr)]
        hits_f = np.where(hits.indices == np.repeat(concept, counts), hits.data, 0)
        return Best(
            np.where(top > 0, concept, -1),
            np.where(top > 0, row_maxima(hits_f, hits.indptr), 0).astype(np.int64),
            top,
        )

    def best_llr(self, rows_fk: np.ndarray) -> np.ndarray:
        """The largest ratio for each list, float64 [f]."""
        result = np.zeros(len(rows_fk))
        for chunk, hits, llr in self._chunks(rows_fk):
            result[chunk] = row_maxima(llr, hits.indptr)
        return result

    def _chunks(self, rows_fk: np.ndarray) -> Iterator[tuple[slice, sparse.csr_array, np.ndarray]]:
        if rows_fk.shape[1] != self.k:
            raise ConceptError(f"the lists have {rows_fk.shape[1]} images: give lists of {self.k}")
        per_list = self.k * max(1.0, self.concepts.members_nc.nnz / self.concepts.members_nc.shape[0])
        step = max(1, int(PRODUCTS_AT_ONCE / per_list))
        for start in range(0, len(rows_fk), step):
            chunk = slice(start, start + step)
            hits = self.hits(rows_fk[chunk])
            yield chunk, hits, self._table[hits.data.astype(np.int64), self._size_c[hits.indices]]


def list_matrix(rows_fk: np.ndarray, images: int) -> sparse.csr_array:
    """Lists of rows as a matrix of how often each image is in each list, CSR float32 [f,n]; rows of -1 are skipped."""
    inside = rows_fk >= 0
    indptr = np.concatenate([[0], np.cumsum(inside.sum(1))])
    return sparse.csr_array((np.ones(indptr[-1], np.float32), rows_fk[inside], indptr), shape=(len(rows_fk), images))


def row_maxima(values: np.ndarray, indptr: np.ndarray) -> np.ndarray:
    """The largest value of each row of a CSR matrix's data; 0 for an empty row."""
    result = np.zeros(len(indptr) - 1, values.dtype)
    filled = np.diff(indptr) > 0
    if filled.any():
        result[filled] = np.maximum.reduceat(values, indptr[:-1][filled])
    return result
