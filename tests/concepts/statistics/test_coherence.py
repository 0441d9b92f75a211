"""Each score against a slow reference in float64, written from the published formula."""

import itertools

import numpy as np
import pytest

from conceptprobe.concepts.statistics.coherence import mean_cosine, monosemanticity, redundancy


def units(seed: int, n: int = 60, d: int = 12) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((n, d)) + 0.5
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def lists(seed: int, n: int = 60, f: int = 25, k: int = 15) -> np.ndarray:
    """Lists of 0 to k rows."""
    rng = np.random.default_rng(seed)
    rows = np.stack([rng.choice(n, k, replace=False) for _ in range(f)])
    lengths = rng.integers(2, k + 1, f)
    lengths[:4] = (0, 1, 2, k)
    return np.where(np.arange(k) < lengths[:, None], rows, -1)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64), b.astype(np.float64)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.mark.parametrize("seed", range(3))
def test_mean_cosine_is_semanticlens_clarity(seed: int) -> None:
    embeddings, rows_fk = units(seed), lists(seed)
    found = mean_cosine(embeddings, rows_fk)
    assert np.isnan(found[:2]).all()
    for value, rows in zip(found[2:], rows_fk[2:], strict=True):
        own = embeddings[rows[rows >= 0]].astype(np.float64)
        n = len(own)
        formula = n / (n - 1) * (np.square(own.mean(0)).sum() - 1 / n)
        pairs = np.mean([cosine(a, b) for a, b in itertools.combinations(own, 2)])
        assert value == pytest.approx(formula, abs=1e-6)
        assert value == pytest.approx(pairs, abs=1e-6)


def test_mean_cosine_does_not_depend_on_how_lists_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    embeddings, rows_fk = units(4), lists(4)
    whole = mean_cosine(embeddings, rows_fk)
    monkeypatch.setattr("conceptprobe.concepts.statistics.coherence.CHUNK", 1)
    np.testing.assert_array_equal(mean_cosine(embeddings, rows_fk), whole)


@pytest.mark.parametrize("chunk", [1, 1 << 22])
def test_redundancy_is_the_largest_cosine_to_another_feature(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conceptprobe.concepts.statistics.coherence.CHUNK", chunk)
    embeddings, rows_fk = units(1), lists(1)
    found = redundancy(embeddings, rows_fk)
    means = [embeddings[rows[rows >= 0]].astype(np.float64).mean(0) if (rows >= 0).any() else None for rows in rows_fk]
    assert means[0] is None
    assert np.isnan(found[0])
    for i in range(1, len(means)):
        others = [cosine(means[i], means[j]) for j in range(1, len(means)) if j != i]
        assert found[i] == pytest.approx(max(others), abs=1e-6)


def test_redundancy_of_equal_lists_is_one_and_of_a_lone_one_unknown() -> None:
    embeddings = units(2)
    rows = np.array([[3, 4, 5], [5, 4, 3], [-1, -1, -1]])
    np.testing.assert_allclose(redundancy(embeddings, rows)[:2], 1, atol=1e-12)
    assert np.isnan(redundancy(embeddings, rows[1:])).all()


@pytest.mark.parametrize("block", [1, 7, 60])
def test_monosemanticity_is_the_weighted_mean_cosine_of_all_pairs(block: int) -> None:
    embeddings = units(6)
    acts = np.random.default_rng(7).gamma(0.5, 2, (60, 8)).astype(np.float32) - 3
    acts[:, 6] = 4  # constant
    acts[:, 7] = np.eye(60)[11]  # above the least in one image only
    found = monosemanticity(embeddings, (acts[start : start + block] for start in range(0, 60, block)))
    assert np.isnan(found[6:]).all()
    for feature in range(6):
        a = acts[:, feature].astype(np.float64)
        a = (a - a.min()) / (a.max() - a.min())
        above = below = 0.0
        for n, m in itertools.combinations(range(60), 2):
            above += a[n] * a[m] * cosine(embeddings[n], embeddings[m])
            below += a[n] * a[m]
        assert found[feature] == pytest.approx(above / below, abs=1e-6)


def test_monosemanticity_of_like_images_is_one() -> None:
    embeddings = np.repeat(units(8, 2), 5, axis=0)
    acts = np.repeat([[0.0], [3.0]], 5, axis=0)
    np.testing.assert_allclose(monosemanticity(embeddings, [acts]), 1, atol=1e-6)


def test_monosemanticity_refuses_activations_of_other_images() -> None:
    with pytest.raises(AssertionError, match="59 rows of activations for 60 images"):
        monosemanticity(units(9), [np.zeros((59, 2))])
