"""The null distribution of top lists that looks alone would give, where the activations of all images are known.

A feature's activations and their scatter are predicted from visual descriptors. Among images with similar predictions,
the residuals are exchanged at random. This is the conditional randomization test (Candes et al. 2018, arXiv 1610.02351)
of whether a feature's list depends on a concept given what the images look like, with the residuals exchanged (Freedman
& Lane 1983) within strata of the prediction.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from scipy.linalg import cho_factor, cho_solve

FOLDS = 3
COMPONENTS = 30
WAVES, WIDTHS = 500, (1.0, 3.0)
PENALTIES = (1e-5, 1e-4, 1e-3)
STRATUM = 100
LEAST_SCATTER = 0.1
ORDERS = 20
FIRST_DRAWS, ENOUGH = 100, 10


@dataclass(frozen=True, eq=False)
class Comparison:
    """Features compared with the lists that looks alone would give.

    Attributes:
        p_f: (1 + lists with a statistic at least as large) / (1 + lists), float64 [f]. Where ten of the first 100 lists
            reach a feature's statistic, no more are drawn for it.
        mean_f: Mean of the statistic over the lists, float64 [f].
    """

    p_f: np.ndarray
    mean_f: np.ndarray


class VisualNull:
    """The null distribution of the lists that looks alone would give.

    Args:
        descriptors_nv: What images look like, rows of length one, float32 [n,v].
        seed: Seed of the folds and of the random waves.
    """

    def __init__(self, descriptors_nv: np.ndarray, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        images = len(descriptors_nv)
        self._looks = expand(descriptors_nv, rng)
        self._folds = np.array_split(rng.permutation(images), min(FOLDS, images))
        grams = [self._looks[rows].T @ self._looks[rows] for rows in self._folds]
        whole = np.sum(grams, axis=0)
        self._fits = [
            (width, [cho_factor((whole - gram)[:width, :width] + penalty * images * np.eye(width)) for gram in grams])
            for width in (descriptors_nv.shape[1], self._looks.shape[1])
            for penalty in PENALTIES
        ]

    def predict(self, acts_nf: np.ndarray) -> np.ndarray:
        """Predict activations from looks by ridge regression, float64 [n,f].

        An image's activation is predicted from the two thirds of the images that are in other folds. Each feature gets
        the linear or non-linear regression and the penalty that predict it best.
        """
        mean_f, std_f = acts_nf.mean(0, dtype=np.float64), acts_nf.std(0, dtype=np.float64)
        scaled = ((acts_nf - mean_f) / np.where(std_f > 0, std_f, 1)).astype(np.float32)
        products = [self._looks[rows].T @ scaled[rows] for rows in self._folds]
        whole = np.sum(products, axis=0)
        best, least_f = np.zeros_like(scaled), np.full(scaled.shape[1], np.inf)
        for width, factors in self._fits:
            predicted = np.empty_like(scaled)
            for rows, factor, product in zip(self._folds, factors, products, strict=True):
                predicted[rows] = self._looks[rows, :width] @ cho_solve(factor, (whole - product)[:width])
            error_f = np.square(predicted - scaled).mean(0)
            better = error_f < least_f
            best[:, better], least_f[better] = predicted[:, better], error_f[better]
        predicted_nf: np.ndarray = best * std_f + mean_f
        return predicted_nf

    def compare(
        self,
        acts_nf: np.ndarray,
        rows_fk: np.ndarray,
        statistic: Callable[[np.ndarray], np.ndarray],
        generator: Generator,
        *,
        draws: int = 1000,
    ) -> Comparison:
        """Compare each feature's list with lists that looks alone would give.

        Args:
            acts_nf: Activations of all images, finite.
            rows_fk: The top lists of these activations, without gaps.
            statistic: A function from lists, int64 [d,k], to numbers [d] that grow with what the images have in common.
            generator: The generator of the draws.
            draws: Lists for each feature, unless the first 100 decide.
        """
        features, k = rows_fk.shape
        predicted_nf = self.predict(acts_nf)
        scatter_nf = self.predict(np.abs(acts_nf - predicted_nf))
        observed_f = statistic(rows_fk)
        reached, drawn, total = np.zeros(features), np.zeros(features), np.zeros(features)
        first = min(FIRST_DRAWS, draws)
        for count in (first, draws - first):
            open_f = np.flatnonzero(reached < ENOUGH) if count else ()
            for feature in open_f:
                chance_n = inclusion(acts_nf[:, feature], predicted_nf[:, feature], scatter_nf[:, feature], k)
                values = statistic(draw_by_chance(chance_n, k, count, generator))
                reached[feature] += (values >= observed_f[feature] - 1e-9).sum()
                total[feature] += values.sum()
                drawn[feature] += count
        return Comparison((1 + reached) / (1 + drawn), total / drawn)


def expand(descriptors_nv: np.ndarray, generator: Generator) -> np.ndarray:
    """Expand descriptors so that ridge regression on them is non-linear.

    The result has the descriptors, the products of their first 30 principal components, and 1,000 random waves of two
    widths (Rahimi & Recht 2007); each of these is centred and has a total variance of one.
    """
    width = descriptors_nv.shape[1]
    centred = descriptors_nv - descriptors_nv.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred / len(centred))
    kept = min(COMPONENTS, int((values > 1e-6 * values[-1]).sum()))
    scores = centred @ (vectors[:, -kept:] / np.sqrt(values[-kept:]))
    first, second = np.triu_indices(kept)
    parts = [centred, scores[:, first] * scores[:, second]]
    for scale in WIDTHS:
        directions = scale * generator.standard_normal((width, WAVES), np.float32)
        parts.append(np.cos(descriptors_nv @ directions + generator.uniform(0, 2 * np.pi, WAVES).astype(np.float32)))
    parts = [part - part.mean(0) for part in parts]
    return np.concatenate([part / np.sqrt(part.var(0).sum()) for part in parts], axis=1).astype(np.float32)


def inclusion(acts_n: np.ndarray, predicted_n: np.ndarray, scatter_n: np.ndarray, k: int) -> np.ndarray:
    """The probability of each image to be in the top k when residuals are exchanged, float64 [n], with the sum k.

    Images are sorted by their prediction plus twice their predicted scatter, and residuals are exchanged within strata
    of a hundred: the probability is the share of a stratum's residuals that would lift the image over the k-th
    activation. Residuals are in units of the predicted scatter, which counts as at least a tenth of its mean.

    Args:
        acts_n: Activations of a feature.
        predicted_n: Predictions of the activations.
        scatter_n: Predictions of their scatter.
        k: Length of the lists.
    """
    acts_n, predicted_n = acts_n.astype(np.float64), predicted_n.astype(np.float64)
    scatter_n = np.maximum(scatter_n, LEAST_SCATTER * scatter_n.mean() or 1.0)
    threshold = np.partition(acts_n, -k)[-k]
    residuals_n, needed_n = (acts_n - predicted_n) / scatter_n, (threshold - predicted_n) / scatter_n
    order = np.argsort(-(predicted_n + 2 * scatter_n), kind="stable")
    chance_n = np.empty(len(acts_n))
    for stratum in np.array_split(order, max(1, len(order) // STRATUM)):
        short = np.searchsorted(np.sort(residuals_n[stratum]), needed_n[stratum])
        chance_n[stratum] = 1 - short / len(stratum)
    certain = chance_n >= 1
    if certain.sum() > k:  # ties at the threshold
        chance_n = certain * (k / certain.sum())
        return chance_n
    while abs(chance_n.sum() - k) > 1e-9 * k and not certain.all():  # what would come to more than one is certain
        chance_n[~certain] *= (k - certain.sum()) / chance_n[~certain].sum()
        chance_n = np.minimum(chance_n, 1)
        certain = chance_n >= 1
    return chance_n


def draw_by_chance(chance_n: np.ndarray, k: int, draws: int, generator: Generator) -> np.ndarray:
    """Draw lists of k different images, each image with its probability, int64 [d,k].

    This is systematic sampling in random orders (Madow 1949), with a new order for every twenty lists.

    Args:
        chance_n: Probability of each image, with the sum k.
        k: Length of the lists.
        draws: Number of lists.
        generator: The generator.
    """
    possible = np.flatnonzero(chance_n)
    lists_dk = np.empty((draws, k), np.int64)
    for start in range(0, draws, ORDERS):
        order = generator.permutation(possible)
        ends = np.cumsum(chance_n[order])
        points = generator.random((min(ORDERS, draws - start), 1)) + np.arange(k)
        positions = np.searchsorted(ends * (k / ends[-1]), points, side="right")
        lists_dk[start : start + ORDERS] = order[positions.clip(max=len(order) - 1)]
    return lists_dk
