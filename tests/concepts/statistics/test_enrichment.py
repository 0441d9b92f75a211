import numpy as np
import pytest
from scipy import sparse
from scipy.optimize import minimize_scalar

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.enrichment import Enrichment, list_matrix, log_likelihood_ratio, row_maxima


def oracle(hits: int, k: int, size: int, images: int) -> float:
    """The largest log-likelihood ratio over pi, by a grid and a bounded search around its best point."""
    lift = images / size

    def loss(pi: float) -> float:
        inside = hits * np.log(pi * lift + 1 - pi) if hits else 0.0
        outside = (k - hits) * np.log1p(-pi) if hits < k else 0.0
        return -(inside + outside)

    grid = np.linspace(0, 1, 2001)[: 2001 if hits == k else 2000]
    best = grid[np.argmin([loss(pi) for pi in grid])]
    low, high = max(0.0, best - 1e-3), min(1.0, best + 1e-3)
    found = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-12})
    return max(-loss(best), -found.fun, 0.0)


def make(rng: np.random.Generator, n: int = 300, c: int = 25, leaves: int = 12) -> ConceptSet:
    members = sparse.csr_array((rng.random((n, c)) < rng.uniform(0.01, 0.3, c)).astype(np.float32))
    names = [f"c{i:02d}" for i in rng.permutation(c)]
    return ConceptSet.from_members(names, members, leaves=names[:leaves])


@pytest.mark.parametrize(("k", "size", "images"), [(8, 6, 12_359), (40, 50, 50_000), (40, 30_000, 50_000), (5, 3, 7)])
def test_the_ratio_is_the_maximum_over_the_mixture(k: int, size: int, images: int) -> None:
    found = log_likelihood_ratio(np.arange(k + 1), k, size, images)
    np.testing.assert_allclose(found, [oracle(h, k, size, images) for h in range(k + 1)], rtol=1e-7, atol=1e-9)


def test_the_ratio_at_its_ends() -> None:
    assert log_likelihood_ratio(8, 8, 10, 1000) == pytest.approx(8 * np.log(100))
    assert log_likelihood_ratio(0, 8, 10, 1000) == 0
    assert log_likelihood_ratio(4, 8, 500, 1000) == 0  # as many as chance gives
    assert log_likelihood_ratio(8, 8, 1000, 1000) == 0
    assert log_likelihood_ratio(3, 8, 0, 1000) == 0


def test_hits_equal_a_dense_count() -> None:
    rng = np.random.default_rng(0)
    concepts = make(rng)
    rows_fk = rng.integers(300, size=(50, 9))
    rows_fk[0, 4:] = -1
    dense_nc = concepts.members_nc.toarray()
    expected = [dense_nc[rows[rows >= 0]].sum(0) for rows in rows_fk]
    np.testing.assert_array_equal(Enrichment(concepts, 9).hits(rows_fk).toarray(), expected)


@pytest.mark.parametrize("seed", range(5))
def test_the_best_concept_equals_a_dense_search(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conceptprobe.concepts.statistics.enrichment.PRODUCTS_AT_ONCE", 500)  # several chunks
    rng = np.random.default_rng(seed)
    concepts = make(rng)
    rows_fk = np.stack([rng.permutation(300)[:6] for _ in range(200)])
    best = Enrichment(concepts, 6).best(rows_fk)
    dense_nc = concepts.members_nc.toarray()
    for rows, concept, hits, llr in zip(rows_fk, best.concept_f, best.hits_f, best.llr_f, strict=True):
        counts = dense_nc[rows].sum(0)
        ratios = log_likelihood_ratio(counts, 6, concepts.sizes, 300)
        order = sorted(
            range(len(concepts)),
            key=lambda c: (-ratios[c], not concepts.is_leaf[c], concepts.sizes[c], concepts.names[c]),
        )
        assert (concept, hits) == (order[0], counts[order[0]])
        assert llr == ratios.max()
    np.testing.assert_array_equal(Enrichment(concepts, 6).best_llr(rows_fk), best.llr_f)


def test_ties_go_to_the_leaf_then_the_smaller_then_the_first_name() -> None:
    images = [f"i{n}" for n in range(20)]
    sets = {"b": images[:4], "a": images[2:6], "wide": images[:5], "leaf": images[1:5]}
    concepts = ConceptSet.from_sets(sets, images, leaves=["leaf"])
    best = Enrichment(concepts, 2).best(np.array([[2, 3], [0, 1], [15, 16]]))
    assert [concepts.names[at] for at in best.concept_f[:2]] == ["leaf", "b"]
    assert (best.concept_f[2], best.hits_f[2], best.llr_f[2]) == (-1, 0, 0)
    same = ConceptSet.from_sets({"b": images[:4], "a": images[2:6]}, images)
    assert same.names[Enrichment(same, 2).best(np.array([[2, 3]])).concept_f[0]] == "a"


def test_lists_of_another_length_are_refused() -> None:
    concepts = make(np.random.default_rng(0))
    with pytest.raises(ConceptError, match="the lists have 7 images: give lists of 6"):
        Enrichment(concepts, 6).best(np.zeros((1, 7), np.int64))
    assert len(Enrichment(concepts, 6).best(np.zeros((0, 6), np.int64)).llr_f) == 0


def test_a_list_is_a_row_of_counts() -> None:
    matrix = list_matrix(np.array([[1, 1, 3], [-1, -1, -1], [0, 2, -1]]), 4)
    np.testing.assert_array_equal(matrix.toarray(), [[0, 2, 0, 1], [0, 0, 0, 0], [1, 0, 1, 0]])
    np.testing.assert_array_equal(row_maxima(np.array([3.0, 5, 2]), np.array([0, 2, 2, 3])), [5, 0, 2])
