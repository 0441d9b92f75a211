"""Relations between concepts: which are related, and how the images of a concept spread over leaves."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.enrichment import list_matrix, row_maxima
from conceptprobe.concepts.statistics.nulls import draw_lists

HALF = 0.5
MOST = 0.8
LEAST_SIMILARITY = 0.5
SPREAD_QUANTILE = 0.01
SPREAD_DRAWS = 500


@dataclass(frozen=True, eq=False)
class Spread:
    """How the images of lists spread over leaves.

    An image in m leaves counts 1/m in each. An image without a leaf counts as a leaf.

    Attributes:
        effective_f: Effective number of leaves, exp of their entropy, float64 [f]; NaN for an empty list.
        largest_f: Share of the leaf with the most images, float64 [f].
        information_f: Mean information content of the images' leaves, float64 [f]; NaN where no image has a leaf.
    """

    effective_f: np.ndarray
    largest_f: np.ndarray
    information_f: np.ndarray


class Relations:
    """Relations between the concepts of a set, cached so that many verdicts share them.

    Args:
        concepts: The concepts.
        seed: Seed of the draws of `least_effective`.
    """

    def __init__(self, concepts: ConceptSet, *, seed: int = 0) -> None:
        self.concepts, self.seed = concepts, seed
        self._related: dict[int, np.ndarray] = {}
        self._least: dict[tuple[int, int], float] = {}

    @cached_property
    def columns(self) -> sparse.csc_array:
        """The members of the concepts by column, CSC [n,c]."""
        return self.concepts.members_nc.tocsc()

    @cached_property
    def shared(self) -> sparse.csr_array:
        """The number of images that two concepts share, CSR float32 [c,c]."""
        return (self.columns.T @ self.concepts.members_nc).tocsr()

    @cached_property
    def _contains(self) -> sparse.csr_array:
        """1 where a concept has most images of another, CSR [broader,narrower]."""
        shared = self.shared.tocoo()
        keep = shared.data >= MOST * self.concepts.sizes[shared.coords[1]]
        coords = tuple(axis[keep] for axis in shared.coords)
        return sparse.coo_array((np.ones(keep.sum(), np.float32), coords), shape=shared.shape).tocsr()

    @cached_property
    def _contained_by(self) -> sparse.csc_array:
        return self._contains.tocsc()

    @cached_property
    def _leaf_shares(self) -> sparse.csr_array:
        leaves = self.concepts.members_nc[:, self.concepts.leaf_columns]
        counts = np.asarray(leaves.sum(1)).ravel()
        return sparse.csr_array(sparse.diags_array(1 / np.maximum(counts, 1)) @ leaves)

    def inside(self, rows_fk: np.ndarray, concept_f: np.ndarray) -> np.ndarray:
        """Which images of each list are in its concept, bool [f,k]; none where the concept is -1.

        Args:
            rows_fk: Rows of images, int64 [f,k]; -1 is skipped.
            concept_f: Position of a concept for each list, int64 [f].
        """
        result = np.zeros(rows_fk.shape, bool)
        member_n = np.zeros(self.concepts.members_nc.shape[0] + 1, bool)
        order = np.argsort(concept_f, kind="stable")
        cuts = np.flatnonzero(np.diff(concept_f[order])) + 1
        for features in np.split(order, cuts):
            if len(features) and (concept := concept_f[features[0]]) >= 0:
                rows = self._rows(concept)
                member_n[rows] = True
                result[features] = member_n[rows_fk[features]]
                member_n[rows] = False
        return result

    def related(self, concept: int) -> np.ndarray:
        """Positions of the concepts that do not count as a second meaning beside a concept, ascending.

        Two concepts u and v are related if one has half of the other's images, or if a broader concept w with most
        images of each (80 %) is close to both: 2 IC(w) / (IC(u) + IC(v)) >= 0.5 (Lin 1998).
        """
        if concept not in self._related:
            sizes, information = self.concepts.sizes, self.concepts.information
            row = slice(*self.shared.indptr[concept : concept + 2])
            near = self.shared.indices[row]
            half = self.shared.data[row] >= HALF * np.minimum(sizes[near], sizes[concept])
            related = [near[half]]
            for broader in self._contained_by.indices[slice(*self._contained_by.indptr[concept : concept + 2])]:
                narrower = self._contains.indices[slice(*self._contains.indptr[broader : broader + 2])]
                enough = LEAST_SIMILARITY * (information[narrower] + information[concept]) - 1e-9
                related.append(narrower[2 * information[broader] >= enough])
            self._related[concept] = np.unique(np.concatenate(related))
        return self._related[concept]

    def spread(self, rows_fk: np.ndarray) -> Spread:
        """How the images of lists spread over the leaves.

        Args:
            rows_fk: Rows of images, int64 [f,k]; -1 is skipped.
        """
        lists = list_matrix(rows_fk, self.concepts.members_nc.shape[0])
        length_f = np.asarray(lists.sum(1)).ravel().astype(np.float64)
        shares = (lists @ self._leaf_shares).tocsr()
        in_leaves_f = np.asarray(shares.sum(1)).ravel()
        leafless_f = np.round(length_f - in_leaves_f, 6)
        information = shares @ self.concepts.information[self.concepts.leaf_columns]
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = shares.data / np.repeat(length_f, np.diff(shares.indptr))
            plogp = sparse.csr_array((parts * np.log(parts), shares.indices, shares.indptr), shape=shares.shape)
            entropy_f = leafless_f / length_f * np.log(length_f) - np.asarray(plogp.sum(1)).ravel()
            largest_f = np.maximum(row_maxima(parts, shares.indptr), (leafless_f > 0) / length_f)
            return Spread(np.exp(entropy_f), largest_f, information / np.where(in_leaves_f > 0, in_leaves_f, np.nan))

    def least_effective(self, concept_f: np.ndarray, hits_f: np.ndarray) -> np.ndarray:
        """The fewest effective leaves that chance explains: the 1 % quantile over random images of a concept.

        Args:
            concept_f: Position of a concept for each list, int64 [f].
            hits_f: How many images are drawn from it, int64 [f].

        Returns:
            float64 [f].
        """
        pairs = list(zip(concept_f.tolist(), hits_f.tolist(), strict=True))
        self._draw_least(sorted(set(pairs) - set(self._least)))
        return np.array([self._least[pair] for pair in pairs], np.float64)

    def _draw_least(self, pairs: Iterable[tuple[int, int]]) -> None:
        for concept, hits in pairs:
            rows = self._rows(concept)
            rng = np.random.default_rng([self.seed, concept, hits])
            drawn = next(draw_lists(rng, SPREAD_DRAWS, min(hits, len(rows)), len(rows)))
            effective = self.spread(rows[drawn]).effective_f
            self._least[concept, hits] = float(np.quantile(effective, SPREAD_QUANTILE, method="lower"))

    def _rows(self, concept: int) -> np.ndarray:
        rows: np.ndarray = self.columns.indices[slice(*self.columns.indptr[concept : concept + 2])]
        return rows
