"""How sure an average over features, and its difference between two models, is: images and features are samples."""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from scipy.stats import norm
from scipy.stats import t as student

LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Measure:
    """What is averaged over features: the sum of `value` over the sum of `counts`, such as conceptual over testable.

    Attributes:
        value_f: Float64 [f]; 0 where a feature does not count.
        counts_f: 1 where a feature counts, else 0, float64 [f].
        value_bf: The same in each resample of the images, float64 [b,f].
        counts_bf: Float64 [b,f].
        image_scale: What a variance over the resamples is multiplied by to be one over new images.
        is_share: Whether values are 0 or 1.
    """

    value_f: np.ndarray
    counts_f: np.ndarray
    value_bf: np.ndarray
    counts_bf: np.ndarray
    image_scale: float
    is_share: bool = True

    def of(self, features: np.ndarray) -> "Measure":
        """The same of some features, by positions or bool [f]."""
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
        low: Lower end of the interval.
        high: Upper end.
        se: Standard error.
        se_images: The part of it from which images there are, beyond what each cluster's own chance adds.
    """

    value: float
    low: float
    high: float
    se: float
    se_images: float


NOTHING = Estimate(*[np.nan] * 5)


def estimate(measure: Measure, sign_f: np.ndarray, cluster_f: np.ndarray) -> Estimate:
    """The average over the features of sign 1 less that over the features of sign -1, if there are any; with an
    interval for other images, and other features of the same kinds.

    The variance is two-way (Cameron, Gelbach & Miller 2011, doi 10.1198/jbes.2010.07136): between clusters of redundant
    features, whose members are drawn together also where they are of both models; plus between images, from resamples
    in which every list was made anew; minus what both counted, the variance of each cluster by itself over the
    resamples. Without that, as when images are resampled within a bootstrap of features, the chance in every single
    list counts twice or more (Owen 2007, doi 10.1214/07-AOAS122). Averages are linearised, so the part between clusters
    is that of a cluster bootstrap, without its noise. Shares get two more clusters in each model for the variance, one
    all 1 and one all 0 (Agresti & Caffo 2000, doi 10.1080/00031305.2000.10474560), so that 0 of 50 is not surely 0.

    Args:
        measure: What is averaged, of the features of both models.
        sign_f: Whose feature each is: 1 or -1, [f].
        cluster_f: Clusters of redundant features, int64 [f].
    """
    member_fg = members(cluster_f)
    value, variance, freedom = 0.0, 0.0, 0
    centre_f, weight_f = np.zeros(len(sign_f)), np.zeros(len(sign_f))
    for sign in np.unique(sign_f):
        own_f = sign_f == sign
        total, count = measure.value_f[own_f].sum(), measure.counts_f[own_f].sum()
        if not count:
            return NOTHING
        value += sign * total / count
        clusters = int((measure.counts_f[own_f] @ member_fg[own_f] > 0).sum())
        freedom += clusters - 1
        if measure.is_share:
            size = count / clusters
            total, count = total + size, count + 2 * size
            variance += (size / count) ** 2 * ((1 - total / count) ** 2 + (total / count) ** 2)
        centre_f[own_f], weight_f[own_f] = total / count, sign / count
    between_g = ((measure.value_f - centre_f * measure.counts_f) * weight_f) @ member_fg
    variance += float((between_g**2).sum())
    within_bg = ((measure.value_bf - centre_f * measure.counts_bf) * weight_f) @ member_fg
    images = measure.image_scale * max(0.0, within_bg.sum(1).var(ddof=1) - within_bg.var(0, ddof=1).sum())
    se = float(np.sqrt(variance + images))
    half = float(student.ppf(0.5 + LEVEL / 2, max(freedom, 1))) * se
    return Estimate(float(value), float(value - half), float(value + half), se, float(np.sqrt(images)))


def binomial(measure: Measure, sign_f: np.ndarray) -> Estimate:
    """The interval as if every feature were drawn by itself and its verdict were sure: for comparison only."""
    value, variance = 0.0, 0.0
    for sign in np.unique(sign_f):
        own = measure.value_f[(sign_f == sign) & (measure.counts_f > 0)]
        if not len(own):
            return NOTHING
        value += sign * own.mean()
        variance += own.var() / len(own)
    se = float(np.sqrt(variance))
    half = float(norm.ppf(0.5 + LEVEL / 2)) * se
    return Estimate(float(value), float(value - half), float(value + half), se, 0.0)


def members(cluster_f: np.ndarray) -> sparse.csr_array:
    """Clusters as a matrix of 0 and 1, CSR [f,g]."""
    _, number = np.unique(cluster_f, return_inverse=True)
    shape = (len(cluster_f), int(number.max(initial=-1)) + 1)
    return sparse.csr_array((np.ones(len(number)), (np.arange(len(number)), number)), shape=shape)
