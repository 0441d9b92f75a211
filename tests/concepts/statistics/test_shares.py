import numpy as np
import pytest

from conceptprobe.concepts.statistics.shares import wilson_interval


def test_the_interval_is_wilsons() -> None:
    z, n, share = 1.959963985, 40, 0.25
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    assert wilson_interval(10, 40) == pytest.approx((centre - half, centre + half))


def test_no_cases_have_no_interval() -> None:
    assert np.isnan(wilson_interval(0, 0)).all()
