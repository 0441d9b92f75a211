"""What must hold of the arrays of an index, whatever the model and the images. Each check gives a list of problems."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from conceptprobe.indexing.reducers.sample import DECILES, QUANTILES, SAMPLE_SIZE, STRIP_IMAGES

Arrays = dict[str, np.ndarray]
_NAMED = 3  # features that a problem names
_CLOSE = 1e-6


def problem(what: str, wrong_f: ArrayLike, rule: str) -> Iterator[str]:
    """One problem where a rule is broken for some feature."""
    features = np.flatnonzero(wrong_f)
    if len(features):
        some = ", ".join(map(str, features[:_NAMED])) + (", ..." if len(features) > _NAMED else "")
        yield f"{what}: {rule} (feature {some}; {len(features)} of {np.size(wrong_f)})"


def list_problems(
    what: str, lists: Arrays, *, count_f: np.ndarray, images: int, patches: int | None, lowest: bool = False
) -> Iterator[str]:
    """Top or bottom lists: rows, values and perhaps positions [f,k].

    Args:
        what: The lists, as a problem names them.
        lists: Their arrays.
        count_f: Images with a finite value.
        images: Images of the index.
        patches: How many there are, where that is known.
        lowest: Whether the smallest values come first.
    """
    rows, values = lists["rows"], lists["values"]
    filled = np.arange(rows.shape[1]) < count_f[:, None]
    yield from problem(what, ((rows >= 0) != filled).any(1), "a list has not an entry for each of its images")
    yield from problem(what, (rows >= images).any(1), f"a row is not one of the {images} images")
    yield from problem(what, (np.isfinite(values) != filled).any(1), "a listed value is not finite")
    both, down = filled[:, 1:], -np.diff(-values if lowest else values, axis=1)
    tied = (down == 0) & (np.diff(rows, axis=1) <= 0)
    yield from problem(what, (both & (~(down >= 0) | tied)).any(1), "values are out of order, or ties not by id")
    ordered = np.sort(rows, axis=1)
    yield from problem(
        what, ((np.diff(ordered, axis=1) == 0) & (ordered[:, 1:] >= 0)).any(1), "an image is listed twice"
    )
    yield from _position_problems(what, lists, filled, patches)


def strip_problems(what: str, strips: Arrays, stats: Arrays, *, images: int, patches: int | None) -> Iterator[str]:
    """Quantile strips: rows, values and perhaps positions [f,DECILES,STRIP_IMAGES]."""
    rows, values, count_f = strips["rows"], strips["values"], stats["count"]
    filled = rows >= 0
    yield from problem(what, (filled[:, :, 1:] & ~filled[:, :, :-1]).any((1, 2)), "a tenth has a gap")
    yield from problem(what, (rows >= images).any((1, 2)), f"a row is not one of the {images} images")
    yield from problem(what, (np.isfinite(values) != filled).any((1, 2)), "a value is not finite")
    if images <= SAMPLE_SIZE:
        size = np.diff(np.arange(DECILES + 1) * count_f[:, None] // DECILES, axis=1)
        wrong = filled.sum(2) != np.minimum(size, STRIP_IMAGES)
        yield from problem(what, wrong.any(1), "a tenth has too many or too few images")
    ranked = values[:, :, ::-1].reshape(len(values), -1)  # ascending, but for what is empty
    falls = ranked < np.fmax.accumulate(ranked, axis=1)
    yield from problem(what, falls.any(1), "values are out of order")
    ordered = np.sort(rows.reshape(len(rows), -1), axis=1)
    yield from problem(
        what, ((np.diff(ordered, axis=1) == 0) & (ordered[:, 1:] >= 0)).any(1), "an image is there twice"
    )
    low, high = stats["min"][:, None, None], stats["max"][:, None, None]
    yield from problem(what, (filled & ~((values >= low) & (values <= high))).any((1, 2)), "a value is out of range")
    yield from _position_problems(what, strips, filled, patches)


def stats_problems(what: str, stats: Arrays, top: Arrays, bottom: Arrays | None, *, images: int) -> Iterator[str]:
    """Statistics, against themselves and the lists."""
    count, low, high = stats["count"], stats["min"], stats["max"]
    mean, std, firing = stats["mean"], stats["std"], stats["firing_rate"]
    some = count > 0
    span = np.where(some, high - low, 0)
    slack = _CLOSE * np.where(some, np.maximum(np.abs(high), np.abs(low)), 0)
    yield from problem(what, count + stats["nonfinite"] != images, f"counts do not add up to {images} images")
    for name in ("mean", "std", "min", "max", "firing_rate", "high_rate"):
        sampled = images > SAMPLE_SIZE and name == "high_rate"  # of which no value need be finite
        wrong = np.isnan(stats[name]) != ~some
        yield from problem(what, wrong & ~(sampled & some), f"{name} is no number, or is one of no images")
    yield from problem(
        what, some & ~((mean >= low - slack) & (mean <= high + slack)), "mean is not between min and max"
    )
    yield from problem(what, some & ~((std >= 0) & (std <= span / 2 + slack)), "std is not possible for min and max")
    fired = firing * count
    wrong = ~((firing >= 0) & (firing <= 1) & (np.abs(fired - np.round(fired)) < 0.01))
    yield from problem(what, some & wrong, "firing_rate is no share of the images")
    yield from problem(what, (stats["high_rate"] < 0) | (stats["high_rate"] > 1), "high_rate is no share")
    quantiles = stats["quantiles"]
    known = ~np.isnan(quantiles).any(0)
    if len(quantiles) != len(QUANTILES):
        yield f"{what}: there are {len(quantiles)} quantiles, not {len(QUANTILES)}"
    inside = (quantiles >= low) & (quantiles <= high) & (np.diff(quantiles, axis=0, prepend=-np.inf) >= 0)
    yield from problem(what, known & ~inside.all(0), "quantiles are out of order or out of range")
    values, k = top["values"], top["values"].shape[1]
    yield from problem(what, some & (values[:, 0] != high), "max is not the first of the top list")
    if bottom is not None:
        yield from problem(what, some & (bottom["values"][:, 0] != low), "min is not the first of the bottom list")
    positive = (values > 0).sum(1)
    all_listed = positive < np.minimum(k, count)
    wrong = np.where(all_listed, np.round(fired) != positive, np.round(fired) < positive)
    yield from problem(what, some & wrong, "firing_rate is not that of the top list")
    whole = some & (count <= k)
    listed = np.where(np.isfinite(values), values, 0).astype(np.float64)
    near = np.abs(listed.sum(1) / np.maximum(count, 1) - mean) <= slack
    yield from problem(what, whole & ~near, "mean is not that of the top list")
    last = np.take_along_axis(values, np.clip(count - 1, 0, k - 1)[:, None], 1)[:, 0]
    yield from problem(what, whole & (last != low), "min is not the last of the top list")


def _position_problems(what: str, arrays: Arrays, filled: np.ndarray, patches: int | None) -> Iterator[str]:
    positions = arrays.get("positions")
    if positions is None:
        return
    most = np.iinfo(np.int32).max if patches is None else patches
    right = np.where(filled, (positions >= 0) & (positions < most), positions == -1)
    yield from problem(what, ~right.reshape(len(right), -1).all(1), "a position is no patch")
