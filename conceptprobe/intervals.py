"""95 % intervals of shares and of other statistics of independent values."""

import math
from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from scipy.special import ndtri

LEVEL = 0.95
DRAWS = 10_000


def wilson_interval(share: float, count: float) -> tuple[float, float]:
    """Wilson's (1927) 95 % interval of a share, which holds near 0 and 1 and never leaves them.

    Args:
        share: The share, from 0 to 1; it may be a mean of shares.
        count: The number of independent draws, or the effective number of them.

    Returns:
        The lower and the upper end; NaN where there is no draw or no share.
    """
    if not count or math.isnan(share):
        return math.nan, math.nan
    square = float(ndtri((1 + LEVEL) / 2)) ** 2 / count
    half = math.sqrt(square * share * (1 - share) + square**2 / 4)
    low, high = ((share + square / 2 + side * half) / (1 + square) for side in (-1, 1))
    return max(low, 0.0), min(high, 1.0)


def bootstrap_interval(
    values_n: np.ndarray, statistic: Callable[..., np.ndarray], rng: Generator, draws: int = DRAWS
) -> tuple[float, float]:
    """The 95 % percentile interval of a statistic over independent values, by the bootstrap (Efron 1979).

    Args:
        values_n: The values.
        statistic: A function such as `np.mean`, which takes an `axis`.
        rng: The generator of the resamples.
        draws: The number of resamples.

    Returns:
        The lower and the upper end; NaN for fewer than two values.
    """
    if len(values_n) < 2:
        return math.nan, math.nan
    drawn = values_n[rng.integers(len(values_n), size=(draws, len(values_n)))]
    low, high = np.quantile(statistic(drawn, axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
