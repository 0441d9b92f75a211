import itertools
import tracemalloc

import numpy as np
import pytest
from scipy import sparse
from scipy.stats import chisquare

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.enrichment import Enrichment
from conceptprobe.concepts.statistics.nulls import Null, draw_lists, draw_null, draw_nulls, image_weights, lengths_of


def concepts_over(n: int, seed: int = 0) -> ConceptSet:
    members = np.random.default_rng(seed).random((n, 40)) < 0.05
    return ConceptSet.from_members([f"c{i}" for i in range(40)], sparse.csr_array(members.astype(np.float32)))


@pytest.mark.parametrize("weights", [None, [1.0, 2, 3, 4], [1.0, 1, 1, 20]])
def test_lists_follow_the_law_of_successive_sampling(weights: list[float] | None) -> None:
    shares = np.ones(4) / 4 if weights is None else np.array(weights) / np.sum(weights)
    expected = {
        order: np.prod([shares[i] / (1 - shares[list(order[:at])].sum()) for at, i in enumerate(order)])
        for order in itertools.permutations(range(4), 3)
    }
    drawn = np.concatenate(
        list(draw_lists(np.random.default_rng(0), 40_000, 3, 4, None if weights is None else np.array(weights)))
    )
    counts = [np.sum((drawn == order).all(1)) for order in expected]
    assert np.sum(counts) == 40_000
    assert chisquare(counts, 40_000 * np.array(list(expected.values()))).pvalue > 1e-3


def test_all_images_can_be_in_one_list() -> None:
    (drawn,) = draw_lists(np.random.default_rng(0), 500, 12, 12)
    np.testing.assert_array_equal(np.sort(drawn, axis=1), np.tile(np.arange(12), (500, 1)))


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ConceptError, match="lists of 5 different images cannot be drawn from 4"):
        next(draw_lists(np.random.default_rng(0), 1, 5, 4))
    with pytest.raises(ConceptError, match="from 2"):
        next(draw_lists(np.random.default_rng(0), 1, 3, 4, np.array([1.0, 0, 0, 1])))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_draws() -> None:
    weights_n = np.random.default_rng(1).random(1_300_000)
    tracemalloc.start()
    for rows_dk in draw_lists(np.random.default_rng(0), 50_000, 40, 1_300_000, weights_n):
        assert rows_dk.shape[1] == 40
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6, f"{peak / 1e6:.0f} MB, where all draws are 16 MB and the weights 10 MB"


def test_weights_give_each_image_its_share_of_lists() -> None:
    rng = np.random.default_rng(0)
    true_n = np.repeat([0.02, 0.1, 0.5], [200, 40, 4])
    rows_fk = np.concatenate(list(draw_lists(rng, 3000, 10, 244, true_n)))
    share_n = np.bincount(rows_fk.ravel(), minlength=244) / 3000
    again = np.concatenate(list(draw_lists(rng, 20_000, 10, 244, image_weights(rows_fk, 244))))
    drawn_n = np.bincount(again.ravel(), minlength=244) / 20_000
    for part in (slice(0, 200), slice(200, 240), slice(240, 244)):
        assert drawn_n[part].mean() == pytest.approx(share_n[part].mean(), rel=0.05)


def test_few_lists_give_no_weights() -> None:
    np.testing.assert_array_equal(image_weights(np.zeros((19, 3), np.int64), 5), np.ones(5))
    weights_n = image_weights(np.tile([0, 1, -1], (30, 1)), 5)
    assert np.isfinite(weights_n).all()
    assert weights_n[0] == weights_n[1] > 100 * weights_n[2] > 0


def test_p_values() -> None:
    null = Null({5: np.array([0.0, 1, 1, 3])})
    np.testing.assert_allclose(null.p_values(np.array([-1.0, 0, 1, 2, 3, 4]), 5), [1, 1, 4 / 5, 2 / 5, 2 / 5, 1 / 5])


def test_p_values_of_random_lists_are_as_large_as_they_say() -> None:
    concepts, rng = concepts_over(500), np.random.default_rng(3)
    null = draw_null(concepts, {12: 4000, 5: 2000}, rng)
    assert [len(null.llr[k]) for k in (12, 5)] == [4000, 2000]
    lists = np.concatenate(list(draw_lists(rng, 2000, 12, 500)))
    p = null.p_values(Enrichment(concepts, 12).best_llr(lists), 12)
    # the ratio takes few values, so that p is uniform on those it can take; 1.95 is Kolmogorov and Smirnov's 0.1 %
    gap = max(abs(np.mean(p <= value) - value) for value in np.unique(p))
    assert gap < 1.95 * np.sqrt(1 / 2000 + 1 / 4000)
    short = null.p_values(Enrichment(concepts, 5).best_llr(lists[:, :5]), 5)
    assert np.mean(short <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 2000)


def test_a_list_is_not_in_the_weights_of_its_own_null() -> None:
    concepts = concepts_over(200)
    rows_fk = np.concatenate(list(draw_lists(np.random.default_rng(0), 80, 6, 200)))
    changed = rows_fk.copy()
    changed[0] = np.setdiff1d(np.arange(200), rows_fk[0])[:6]
    one, other = (draw_nulls(rows, concepts, np.random.default_rng(5), draws=500) for rows in (rows_fk, changed))
    own = one.fold_f[0]
    for fold in range(4):
        same = np.array_equal(one.hub[fold].llr[6], other.hub[fold].llr[6])
        assert same == (fold == own)


def test_dead_features_do_not_count() -> None:
    concepts = concepts_over(200)
    rows_fk = np.concatenate(list(draw_lists(np.random.default_rng(0), 80, 6, 200)))
    dead = np.concatenate([rows_fk, np.tile(np.arange(6), (40, 1))])
    live_f = np.arange(120) < 80
    nulls = [
        draw_nulls(rows, concepts, np.random.default_rng(5), draws=500, live_f=live_f)
        for rows in (dead, np.where(live_f[:, None], dead, 150 + np.arange(6)))
    ]
    for a, b in zip(*(null.hub for null in nulls), strict=True):
        np.testing.assert_array_equal(a.llr[6], b.llr[6])


def test_lengths_are_all_short_ones_and_some_longer() -> None:
    assert lengths_of(1) == (1,)
    assert lengths_of(2) == (2,)
    assert lengths_of(8) == (2, 3, 4, 5, 6, 7, 8)
    assert lengths_of(40) == (*range(2, 17), 19, 22, 26, 31, 37, 40)
