"""95 % intervals of means over images."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from conceptprobe.intervals import LEVEL, wilson_interval


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval; both ends NaN where the values show no spread to tell it from."""

    mean: float
    low: float
    high: float
    n: int


def mean_interval(values_n: np.ndarray) -> Interval:
    """The mean over images with its 95 % interval over new images of the same kind.

    Wilson's for values within 0 and 1 (Wilson 1927), which holds at the ends and never leaves them; else Student's t.
    Where values are not all 0 or 1, as after averaging over draws, each image tells more than one yes or no: n is then
    the effective one, mean (1 - mean) over the variance of the mean, as in Korn and Graubard 1998 for surveys. NaN says
    that an image has no value and is left out.

    Args:
        values_n: One value an image, each already averaged over random draws.
    """
    values_n = np.asarray(values_n, float)
    values_n = values_n[~np.isnan(values_n)]
    n = len(values_n)
    if n == 0:
        return Interval(np.nan, np.nan, np.nan, 0)
    return _wilson(values_n) if values_n.min() >= 0 and values_n.max() <= 1 else _student(values_n)


def paired_interval(first_n: np.ndarray, second_n: np.ndarray) -> Interval:
    """The mean of the differences first - second on the same images, with Student's 95 % interval over images."""
    difference_n = np.asarray(first_n, float) - np.asarray(second_n, float)
    difference_n = difference_n[~np.isnan(difference_n)]
    return _student(difference_n) if len(difference_n) else Interval(np.nan, np.nan, np.nan, 0)


def _wilson(values_n: np.ndarray) -> Interval:
    n, mean, alike = len(values_n), float(values_n.mean()), values_n.min() == values_n.max()
    if mean in (0.0, 1.0):  # up to rounding, where not all are
        effective = float(n)
    elif alike:
        return Interval(mean, np.nan, np.nan, n)
    else:
        effective = n * mean * (1 - mean) / float(values_n.var())
    return Interval(mean, *wilson_interval(mean, effective), n)


def _student(values_n: np.ndarray) -> Interval:
    n, mean = len(values_n), float(values_n.mean())
    spread = float(values_n.std(ddof=1)) if n > 1 else 0.0
    if spread == 0:
        return Interval(mean, np.nan, np.nan, n)
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1) * spread / np.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)
