"""Features that only look must not pass for meaning; those that mean something must, whatever images look like."""

from collections.abc import Callable

import numpy as np
import pytest

from conceptprobe.concepts.looks.predicted import VisualNull, draw_by_chance, inclusion

N, K, FEATURES = 3000, 8, 10


def slow_chance(acts: np.ndarray, predicted: np.ndarray, scatter: np.ndarray, k: int, parts: int) -> np.ndarray:
    """The share of the residuals of like images that lift an image over the threshold, image by image."""
    threshold = sorted(acts)[-k]
    order = sorted(range(len(acts)), key=lambda i: -predicted[i] - 2 * scatter[i])
    result = np.zeros(len(acts))
    for stratum in np.array_split(order, parts):
        for i in stratum:
            lifted = [predicted[i] + scatter[i] * (acts[j] - predicted[j]) / scatter[j] for j in stratum]
            result[i] = np.mean(np.array(lifted) >= threshold - 1e-12)
    return result


def test_chance_is_the_share_of_residuals_that_would_do() -> None:
    rng = np.random.default_rng(0)
    predicted, scatter = rng.standard_normal(300), rng.uniform(0.5, 2, 300)
    acts = predicted + scatter * rng.standard_normal(300)
    found, expected = inclusion(acts, predicted, scatter, 8), slow_chance(acts, predicted, scatter, 8, 3)
    assert found.sum() == pytest.approx(8)
    assert 0 <= found.min() <= found.max() <= 1
    np.testing.assert_allclose(found, expected * (8 / expected.sum()), atol=1e-12)


def test_chance_where_looks_decide_is_the_list_itself() -> None:
    acts = np.random.default_rng(1).permutation(300).astype(np.float32)
    np.testing.assert_array_equal(inclusion(acts, acts, np.zeros(300), 5), acts >= 295)
    ties = np.r_[np.ones(20), np.zeros(280)]
    np.testing.assert_allclose(inclusion(ties, ties, np.zeros(300), 5), ties / 4)


def test_lists_hold_images_as_often_as_their_chance_says() -> None:
    rng = np.random.default_rng(2)
    chance = np.r_[1.0, 0.9, rng.random(97), 0]
    chance[2:-1] *= (6 - 1.9) / chance[2:-1].sum()
    lists = draw_by_chance(chance, 6, 20_000, rng)
    assert (np.diff(np.sort(lists, axis=1), axis=1) > 0).all()
    share = np.bincount(lists.ravel(), minlength=100) / 20_000
    error = np.sqrt(chance * (1 - chance) / 20_000)
    assert (np.abs(share - chance) <= 5 * error + 1e-9).all()


def looks(rng: np.random.Generator) -> np.ndarray:
    vectors = rng.standard_normal((N, 12)) / np.sqrt(1 + np.arange(12))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_predictions_know_nothing_of_the_image_itself() -> None:
    rng = np.random.default_rng(3)
    descriptors = looks(rng)
    acts = np.c_[descriptors @ rng.standard_normal(12), rng.standard_normal((N, 40))].astype(np.float32)
    predicted = VisualNull(descriptors).predict(acts)
    assert np.corrcoef(acts[:, 0], predicted[:, 0])[0, 1] > 0.99
    own = [np.corrcoef(acts[:, f], predicted[:, f])[0, 1] for f in range(1, 41)]
    assert abs(np.mean(own)) < 0.03


def simple(looks_nv: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.repeat(looks_nv[:, :1], FEATURES, axis=1) + 0.05 * rng.standard_normal((N, FEATURES))


def noisy(looks_nv: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.repeat(looks_nv[:, :1], FEATURES, axis=1) + 0.5 * rng.standard_normal((N, FEATURES))


def mixed(looks_nv: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    weights = np.abs(rng.standard_normal((12, FEATURES))) / (1 + np.arange(12)[:, None])
    return looks_nv @ weights + 0.3 * rng.standard_normal((N, FEATURES))


def uneven(looks_nv: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Louder, not higher, on images of one look, as a rectified unit is."""
    return np.exp(2 * looks_nv[:, :1]) * rng.standard_normal((N, FEATURES))


def curved(looks_nv: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.square(looks_nv[:, :1] + 0.3) + 0.05 * rng.standard_normal((N, FEATURES))


def false_calls(make: Callable[..., np.ndarray], level: float, rounds: int = 30) -> tuple[float, float]:
    """How often features that see a look are called meaningful, by this null and by random lists.

    A concept, new in each round, is likelier the more an image has of the look; a feature never sees it.
    """
    rng = np.random.default_rng(4)
    descriptors = looks(rng)
    null = VisualNull(descriptors)
    random = np.stack([rng.choice(N, K, replace=False) for _ in range(300)])
    p, naive = [], []
    for _ in range(rounds):
        concept_n = rng.random(N) < 1 / (1 + np.exp(3 - 4 * descriptors[:, 0]))
        acts = make(descriptors, rng).astype(np.float32)
        rows_fk = np.argsort(-acts, axis=0, kind="stable")[:K].T
        p.append(null.compare(acts, rows_fk, untied(concept_n, rng), rng, draws=200).p_f)
        naive.extend(np.mean(concept_n[random].sum(1) >= concept_n[rows].sum()) for rows in rows_fk)
    return float(np.mean(np.concatenate(p) <= level)), float(np.mean(np.array(naive) <= level))


@pytest.mark.slow
@pytest.mark.parametrize("make", [simple, noisy, mixed])
def test_a_look_that_goes_with_a_concept_is_no_meaning(make: Callable[..., np.ndarray]) -> None:
    found, naive = false_calls(make, 0.05)
    assert naive > 0.3
    assert found <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / (30 * FEATURES))


@pytest.mark.slow
@pytest.mark.parametrize("make", [uneven, curved])
def test_a_look_that_bends_or_scatters_is_taken_for_meaning_twice_too_often_at_most(
    make: Callable[..., np.ndarray],
) -> None:
    found, naive = false_calls(make, 0.05)
    assert naive > 0.3
    assert found <= 0.1


def untied(concept_n: np.ndarray, rng: np.random.Generator) -> Callable[[np.ndarray], np.ndarray]:
    """Images of a list in the concept, and a random number below one: without ties a calibrated p is uniform."""
    return lambda rows_dk: concept_n[rows_dk].sum(1) + rng.random(len(rows_dk))


def test_a_meaning_is_found_among_images_of_all_looks() -> None:
    rng = np.random.default_rng(5)
    descriptors = looks(rng)
    concept_n = rng.random(N) < 0.05
    acts = (2.5 * concept_n[:, None] + descriptors[:, :1] + rng.standard_normal((N, FEATURES))).astype(np.float32)
    rows_fk = np.argsort(-acts, axis=0, kind="stable")[:K].T
    found = VisualNull(descriptors).compare(acts, rows_fk, lambda rows: concept_n[rows].sum(1), rng, draws=400)
    assert np.mean(found.p_f <= 0.05) > 0.95
    assert found.mean_f.mean() < 2


@pytest.mark.slow
def test_same_seed_same_numbers_and_clear_cases_are_drawn_once() -> None:
    rng = np.random.default_rng(6)
    descriptors = looks(rng)
    acts = rng.standard_normal((N, 10)).astype(np.float32)
    rows_fk = np.argsort(-acts, axis=0)[:K].T
    drawn = []

    def ones(rows_dk: np.ndarray) -> np.ndarray:
        drawn.append(len(rows_dk))
        return np.ones(len(rows_dk))

    null = VisualNull(descriptors)
    np.testing.assert_array_equal(null.compare(acts, rows_fk, ones, rng).p_f, 1)
    assert drawn == [10] + [100] * 10
    sums = [null.compare(acts, rows_fk, lambda rows: acts[rows, 0].sum(1), np.random.default_rng(7)) for _ in "ab"]
    np.testing.assert_array_equal(sums[0].p_f, sums[1].p_f)
