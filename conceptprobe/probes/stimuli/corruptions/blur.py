"""Blur: defocus, frosted glass, motion and zoom."""

import numpy as np
from scipy import ndimage

from conceptprobe.probes.stimuli.corruptions.grids import convolve, disk, scale_of, streak, zoom

DEFOCUS_RADIUS = (3, 4, 6, 8, 10)
GLASS_SIGMA = (0.7, 0.9, 1.0, 1.1, 1.5)
GLASS_SPREAD = (1.79, 1.84, 3.17, 3.64, 4.72)
MOTION = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))
ZOOM = ((0.01, 11), (0.01, 16), (0.02, 11), (0.02, 13), (0.03, 11))


def defocus_blur(image_hwc: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Out of focus: every point becomes a disk."""
    return convolve(image_hwc, disk(DEFOCUS_RADIUS[severity - 1] * scale_of(image_hwc)), "reflect")


def glass_blur(image_hwc: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """As through frosted glass: pixels are exchanged with pixels nearby, between two slight blurs.

    The public code exchanges pixels one after the other, which takes seconds an image. Here each takes the value of a
    pixel at a normally distributed distance, whose standard deviation is that of those exchanges (measured by running
    them on the positions of the pixels).
    """
    scale = scale_of(image_hwc)
    sigma = GLASS_SIGMA[severity - 1] * scale
    blurred = ndimage.gaussian_filter(image_hwc, (sigma, sigma, 0), mode="nearest")
    height, width = image_hwc.shape[:2]
    moved = GLASS_SPREAD[severity - 1] * scale * rng.standard_normal((2, height, width))
    row, column = (
        (at + by).round().astype(int).clip(0, side - 1)
        for at, by, side in zip(np.indices((height, width)), moved, (height, width), strict=True)
    )
    return np.asarray(ndimage.gaussian_filter(blurred[row, column], (sigma, sigma, 0), mode="nearest"))


def motion_blur(image_hwc: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """The camera moved: every point becomes a fading streak, at most 45 degrees from the horizontal."""
    return convolve(image_hwc, motion(MOTION[severity - 1], scale_of(image_hwc), rng.uniform(-45, 45)), "edge")


def zoom_blur(image_hwc: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """The camera moved towards the object: the mean of the image and of its magnifications, from 1 in equal steps."""
    step, steps = ZOOM[severity - 1]
    total = image_hwc + sum(zoom(image_hwc, 1 + step * i) for i in range(steps))
    return np.asarray(total / (steps + 1))


def motion(strength: tuple[float, float], scale: float, degrees: float) -> np.ndarray:
    """A streak of twice the radius, as in ImageMagick; the strength is for 224 pixels."""
    radius, sigma = strength
    return streak(2 * radius * scale, sigma * scale, degrees)
