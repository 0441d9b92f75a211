"""What becomes of each feature when images or model are changed: do the same images still drive it?"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from conceptprobe.intervals import LEVEL
from conceptprobe.probes.framework.responses import Response, Subject

FOLDS = 10
LIST_SHARE = 1 / 32
MEASURES = ("overlap", "r")
CONTRAST = ("conceptual", "object")


def list_length(images: int) -> int:
    """How many top images are compared: a thirty-second of all, at least 4."""
    return min(images, max(4, round(images * LIST_SHARE)))


def top_order(values_nf: np.ndarray) -> np.ndarray:
    """Images of each feature from the highest activation to the lowest, int64 [n,f]; of equal ones the earlier first.
    Activations that are not finite come last."""
    return np.argsort(np.where(np.isfinite(values_nf), -values_nf, np.inf), axis=0, kind="stable")


def top_overlap(before_nf: np.ndarray, after_nf: np.ndarray, kept_n: np.ndarray) -> np.ndarray:
    """Share of each feature's top images that stay among its top images, float [f], of the images that are kept.

    Args:
        before_nf, after_nf: `top_order` of the activations.
    """
    k = list_length(int(kept_n.sum()))
    longest = k + int((~kept_n).sum())  # so many images hold k that are kept
    listed_nf = np.zeros(before_nf.shape, np.int8)
    for order_nf in (before_nf[:longest], after_nf[:longest]):
        kept = kept_n[order_nf]
        kept &= kept.cumsum(0) <= k
        np.put_along_axis(listed_nf, order_nf, np.take_along_axis(listed_nf, order_nf, 0) + kept, 0)
    return (listed_nf == 2).sum(0) / k


def correlations(before_nf: np.ndarray, after_nf: np.ndarray, fold_n: np.ndarray, folds: int) -> np.ndarray:
    """Pearson's r of each feature's activations before and after, over all images and over those without each fold:
    float [1+folds,f]. NaN where it does not vary before, 0 where it does not vary after."""
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
    """Float64 minus each feature's mean, so that sums of squares keep their digits; what is not finite counts as it."""
    finite = np.where(np.isfinite(values_nf), values_nf, np.nan).astype(np.float64)
    mean = np.nansum(finite, 0) / np.maximum((~np.isnan(finite)).sum(0), 1)
    return np.nan_to_num(finite - mean)


def _rounding(values_nf: np.ndarray) -> np.ndarray:
    """A variance that float64 makes of values that are all equal."""
    return 1e-20 * (values_nf**2).max(0)


class SurvivalRecord:
    """Collects the survival of all followed features over conditions, against one clean response.

    Everything is measured ten times more with a tenth of the images left out (the delete-a-group jackknife), so that
    means over features have intervals over images as well as over features.
    """

    def __init__(self, subject: Subject, clean: Response, seed: int) -> None:
        self._subject, self._clean = subject, clean
        images = len(clean.gist_nd)
        self._folds = min(FOLDS, images // 4) if images >= 8 else 0  # a single fold would leave no image
        self._fold_n = np.random.default_rng(seed).permutation(images) % max(self._folds, 1)
        self._orders = {name: top_order(values_nf) for name, values_nf in clean.acts.items()}
        self._found: dict[tuple[str, float], list[dict[str, dict[str, np.ndarray]]]] = {}

    def add(self, series: str, x: float, response: Response, *, before: Response | None = None) -> None:
        """Take in one draw of a condition.

        Args:
            before: What it is measured against, image by image; the clean response where it is None.
        """
        self._found.setdefault((series, x), []).append(
            {layer.name: self._measure(layer.name, before, response) for layer in self._subject.layers}
        )

    def add_difference(self, series: str, x: float, first: str, second: str) -> None:
        """Take in first - second, each feature's own, of two series at x that have as many draws."""
        pairs = zip(self._found[first, x], self._found[second, x], strict=True)
        self._found[series, x] = [
            {layer: {name: one[layer][name] - other[layer][name] for name in MEASURES} for layer in one}
            for one, other in pairs
        ]

    def features(self) -> pd.DataFrame:
        """One row a feature and condition: layer, feature, verdict (None without scores), series, x, overlap, r; means
        over draws."""
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
            for (series, x), draws in self._found.items()
            for layer in self._subject.layers
        ]
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def summary(self) -> pd.DataFrame:
        """One row a layer, verdict, condition and measure: value, low, high, features.

        "all" is without regard to the verdict, "conceptual - object" the difference of those two. The intervals are of
        the variance over features plus that over images.
        """
        rows = []
        for (series, x), draws in self._found.items():
            for layer in self._subject.layers:
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
        return np.mean([draw[layer][name] for draw in draws], 0)

    def _verdicts(self, layer: str, width: int) -> np.ndarray:
        known = self._subject.verdicts.get(layer)
        return np.full(width, None, dtype=object) if known is None else np.asarray(known, dtype=object)


class _GroupMean:
    """The mean of some features, its variance over features, and what it is without each fold of the images."""

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
