import math

import numpy as np
import pytest
from scipy.stats import binomtest

from conceptprobe.intervals import bootstrap_interval, wilson_interval


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (0, 5), (1, 1), (5, 5), (3, 7), (61, 64), (20, 40), (1, 100_000)])
def test_wilsons_interval_is_scipys(hits: int, count: int) -> None:
    expected = binomtest(hits, count).proportion_ci(method="wilson")
    assert wilson_interval(hits / count, count) == pytest.approx((expected.low, expected.high), rel=1e-13, abs=1e-16)


def test_wilsons_interval_by_hand() -> None:
    """With z = 1.959964, (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n) at p = 1/4 and n = 7.5."""
    z2 = 1.959963984540054**2 / 7.5
    half = math.sqrt(z2 * 3 / 16 + z2**2 / 4)
    expected = (0.25 + z2 / 2 - half) / (1 + z2), (0.25 + z2 / 2 + half) / (1 + z2)
    assert wilson_interval(0.25, 7.5) == pytest.approx(expected, rel=1e-14)


def test_wilsons_interval_of_nothing_is_unknown() -> None:
    assert all(math.isnan(end) for ends in (wilson_interval(math.nan, 5), wilson_interval(0.5, 0)) for end in ends)


def test_the_bootstrap_is_that_of_its_draws() -> None:
    values = np.array([1.0, 2, 4, 8, 16])
    found = bootstrap_interval(values, np.median, np.random.default_rng(3), draws=500)
    rng = np.random.default_rng(3)
    medians = [np.median(values[row]) for row in rng.integers(5, size=(500, 5))]
    assert found == tuple(np.quantile(medians, [0.025, 0.975]))


def test_the_bootstrap_covers_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):
        low, high = bootstrap_interval(rng.normal(1.0, 2.0, 60), np.mean, rng, draws=500)
        covered += low <= 1.0 <= high
    assert 180 <= covered <= 199  # 95 % of 200 is 190; sd 3.1
    assert all(math.isnan(end) for end in bootstrap_interval(np.array([1.0]), np.mean, rng))
