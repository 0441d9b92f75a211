"""The formulas by which visualizations are scored."""

import itertools
import math

import numpy as np
from skimage.metrics import structural_similarity

SSIM_WINDOW = 11


def forced_choice(query_d: np.ndarray, targets_kd: np.ndarray, controls_nd: np.ndarray) -> float:
    """Two-alternative forced choice: how often the query is more similar to a target than to a control.

    The share is over all pairs of a target and a control, and ties count half, so that an uninformative query has 0.5.
    Borowski et al. 2020 put this choice to people.

    Args:
        query_d: An embedding of length one.
        targets_kd: Embeddings of length one.
        controls_nd: Embeddings of length one.
    """
    to_targets_k, to_controls_n = targets_kd @ query_d, controls_nd @ query_d
    above = (to_targets_k[:, None] > to_controls_n).mean()
    return float(above + (to_targets_k[:, None] == to_controls_n).mean() / 2)


def exemplar_choice(targets_kd: np.ndarray, controls_nd: np.ndarray) -> float:
    """`forced_choice` with each target in turn as the query for the other targets; NaN for fewer than two targets."""
    others = range(len(targets_kd))
    if len(others) < 2:
        return math.nan
    return float(
        np.mean([forced_choice(targets_kd[i], np.delete(targets_kd, i, 0), controls_nd) for i in others])
    )  # the mean over all ordered pairs, since each target has the same number of others


def difference(one_hwc: np.ndarray, other_hwc: np.ndarray) -> float:
    """1 - SSIM of two uint8 images (Wang et al. 2004, Gaussian window of 11 pixels); 0 for equal images.

    It is NaN for images smaller than the window.
    """
    if min(one_hwc.shape[:2]) < SSIM_WINDOW:
        return math.nan
    similarity = structural_similarity(
        one_hwc, other_hwc, channel_axis=-1, data_range=255, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False,
    )  # fmt: skip
    return 1 - float(similarity)


def diversity(images_nhwc: np.ndarray, z_n: np.ndarray, tolerance: float) -> tuple[float, int]:
    """Mean difference of the images of one target, over pairs with nearly the same activation.

    Other pairs are left out, since the difference is largest for noise.

    Args:
        images_nhwc: uint8.
        z_n: Activation of each image, in natural standard deviations above the natural mean.
        tolerance: Pairs are included if their z differ by at most this share of the larger |z|.

    Returns:
        The mean, NaN without a pair; and the number of pairs.
    """
    pairs = [
        (i, j)
        for i, j in itertools.combinations(range(len(z_n)), 2)
        if abs(z_n[i] - z_n[j]) <= tolerance * max(abs(z_n[i]), abs(z_n[j]))
    ]
    if not pairs:
        return math.nan, 0
    return float(np.mean([difference(images_nhwc[i], images_nhwc[j]) for i, j in pairs])), len(pairs)
