import numpy as np
import pyarrow as pa
import pytest

from conceptprobe.indexing.reducers.sample import DECILES, QUANTILES, STRIP_IMAGES, Summary, sampled_rows, summarise

IDS = [f"image-{i:05d}" for i in range(3000)]


def rows_of(ids: list[str], size: int) -> np.ndarray:
    return sampled_rows(pa.chunked_array([ids[:100], ids[100:]]), size)


def summary_of(values_nf: np.ndarray, high: float = 0.0) -> Summary:
    draws = np.random.default_rng(1).random((values_nf.shape[1], DECILES, STRIP_IMAGES))
    return summarise(values_nf.astype(np.float32), high, draws)


def test_the_sample_is_of_ids_not_of_places() -> None:
    chosen = {IDS[row] for row in rows_of(IDS, 100)}
    shuffled = np.random.default_rng(0).permutation(IDS).tolist()
    assert {shuffled[row] for row in rows_of(shuffled, 100)} == chosen


def test_the_sample_of_a_union_is_in_the_samples_of_its_parts() -> None:
    parts = {id_ for half in (IDS[:1700], IDS[1700:]) for id_ in (half[row] for row in rows_of(half, 100))}
    assert {IDS[row] for row in rows_of(IDS, 100)} <= parts


def test_the_sample_is_uniform_over_the_listing() -> None:
    counts = np.histogram(rows_of(IDS, 600), bins=6, range=(0, 3000))[0]
    assert (np.abs(counts - 100) < 40).all()  # four standard deviations


def test_quantiles_and_rates_are_exact_when_every_image_is_sampled() -> None:
    values = np.random.default_rng(0).standard_normal((500, 5)).astype(np.float32)
    values[::9, 2] = np.nan
    values[3, 1] = np.inf
    values[:, 3] = 4.0
    values[:, 4] = np.nan
    summary = summary_of(values, high=0.5)
    finite = np.where(np.isfinite(values), values, np.nan)[:, :4]
    np.testing.assert_allclose(summary.quantiles_qf[:, :4], np.nanquantile(finite, QUANTILES, axis=0), rtol=1e-6)
    np.testing.assert_allclose(summary.high_rate_f[:4], (finite > 0.5).sum(0) / np.isfinite(finite).sum(0))
    assert np.isnan(summary.quantiles_qf[:, 4]).all()
    assert np.isnan(summary.high_rate_f[4])
    assert (summary.strip_fds[4] == -1).all()


DISTRIBUTIONS = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "two far spikes": lambda rng, n: np.where(rng.random(n) < 0.5, -1e30, 1e30),
    "one value and a tail": lambda rng, n: np.where(rng.random(n) < 0.98, 0.0, rng.exponential(1e6, n)),
    "all within one part in a million": lambda rng, n: 1000 + 1e-3 * rng.random(n),
    "thirty powers of ten": lambda rng, n: 10.0 ** rng.uniform(-15, 15, n) * rng.choice([-1, 1], n),
    "sorted as the images are": lambda rng, n: np.arange(n) / n,
    "rare and high at the end": lambda rng, n: np.where(np.arange(n) > 0.97 * n, 5.0, rng.random(n)),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_quantiles_of_more_images_are_within_1_percent_in_rank(name: str) -> None:
    n = 200_000
    values = DISTRIBUTIONS[name](np.random.default_rng(5), n).astype(np.float32)
    rows = sampled_rows(pa.chunked_array([[f"{i:06d}.jpg" for i in range(n)]]))
    summary = summary_of(values[rows, None])
    ordered = np.sort(values)
    for level, value in zip(QUANTILES, summary.quantiles_qf[:, 0], strict=True):
        below, upto = np.searchsorted(ordered, value, "left") / n, np.searchsorted(ordered, value, "right") / n
        assert below - 0.01 <= level <= upto + 0.01, (level, below, upto)


@pytest.mark.parametrize("n", [1, 3, 9, 10, 79, 80, 83, 500, 997])
def test_a_strip_is_of_every_tenth_of_the_ranking(n: int) -> None:
    values = np.random.default_rng(n).permutation(n).astype(np.float32)[:, None]
    strip, shown = summary_of(values).strip_fds[0], summary_of(values).strip_values_fds[0]
    for tenth in range(DECILES):
        members = np.arange(n * tenth // DECILES, n * (tenth + 1) // DECILES)
        rows = strip[tenth][strip[tenth] >= 0]
        assert len(rows) == len(set(rows)) == min(len(members), STRIP_IMAGES)
        assert (strip[tenth][len(rows) :] == -1).all()
        assert np.isnan(shown[tenth][len(rows) :]).all()
        ranks = values[rows, 0]
        assert set(ranks) <= set(members)
        assert (np.diff(ranks) < 0).all()
        np.testing.assert_array_equal(shown[tenth][: len(rows)], ranks)


def test_every_image_of_a_tenth_is_as_likely_to_be_in_its_strip() -> None:
    features, n = 4000, 400
    values = np.repeat(np.arange(n, dtype=np.float32)[:, None], features, 1)
    counts = np.bincount(summary_of(values).strip_fds.ravel(), minlength=n)
    assert abs(counts - features * 80 / n).max() < 5 * np.sqrt(features * 0.2 * 0.8)
