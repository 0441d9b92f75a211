"""The difference between features of the same layer and of similar firing rate."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.random import Generator
from scipy import sparse

from conceptprobe.intervals import LEVEL

PERMUTATIONS = 2_000
BANDS = 5


@dataclass(frozen=True)
class Matched:
    """A difference within strata.

    Attributes:
        value: The mean over the strata of A's average minus B's, weighted by n_a n_b / (n_a + n_b) (Cochran 1954); NaN
            where no stratum has features of both models.
        low: The lower end of the 95 % interval, for other features over the same images: the value minus the 95 %
            quantile of the size of the difference under permuted model labels.
        high: The upper end of the interval.
        p: The two-sided p-value against permuted model labels; at most 0.05 where the interval leaves out 0.
    """

    value: float
    low: float
    high: float
    p: float


def strata_of(layer_f: np.ndarray, firing_rate_f: np.ndarray, bands: int = BANDS) -> np.ndarray:
    """The stratum of each feature, int64 [f]: its pair of layers, and its band of firing rate in that pair.

    Bands have equally many features.
    """
    rank_f = pd.Series(firing_rate_f).groupby(layer_f).rank(method="average", pct=True).fillna(1).to_numpy()
    band_f = np.ceil(rank_f * bands).astype(np.int64).clip(1, bands) - 1
    stratum_f: np.ndarray = pd.factorize(layer_f)[0] * bands + band_f
    return stratum_f


def matched_difference(
    value_f: np.ndarray,
    counts_f: np.ndarray,
    sign_f: np.ndarray,
    cluster_f: np.ndarray,
    stratum_f: np.ndarray,
    rng: Generator,
    permutations: int = PERMUTATIONS,
) -> Matched:
    """Compare averages within strata, and test the difference by permuting model labels.

    Labels belong to units: a unit is the members of a cluster of redundant features in a stratum, so redundant features
    count as one. Units with features of one model exchange labels within a stratum; a unit with features of both models
    has its two sides exchanged or not.

    Args:
        value_f: The value of each feature, float64 [f]; 0 where it does not count.
        counts_f: 1 where a feature counts, else 0, [f].
        sign_f: Which model each feature is of: 1 for A, -1 for B, [f].
        cluster_f: The cluster of each feature, int64 [f].
        stratum_f: The stratum of each feature, int64 [f].
        rng: The source of the permutations.
        permutations: How many permutations are drawn.
    """
    counted = np.flatnonzero(counts_f > 0)
    units, unit_f = np.unique(np.stack([stratum_f[counted], cluster_f[counted]]), axis=1, return_inverse=True)
    stratum_u = units[0]
    shape = (len(counted), units.shape[1])
    of_unit = sparse.csr_array((np.ones(len(counted)), (np.arange(len(counted)), unit_f.ravel())), shape=shape)
    in_a = sign_f[counted] > 0
    value_au, count_au = (x[counted] * in_a @ of_unit for x in (value_f, counts_f))
    value_bu, count_bu = (x[counted] * ~in_a @ of_unit for x in (value_f, counts_f))
    mixed_u, only_a_u = (count_au > 0) & (count_bu > 0), count_bu == 0
    sums_p2 = np.zeros((1 + permutations, 2))  # weighted differences and weights; the first row is as observed
    for stratum in np.unique(stratum_u):
        at = np.flatnonzero(stratum_u == stratum)
        swap_pu = np.zeros((1 + permutations, len(at)), bool)
        mixed, pure = np.flatnonzero(mixed_u[at]), np.flatnonzero(~mixed_u[at])
        swap_pu[1:, mixed] = rng.random((permutations, len(mixed))) < 0.5
        labels = np.broadcast_to(only_a_u[at][pure], (permutations, len(pure)))
        swap_pu[1:, pure] = rng.permuted(labels, axis=1) != labels
        sums = [
            one[at].sum() + swap_pu @ (other[at] - one[at])
            for one, other in ((value_au, value_bu), (count_au, count_bu), (value_bu, value_au), (count_bu, count_au))
        ]
        total_a, n_a, total_b, n_b = sums
        sums_p2[:, 0] += (total_a * n_b - total_b * n_a) / (n_a + n_b)
        sums_p2[:, 1] += n_a * n_b / (n_a + n_b)
    if not sums_p2[0, 1]:
        return Matched(*[np.nan] * 4)
    differences = sums_p2[:, 0] / np.where(sums_p2[:, 1] > 0, sums_p2[:, 1], np.nan)
    value, sizes = float(differences[0]), np.abs(differences[1:])
    as_large = np.sum(sizes >= abs(value) - 1e-12)
    half = float(np.nanquantile(sizes, LEVEL, method="higher"))
    return Matched(value, value - half, value + half, float((1 + as_large) / (1 + permutations)))
