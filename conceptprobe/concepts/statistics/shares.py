"""Shares with their intervals."""

import numpy as np
from scipy.stats import binomtest


def wilson_interval(count: int, total: int) -> tuple[float, float]:
    """Wilson's (1927) 95 % interval for a share of independent cases, from 0 to 1; NaN where there is no case."""
    if not total:
        return np.nan, np.nan
    low, high = binomtest(count, total).proportion_ci(method="wilson")
    return float(low), float(high)
