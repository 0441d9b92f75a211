"""Noise: Gaussian, shot and impulse.

The public code has weaker noise for smaller images and stronger noise for larger ones: its figures at 64 and 299 px are
about those at 224 px times the square root of the ratio of the sides. This rule is used for all sizes.
"""

import numpy as np

from conceptprobe.probes.stimuli.corruptions.grids import scale_of

GAUSSIAN_STD = (0.08, 0.12, 0.18, 0.26, 0.38)
SHOT_COUNT = (60, 25, 12, 5, 3)
IMPULSE_SHARE = (0.03, 0.06, 0.09, 0.17, 0.27)


def gaussian_noise(image_hwc: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Independent normal noise on every value, as from a sensor in low light."""
    std = GAUSSIAN_STD[severity - 1] * np.sqrt(scale_of(image_hwc))
    return np.asarray(image_hwc + std * rng.standard_normal(image_hwc.shape))


def shot_noise(image_hwc: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Poisson counts of few photons, with stronger noise where it is bright."""
    count = SHOT_COUNT[severity - 1] / scale_of(image_hwc)
    return np.asarray(rng.poisson(image_hwc * count) / count)


def impulse_noise(image_hwc: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Salt and pepper: some values, channel by channel, become 0 or 1 with equal chances."""
    share = min(1.0, IMPULSE_SHARE[severity - 1] * np.sqrt(scale_of(image_hwc)))
    draw_hwc = rng.random(image_hwc.shape)
    return np.where(draw_hwc < share / 2, 0.0, np.where(draw_hwc < share, 1.0, image_hwc))
