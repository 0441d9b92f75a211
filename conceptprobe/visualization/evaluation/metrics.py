"""The formulas by which visualizations are scored without people."""

import itertools
import math

import numpy as np
from skimage.metrics import structural_similarity

SSIM_WINDOW = 11


def forced_choice(query_d: np.ndarray, targets_kd: np.ndarray, controls_nd: np.ndarray) -> float:
    """How often the query is more like a target than like a control, over all pairs of a target and a control; a tie
    counts half. Two-alternative forced choice, 0.5 for a query that says nothing (Borowski et al. 2020 ask people so).

    Args:
        query_d, targets_kd, controls_nd: Embeddings of length one.
    """
    to_targets_k, to_controls_n = targets_kd @ query_d, controls_nd @ query_d
    above = (to_targets_k[:, None] > to_controls_n).mean()
    return float(above + (to_targets_k[:, None] == to_controls_n).mean() / 2)


def exemplar_choice(targets_kd: np.ndarray, controls_nd: np.ndarray) -> float:
    """`forced_choice` with a natural image as the query: each target in turn is the query for each of the others.
    NaN for fewer than two."""
    others = range(len(targets_kd))
    if len(others) < 2:
        return math.nan
    return float(
        np.mean([forced_choice(targets_kd[i], np.delete(targets_kd, i, 0), controls_nd) for i in others])
    )  # every i has as many others, so this is the mean over all ordered pairs


def difference(one_hwc: np.ndarray, other_hwc: np.ndarray) -> float:
    """1 - SSIM of two uint8 images (Wang et al. 2004, its Gaussian window of 11 pixels), 0 for equal ones; NaN for
    images smaller than the window."""
    if min(one_hwc.shape[:2]) < SSIM_WINDOW:
        return math.nan
    similarity = structural_similarity(
        one_hwc, other_hwc, channel_axis=-1, data_range=255, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    return 1 - float(similarity)


def diversity(images_nhwc: np.ndarray, z_n: np.ndarray, tolerance: float) -> tuple[float, int]:
    """Mean difference of the images of one target, over pairs that activate it alike: noise differs most, so that a
    diversity means something only at matched activation.

    Args:
        images_nhwc: uint8.
        z_n: Activation of each, in natural standard deviations above the natural mean.
        tolerance: A pair counts where z differs by at most this share of the larger |z|.

    Returns:
        The mean, NaN without any pair; and the number of pairs.
    """
    pairs = [
        (i, j)
        for i, j in itertools.combinations(range(len(z_n)), 2)
        if abs(z_n[i] - z_n[j]) <= tolerance * max(abs(z_n[i]), abs(z_n[j]))
    ]
    if not pairs:
        return math.nan, 0
    return float(np.mean([difference(images_nhwc[i], images_nhwc[j]) for i, j in pairs])), len(pairs)
