import numpy as np
import pytest
from scipy import stats

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.looks.look_alikes import LookAlikes, draw_look_alikes
from conceptprobe.concepts.statistics.coherence import mean_cosine


def looks(seed: int, n: int = 1500, v: int = 20) -> np.ndarray:
    """Directions of unequal weight, as looks have them."""
    vectors = np.random.default_rng(seed).standard_normal((n, v)) / np.sqrt(1 + np.arange(v))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def bank() -> LookAlikes:
    return draw_look_alikes(looks(0), 8, 4000, np.random.default_rng(1))


def test_lists_hold_different_images_in_order_of_coherence(bank: LookAlikes) -> None:
    assert len(bank) == 4000
    assert (np.diff(np.sort(bank.rows_dk, axis=1), axis=1) > 0).all()
    assert (np.diff(bank.coherence_d) >= 0).all()
    np.testing.assert_allclose(mean_cosine(looks(0), bank.rows_dk), bank.coherence_d, atol=1e-12)


def test_coherence_spans_from_random_to_neighbourhoods(bank: LookAlikes) -> None:
    descriptors = looks(0)
    rng = np.random.default_rng(2)
    random = mean_cosine(descriptors, np.stack([rng.choice(1500, 8, replace=False) for _ in range(400)]))
    near = np.argsort(-descriptors[:200] @ descriptors.T, axis=1)[:, :8]
    assert bank.coherence_d[0] < np.median(random)
    assert bank.coherence_d[-1] > np.median(mean_cosine(descriptors, near))
    assert np.diff(bank.coherence_d[20:-20]).max() < 0.02


def test_same_seed_same_lists(bank: LookAlikes) -> None:
    again = draw_look_alikes(looks(0), 8, 4000, np.random.default_rng(1))
    np.testing.assert_array_equal(again.rows_dk, bank.rows_dk)
    other = draw_look_alikes(looks(0), 8, 4000, np.random.default_rng(2))
    assert (other.rows_dk != bank.rows_dk).any()


def test_matches_lie_on_both_sides(bank: LookAlikes) -> None:
    wanted = np.array([bank.coherence_d[2000], -1.0, 2.0, np.nan])
    first = bank.matched(wanted, 500)
    assert first.tolist() == [1750, 0, 3500, 3500]
    np.testing.assert_array_equal(bank.matched(wanted, 10_000), 0)


@pytest.mark.parametrize("k", [1, 31])
def test_lists_that_cannot_be_drawn_are_refused(k: int) -> None:
    with pytest.raises(ConceptError, match=r"cannot be drawn from \d+ images: k must be from 2 to \d+"):
        draw_look_alikes(looks(3, n=30), k, 10, np.random.default_rng(0))


def test_lists_of_random_visual_features_are_like_their_matches() -> None:
    """Features that are random directions of the looks, with a statistic that goes with one look: the p-values of many
    are uniform (Kolmogorov-Smirnov over 300 features), while against random lists they are not."""
    descriptors = looks(5)
    property_n = descriptors[:, :3].sum(1) > 0.8
    rng = np.random.default_rng(6)
    bank = draw_look_alikes(descriptors, 8, 8000, np.random.default_rng(7))
    scores = descriptors @ rng.standard_normal((20, 300)).astype(np.float32)
    angle = rng.uniform(0, np.pi / 2, 300)
    scores = np.cos(angle) * scores / scores.std(0) + np.sin(angle) * rng.standard_normal(scores.shape)
    rows_fk = np.argsort(-scores, axis=0)[:8].T
    hits_f, hits_d = property_n[rows_fk].sum(1), property_n[bank.rows_dk].sum(1)
    first = bank.matched(mean_cosine(descriptors, rows_fk), 500)
    jitter = rng.uniform(0, 1, 300)  # breaks the ties of a count, so that uniform is what a calibrated p is
    p = [
        (np.sum(hits_d[at : at + 500] > hits) + u * np.sum(hits_d[at : at + 500] == hits)) / 500
        for at, hits, u in zip(first, hits_f, jitter, strict=True)
    ]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    random = property_n[np.stack([rng.choice(1500, 8, replace=False) for _ in range(500)])].sum(1)
    naive = [(np.sum(random > hits) + u * np.sum(random == hits)) / 500 for hits, u in zip(hits_f, jitter, strict=True)]
    assert stats.kstest(naive, "uniform").pvalue < 1e-4
