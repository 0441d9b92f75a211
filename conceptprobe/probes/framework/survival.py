"""The survival of features: do the same images still activate a feature when images or model are changed?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from conceptprobe.intervals import LEVEL
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.responses import Response

FOLDS = 10
LIST_SHARE = 1 / 32
MEASURES = ("overlap", "r")
CONTRAST = ("conceptual", "object")


def list_length(images: int) -> int:
    """How many top images are compared: a thirty-second of all images, and at least 4."""
    return min(images, max(4, round(images * LIST_SHARE)))


def top_order(values_nf: np.ndarray) -> np.ndarray:
    """Images of each feature from the highest activation to the lowest, int64 [n,f].

    The earlier of equal ones comes first; activations that are not finite come last.
    """
    return np.argsort(np.where(np.isfinite(values_nf), -values_nf, np.inf), axis=0, kind="stable")


def top_overlap(before_nf: np.ndarray, after_nf: np.ndarray, kept_n: np.ndarray) -> np.ndarray:
    """Share of each feature's top images that stay among its top images, float [f].

    Args:
        before_nf: `top_order` of the activations before the change.
        after_nf: `top_order` of the activations after it.
        kept_n: The images that count, bool [n].
    """
    k = list_length(int(kept_n.sum()))
    longest = k + int((~kept_n).sum())  # the first k images that count are among these
    listed_nf = np.zeros(before_nf.shape, np.int8)
    for order_nf in (before_nf[:longest], after_nf[:longest]):
        kept = kept_n[order_nf]
        kept &= kept.cumsum(0) <= k
        np.put_along_axis(listed_nf, order_nf, np.take_along_axis(listed_nf, order_nf, 0) + kept, 0)
    return np.asarray((listed_nf == 2).sum(0) / k)


def correlations(before_nf: np.ndarray, after_nf: np.ndarray, fold_n: np.ndarray, folds: int) -> np.ndarray:
    """Pearson's r of each feature's activations before and after a change, float [1+folds,f].

    The first row is over all images, the others leave out one fold each. A feature that does not vary before has NaN,
    and one that does not vary after has 0.
    """
    x_nf, y_nf = _near_zero(before_nf), _near_zero(after_nf)
    member_gn = np.vstack([np.ones(len(fold_n)), *(fold_n != fold for fold in range(folds))]).astype(float)
    n_g1 = member_gn.sum(1, keepdims=True)
    mean_x, mean_y = member_gn @ x_nf / n_g1, member_gn @ y_nf / n_g1
    var_x = member_gn @ x_nf**2 / n_g1 - mean_x**2
    var_y = member_gn @ y_nf**2 / n_g1 - mean_y**2
    product = member_gn @ (x_nf * y_nf) / n_g1 - mean_x * mean_y
    flat_x, flat_y = var_x <= _rounding(x_nf), var_y <= _rounding(y_nf)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = np.where(flat_y, 0.0, product / np.sqrt(var_x * var_y))
    return np.where(flat_x, np.nan, r.clip(-1, 1))


def _near_zero(values_nf: np.ndarray) -> np.ndarray:
    """Activations minus each feature's mean in float64, for exact sums of squares; 0 for what is not finite."""
    finite = np.where(np.isfinite(values_nf), values_nf, np.nan).astype(np.float64)
    mean = np.nansum(finite, 0) / np.maximum((~np.isnan(finite)).sum(0), 1)
    return np.asarray(np.nan_to_num(finite - mean))


def _rounding(values_nf: np.ndarray) -> np.ndarray:
    """The variance that rounding in float64 can give to equal values."""
    return np.asarray(1e-20 * (values_nf**2).max(0))


class SurvivalRecord:
    """Collects the survival of all followed features over conditions, against one clean response.

    Everything is measured ten times more with a tenth of the images left out (the delete-a-group jackknife), so that
    means over features have intervals over images as well as over features.

    Args:
        probed: The model, with the layers and verdicts.
        clean: Its response to the unchanged images.
        seed: Seed of the folds.
    """

    def __init__(self, probed: ProbedModel, clean: Response, seed: int) -> None:
        self._probed, self._clean = probed, clean
        images = len(clean.embedding_nd)
        self._folds = min(FOLDS, images // 4) if images >= 8 else 0  # a single fold would leave no image
        self._fold_n = np.random.default_rng(seed).permutation(images) % max(self._folds, 1)
        self._orders = {name: top_order(values_nf) for name, values_nf in clean.acts.items()}
        self._draws: dict[tuple[str, float], list[dict[str, dict[str, np.ndarray]]]] = {}

    def add(self, series: str, x: float, response: Response, *, before: Response | None = None) -> None:
        """Add one draw of a condition.

        Args:
            series: The series of the condition.
            x: Its point on the curve.
            response: The response under the condition.
            before: The response to compare with, image by image; by default the clean one.
        """
        self._draws.setdefault((series, x), []).append(
            {layer.name: self._measure(layer.name, before, response) for layer in self._probed.layers}
        )

    def add_difference(self, series: str, x: float, first: str, second: str) -> None:
        """Add the difference first - second of each feature, for two series at x with equally many draws."""
        pairs = zip(self._draws[first, x], self._draws[second, x], strict=True)
        self._draws[series, x] = [
            {layer: {name: one[layer][name] - other[layer][name] for name in MEASURES} for layer in one}
            for one, other in pairs
        ]

    def features(self) -> pd.DataFrame:
        """One row a feature and condition: layer, feature, verdict, series, x, overlap, r.

        Values are means over draws; the verdict is None without scores.
        """
        frames = [
            pd.DataFrame(
                {
                    "layer": layer.name,
                    "feature": np.arange(layer.width),
                    "verdict": self._verdicts(layer.name, layer.width),
                    "series": series,
                    "x": x,
                    **{name: self._mean(draws, layer.name, name)[0] for name in MEASURES},
                }
            )
            for (series, x), draws in self._draws.items()
            for layer in self._probed.layers
        ]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def summary(self) -> pd.DataFrame:
        """One row a layer, verdict, condition and measure: value, low, high, features.

        The verdict "all" takes every feature, and "conceptual - object" is the difference of those two. The intervals
        are from the variance over features plus the variance over images.
        """
        rows = []
        for (series, x), draws in self._draws.items():
            for layer in self._probed.layers:
                verdicts = self._verdicts(layer.name, layer.width)
                groups = {"all": np.ones(layer.width, bool)}
                groups |= {name: verdicts == name for name in sorted({*verdicts.tolist()} - {None})}
                for measure in MEASURES:
                    value_gf = self._mean(draws, layer.name, measure)
                    means = {name: _GroupMean.of(value_gf[:, members]) for name, members in groups.items()}
                    if all(name in means for name in CONTRAST):
                        means[" - ".join(CONTRAST)] = means[CONTRAST[0]].minus(means[CONTRAST[1]])
                    about = {"layer": layer.name, "series": series, "x": x, "measure": measure}
                    rows += [{"verdict": name, **about, **mean.interval()} for name, mean in means.items()]
        return pd.DataFrame(rows)

    def _measure(self, layer: str, before: Response | None, response: Response) -> dict[str, np.ndarray]:
        """Each measure over all images and without each fold, float [1+folds,f]."""
        before_nf = (before or self._clean).acts[layer]
        before_order_nf = self._orders[layer] if before is None else top_order(before_nf)
        order_nf = top_order(response.acts[layer])
        r_gf = correlations(before_nf, response.acts[layer], self._fold_n, self._folds)
        everything = np.ones(len(self._fold_n), bool)
        kept_gn = [everything, *(self._fold_n != fold for fold in range(self._folds))]
        overlap_gf = np.stack([top_overlap(before_order_nf, order_nf, kept_n) for kept_n in kept_gn])
        return {"overlap": np.where(np.isnan(r_gf), np.nan, overlap_gf), "r": r_gf}

    def _mean(self, draws: Sequence[dict[str, dict[str, np.ndarray]]], layer: str, name: str) -> np.ndarray:
        return np.asarray(np.mean([draw[layer][name] for draw in draws], 0))

    def _verdicts(self, layer: str, width: int) -> np.ndarray:
        known = self._probed.verdicts.get(layer)
        return np.full(width, None, dtype=object) if known is None else np.asarray(known, dtype=object)


class _GroupMean:
    """The mean over some features, its variance over features, and the mean without each fold of the images."""

    def __init__(self, mean: float, left_out_g: np.ndarray, over_features: float, features: int) -> None:
        self.mean, self.left_out_g, self.over_features, self.features = mean, left_out_g, over_features, features

    @classmethod
    def of(cls, value_gf: np.ndarray) -> "_GroupMean":
        live_gf = value_gf[:, ~np.isnan(value_gf).any(0)]  # a feature that does not vary has nothing to survive
        features = live_gf.shape[1]
        if not features:
            return cls(np.nan, np.full(len(value_gf) - 1, np.nan), np.nan, 0)
        over_features = float(live_gf[0].var(ddof=1)) / features if features > 1 else np.nan
        return cls(float(live_gf[0].mean()), live_gf[1:].mean(1), over_features, features)

    def minus(self, other: "_GroupMean") -> "_GroupMean":
        return _GroupMean(
            self.mean - other.mean, self.left_out_g - other.left_out_g, self.over_features + other.over_features,
            min(self.features, other.features),
        )  # fmt: skip

    def interval(self) -> dict[str, float]:
        folds = len(self.left_out_g)
        over_images = (folds - 1) * float(self.left_out_g.var()) if folds > 1 else np.nan
        half = float(stats.norm.ppf((1 + LEVEL) / 2) * np.sqrt(over_images + self.over_features))
        return {"value": self.mean, "low": self.mean - half, "high": self.mean + half, "features": self.features}
