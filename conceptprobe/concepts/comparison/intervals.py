"""Intervals of averages over features and of their differences between models: images and features are samples."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.stats import norm
from scipy.stats import t as student

from conceptprobe.intervals import LEVEL


@dataclass(frozen=True, eq=False)
class Measure:
    """An average over features: the sum of `value` over the sum of `counts`, such as conceptual over tested ones.

    Attributes:
        value_f: The value of each feature, float64 [f]; 0 where it does not count.
        counts_f: 1 where a feature counts, else 0, float64 [f].
        value_bf: The values in each resample of the images, float64 [b,f].
        counts_bf: Which features count in each resample, float64 [b,f].
        image_scale: The factor that turns a variance over the resamples into one over new images.
        is_rate: Whether values are 0 or 1.
    """

    value_f: np.ndarray
    counts_f: np.ndarray
    value_bf: np.ndarray
    counts_bf: np.ndarray
    image_scale: float
    is_rate: bool = True

    def of(self, features: np.ndarray) -> "Measure":
        """The measure of some of the features, by positions or bool [f]."""
        return replace(
            self,
            value_f=self.value_f[features],
            counts_f=self.counts_f[features],
            value_bf=self.value_bf[:, features],
            counts_bf=self.counts_bf[:, features],
        )

    def mean(self) -> float:
        """The average; NaN where no feature counts."""
        return float(self.value_f.sum() / self.counts_f.sum()) if self.counts_f.any() else np.nan


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval.

    Attributes:
        value: The estimate; NaN where a model has no feature that counts.
        low: The lower end of the interval.
        high: The upper end of the interval.
        se: The standard error.
        se_images: The standard error from the choice of images, beyond the chance within each cluster by itself.
        p: The two-sided p-value of a true value of 0; below 0.05 where the interval leaves out 0.
    """

    value: float
    low: float
    high: float
    se: float
    se_images: float
    p: float


NOTHING = Estimate(*[np.nan] * 6)


def estimate(measure: Measure, sign_f: np.ndarray, cluster_f: np.ndarray) -> Estimate:
    """The average over the features of sign 1 minus that over the features of sign -1, if there are any.

    The interval holds for other images, and for other features of the same kinds. The variance is two-way (Cameron,
    Gelbach & Miller 2011, doi 10.1198/jbes.2010.07136): between clusters of redundant features, whose members are drawn
    together even if they are of both models; plus between images, from resamples in which every list is made anew;
    minus the variance that both terms count, which is that of each cluster by itself over the resamples. If it were not
    subtracted, as when images are resampled within a bootstrap of features, the chance in every single list would count
    twice or more (Owen 2007, doi 10.1214/07-AOAS122). Averages are linearised, so the variance between clusters is that
    of a cluster bootstrap without its noise. Rates get two more clusters in each model for the variance, one all 1 and
    one all 0 (Agresti & Caffo 2000, doi 10.1080/00031305.2000.10474560), so that 0 of 50 is not surely 0.

    Args:
        measure: The average over the features of both models.
        sign_f: Which model each feature is of: 1 or -1, [f].
        cluster_f: Clusters of redundant features, int64 [f].
    """
    member_fg = cluster_members(cluster_f)
    value, variance, freedom = 0.0, 0.0, 0
    centre_f, weight_f = np.zeros(len(sign_f)), np.zeros(len(sign_f))
    for sign in np.unique(sign_f):
        model_f = sign_f == sign
        total, count = measure.value_f[model_f].sum(), measure.counts_f[model_f].sum()
        if not count:
            return NOTHING
        value += sign * total / count
        clusters = int((measure.counts_f[model_f] @ member_fg[model_f] > 0).sum())
        freedom += clusters - 1
        if measure.is_rate:
            size = count / clusters
            total, count = total + size, count + 2 * size
            variance += (size / count) ** 2 * ((1 - total / count) ** 2 + (total / count) ** 2)
        centre_f[model_f], weight_f[model_f] = total / count, sign / count
    between_g = ((measure.value_f - centre_f * measure.counts_f) * weight_f) @ member_fg
    variance += float((between_g**2).sum())
    within_bg = ((measure.value_bf - centre_f * measure.counts_bf) * weight_f) @ member_fg
    images = measure.image_scale * max(0.0, within_bg.sum(1).var(ddof=1) - within_bg.var(0, ddof=1).sum())
    se = float(np.sqrt(variance + images))
    distribution = student(max(freedom, 1))
    half = float(distribution.ppf(0.5 + LEVEL / 2)) * se
    p = 2 * float(distribution.sf(abs(value) / se)) if se else float(value == 0)
    return Estimate(float(value), float(value - half), float(value + half), se, float(np.sqrt(images)), p)


def binomial(measure: Measure, sign_f: np.ndarray) -> Estimate:
    """The estimate if every feature were drawn by itself and its verdict were certain; for comparison only."""
    value, variance = 0.0, 0.0
    for sign in np.unique(sign_f):
        values = measure.value_f[(sign_f == sign) & (measure.counts_f > 0)]
        if not len(values):
            return NOTHING
        value += sign * values.mean()
        variance += values.var() / len(values)
    se = float(np.sqrt(variance))
    half = float(norm.ppf(0.5 + LEVEL / 2)) * se
    p = 2 * float(norm.sf(abs(value) / se)) if se else float(value == 0)
    return Estimate(float(value), float(value - half), float(value + half), se, 0.0, p)


def cluster_members(cluster_f: np.ndarray) -> sparse.csr_array:
    """Which feature is in which cluster, as a matrix of 0 and 1, CSR [f,g]."""
    _, number = np.unique(cluster_f, return_inverse=True)
    shape = (len(cluster_f), int(number.max(initial=-1)) + 1)
    return sparse.csr_array((np.ones(len(number)), (np.arange(len(number)), number)), shape=shape)
