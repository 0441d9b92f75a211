"""The activations of finished images, compared with those of the natural images of an index."""

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.index import Index
from conceptprobe.indexing.model import model_of
from conceptprobe.indexing.reducers.pooling import pool
from conceptprobe.indexing.reducers.sample import QUANTILES
from conceptprobe.indexing.storage.factory import EXACT
from conceptprobe.models import VisionModel
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.objectives.binding import bind
from conceptprobe.visualization.objectives.expressions import Objective
from conceptprobe.visualization.results.record import Natural

BATCH = 32
PAIRS = 1 << 10  # features that are compared with a block of activations together


def clean_pixels(images_nhwc: np.ndarray, size: tuple[int, int]) -> Tensor:
    """Finished images resized for the model (bicubic, antialiased), not cropped.

    Args:
        images_nhwc: uint8 [n,h,w,3].
        size: Rows and columns of the pixels.

    Returns:
        float32 [n,3,H,W] in [0,1], on the CPU.
    """
    levels_nchw = torch.from_numpy(np.ascontiguousarray(images_nhwc)).permute(0, 3, 1, 2)
    pixels_nchw = levels_nchw.float().div(255)
    if tuple(pixels_nchw.shape[2:]) == tuple(size):
        return pixels_nchw
    return F.interpolate(pixels_nchw, size=tuple(size), mode="bicubic", antialias=True).clamp(0, 1)


@torch.no_grad()
def measure(model: VisionModel, images_nhwc: np.ndarray, objectives: Sequence[Objective]) -> np.ndarray:
    """The value of each objective for its finished images, without views.

    Args:
        model: The model.
        images_nhwc: uint8 [n*g,h,w,3], the g images of an objective one after the other.
        objectives: n objectives with g images each.

    Returns:
        float64 [n*g].
    """
    members = objectives[0].images
    assert len(images_nhwc) == len(objectives) * members, (len(images_nhwc), len(objectives), members)
    values, step = [], max(1, BATCH // members)
    for start in range(0, len(objectives), step):
        evaluator = bind(model, objectives[start : start + step], 1)
        pixels = clean_pixels(images_nhwc[start * members : (start + step) * members], model.image_size)
        value_nge = evaluator(model.capture(pixels, evaluator.layers))
        values.append(value_nge.reshape(-1).double().cpu().numpy())
    return np.concatenate(values)


@torch.no_grad()
def pooled_values(model: VisionModel, images_nhwc: np.ndarray, layer: str, pooling: str) -> np.ndarray:
    """The activations of all features of a layer for finished images, pooled as in an index, float32 [n,f]."""
    (described,) = model.resolve(layer)
    values = []
    for start in range(0, len(images_nhwc), BATCH):
        pixels = clean_pixels(images_nhwc[start : start + BATCH], model.image_size)
        values.append(pool(model.capture(pixels, layer)[layer], described, pooling).values_bf.cpu().numpy())
    return np.concatenate(values)


def check_index(index: Index, model: VisionModel, layer: str, pooling: str | None) -> None:
    """Refuse an index that has no natural activations of a layer with a pooling.

    Raises:
        VisualizeError: The index is of another model, or lacks the layer or the pooling.
    """
    try:
        model_of(index, model)
    except IndexingError as error:
        raise VisualizeError(f"{error}, or leave the index out") from error
    if layer not in index.layers:
        raise VisualizeError(
            f"{index.path} has no layer {layer}, so it has no natural activations of it; its layers are "
            f"{', '.join(index.layers)}. Leave the index out, or build one of that layer"
        )
    if pooling not in index.manifest.pooling:
        raise VisualizeError(
            f"{index.path} has no pooling {pooling} of {layer}; it has {', '.join(index.manifest.pooling)}. Leave the "
            "index out, or build one with that pooling"
        )


def compare(
    model: VisionModel, images_nhwc: np.ndarray, layer: str, pooling: str, features_n: Sequence[int], index: Index
) -> tuple[np.ndarray, tuple[Natural, ...]]:
    """Compare the activations of features in finished images with those in the natural images of an index.

    Args:
        model: The model.
        images_nhwc: uint8 [n,h,w,3].
        layer: The layer of all features.
        pooling: The pooling of all features.
        features_n: The feature of each image.
        index: An index with the layer and the pooling.

    Returns:
        Activations float64 [n], and a `Natural` for each image.

    Raises:
        VisualizeError: See `check_index`.
    """
    check_index(index, model, layer, pooling)
    values_nf = pooled_values(model, images_nhwc, layer, pooling)
    features = np.asarray(features_n, np.int64)
    stats = index.stats(layer, pooling)
    values_n = values_nf[np.arange(len(features)), features]
    below_n, how_n = shares_below(index, layer, pooling, features, values_n)
    ranks = rank_features(stats, values_nf, features)
    columns = stats.iloc[features]
    compared = tuple(
        Natural(
            index=index.path.name,
            images=int(columns["count"].iloc[i]),
            maximum=float(columns["max"].iloc[i]),
            quantile=float(below_n[i]),
            how=str(how_n[i]),
            z=float(ranks.z_n[i]),
            rank=int(ranks.rank_n[i]) or None,
            of=int(ranks.of_n[i]),
        )
        for i in range(len(features))
    )
    return values_n.astype(np.float64), compared


@dataclass(frozen=True)
class Ranks:
    """The ranks of n features, each among the live features of its layer.

    Attributes:
        z_n: z-scores, float64.
        rank_n: Ranks, int64, 1 for the first; 0 where z is NaN.
        of_n: Numbers of ranked features, int64.
    """

    z_n: np.ndarray
    rank_n: np.ndarray
    of_n: np.ndarray


def rank_features(stats: pd.DataFrame, values_nf: np.ndarray, features_n: np.ndarray) -> Ranks:
    """Rank each image's feature among the live features of its layer by z-score.

    The z-score is the activation minus the natural mean, in natural standard deviations. A dead feature is ranked among
    the live ones.

    Args:
        stats: `Index.stats` of the layer and pooling.
        values_nf: Activations of all features for n images.
        features_n: The feature of each image.
    """
    mean_f, std_f = (stats[name].to_numpy(np.float64) for name in ("mean", "std"))
    with np.errstate(divide="ignore", invalid="ignore"):
        z_nf = np.where(std_f > 0, (values_nf.astype(np.float64) - mean_f) / std_f, np.nan)
    live_f = ~stats["dead"].to_numpy(bool) & (std_f > 0)
    z_n = z_nf[np.arange(len(features_n)), features_n]
    above_n = (z_nf[:, live_f] > z_n[:, None]).sum(1)
    return Ranks(z_n, np.where(np.isfinite(z_n), above_n + 1, 0), live_f.sum() + ~live_f[features_n])


def shares_below(
    index: Index, layer: str, pooling: str, features_m: np.ndarray, values_m: np.ndarray, *, ties: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """The share of the natural images whose activation of a feature is below a value.

    For values above the last image of the feature's top list, images are counted in that list. For other values they
    are counted in the activations of all images, where the index keeps these for the pooling, or the share is
    interpolated between the quantiles of the index. Images with an activation that is not finite are left out.

    Args:
        index: The index.
        layer: The layer of all features.
        pooling: The pooling of all features.
        features_m: m features.
        values_m: A value of each feature.
        ties: Weight of an image with exactly the value, 0 to 1.

    Returns:
        Shares float64 [m], NaN for a value that is NaN; and the source of each share, as in `Natural.how`.
    """
    stats = index.stats(layer, pooling)
    count_m = stats["count"].to_numpy(np.int64)[features_m]
    nonfinite_m = stats["nonfinite"].to_numpy(np.int64)[features_m]
    list_mk = index.top_rows(layer, pooling)[1][features_m]
    length_m = np.isfinite(list_mk).sum(1)
    last_m = np.where(length_m > 0, np.take_along_axis(list_mk, np.maximum(length_m - 1, 0)[:, None], 1)[:, 0], np.inf)
    in_list = (values_m > last_m) | (length_m >= count_m)
    not_below_m = (list_mk > values_m[:, None]).sum(1) + (1 - ties) * (list_mk == values_m[:, None]).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        share_m = np.where(in_list, 1 - not_below_m / count_m, np.nan)
    how_m = np.where(in_list, "top list", "quantiles").astype(object)

    rest = np.flatnonzero(~in_list)
    kept = index.keeps_activations(pooling) and index.manifest.faiss == EXACT
    if kept and importlib.util.find_spec("faiss"):
        counted = rest[nonfinite_m[rest] == 0]
        if len(counted):
            share_m[counted] = _counted(index, layer, features_m[counted], values_m[counted], ties)
            how_m[counted] = "vectors"
        rest = rest[nonfinite_m[rest] > 0]
    if len(rest):
        levels_fq, values_fq = _known_quantiles(stats)
        for m in rest:
            share_m[m] = _interpolated(
                levels_fq, values_fq[features_m[m]], (1 - length_m[m] / count_m[m], last_m[m]), values_m[m]
            )
    share_m[np.isnan(values_m)] = np.nan
    return share_m, how_m


def _counted(index: Index, layer: str, features_m: np.ndarray, values_m: np.ndarray, ties: float) -> np.ndarray:
    below_m, images = np.zeros(len(features_m)), 0
    for block_bf in index.activation_blocks(layer):
        images += len(block_bf)
        for start in range(0, len(features_m), PAIRS):
            part = slice(start, start + PAIRS)
            block_bm = block_bf[:, features_m[part]]
            below_m[part] += (block_bm < values_m[part]).sum(0) + ties * (block_bm == values_m[part]).sum(0)
    return below_m / images


def _known_quantiles(stats: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Levels [q] and values [f,q] of the quantiles of an index, with minimum and maximum, ascending."""
    names = [f"q{round(level * 100):02d}" for level in QUANTILES]
    return np.array([0.0, *QUANTILES, 1.0]), stats[["min", *names, "max"]].to_numpy(np.float64)


def _interpolated(levels_q: np.ndarray, values_q: np.ndarray, last: tuple[float, float], value: float) -> float:
    """The share below a value, interpolated between quantiles and the last image of a top list.

    Of equal quantiles the lowest level is taken, since no image between them is below the value.
    """
    levels, values = np.append(levels_q, last[0]), np.append(values_q, last[1])
    order = np.lexsort((levels, values))
    values, first = np.unique(values[order], return_index=True)
    known = np.isfinite(values)
    return float(np.interp(value, values[known], np.maximum.accumulate(levels[order][first])[known]))
