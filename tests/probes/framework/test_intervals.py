import numpy as np
import pytest
from scipy import stats

from conceptprobe.probes.framework.intervals import mean_interval


@pytest.mark.parametrize("right", [0, 1, 7, 20])
def test_yes_and_no_give_wilsons_interval(right: int) -> None:
    found = mean_interval(np.repeat([1.0, 0.0], [right, 20 - right]))
    expected = stats.binomtest(right, 20).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))


def test_draws_that_always_agree_add_nothing_and_free_ones_count_as_images() -> None:
    rng = np.random.default_rng(0)
    images = (rng.random(4000) < 0.2).astype(float)
    pairs = (rng.random((4000, 2)) < 0.2).astype(float)
    width = {
        name: found.high - found.low
        for name, values in {"one": images, "same": np.stack([images] * 2, 1).mean(1), "free": pairs.mean(1)}.items()
        for found in [mean_interval(values)]
    }
    assert width["same"] == width["one"]
    assert width["free"] / width["one"] == pytest.approx(np.sqrt(0.5), rel=0.05)


def test_shares_stay_within_their_bounds_and_cover_at_small_means() -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(2000):
        chance = rng.beta(0.02, 1.98, 512)  # mean 0.01: few images are right now and then
        found = mean_interval((rng.random((512, 2)) < chance[:, None]).mean(1))
        assert 0 <= found.low <= found.mean <= found.high <= 1
        inside.append(found.low <= 0.01 <= found.high)
    assert np.mean(inside) >= 0.925


def test_no_spread_within_the_bounds_and_no_values_say_nothing() -> None:
    assert np.isnan(mean_interval(np.full(9, 0.1)).low)
    nearly = mean_interval(np.array([1.0, 1.0 - 1e-16, 1.0]))  # their mean is 1
    assert (nearly.low, nearly.high) == (pytest.approx(mean_interval(np.ones(3)).low), pytest.approx(1))
    assert np.isnan(mean_interval(np.array([np.nan])).mean)
    assert mean_interval(np.array([np.nan, 1.0, 0.0])).n == 2
