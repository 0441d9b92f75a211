"""Maps and kernels that several corruptions share."""

import functools

import numpy as np
from scipy import fft, signal

REFERENCE = 224
"""The side of images, in pixels, that the strengths are for."""

SUBSAMPLES = 9


def scale_of(image_hwc: np.ndarray) -> float:
    """The shorter side in units of 224 pixels, by which lengths are multiplied."""
    return float(min(image_hwc.shape[:2]) / REFERENCE)


def convolve(image_hwc: np.ndarray, kernel_uv: np.ndarray, border: str) -> np.ndarray:
    """Each channel convolved with an odd-sized kernel.

    Args:
        image_hwc: The image.
        kernel_uv: The kernel.
        border: How the image is padded, one of the modes of `np.pad`.
    """
    rows, columns = (side // 2 for side in kernel_uv.shape)
    padded = np.pad(image_hwc, ((rows, rows), (columns, columns), (0, 0)), mode=border)  # type: ignore[call-overload]
    return np.asarray(signal.fftconvolve(padded, kernel_uv[..., None], mode="valid", axes=(0, 1)))


@functools.lru_cache(maxsize=64)
def disk(radius: float) -> np.ndarray:
    """A disk of that radius in pixels, each pixel weighted by how much of it is inside; the sum is 1."""
    half = int(np.ceil(radius))
    at = (np.arange((2 * half + 1) * SUBSAMPLES) + 0.5) / SUBSAMPLES - half - 0.5
    inside = at[:, None] ** 2 + at[None, :] ** 2 <= radius**2
    covered = inside.reshape(2 * half + 1, SUBSAMPLES, 2 * half + 1, SUBSAMPLES).mean((1, 3))
    return np.asarray(covered / covered.sum())


def streak(length: float, sigma: float, degrees: float) -> np.ndarray:
    """The trace of a point that starts in the centre and moves straight while it fades like half a Gaussian.

    Args:
        length: How far it is followed, in pixels.
        sigma: The standard deviation of the Gaussian, in pixels.
        degrees: Its direction: 0 along the rows, 90 down the columns.

    Returns:
        Weights [2r+1,2r+1] with the sum 1.
    """
    half = int(np.ceil(length)) + 1
    along = np.linspace(0, length, 2 * int(np.ceil(length)) + 2)
    weight = np.exp(-(along**2) / (2 * sigma**2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1))
    row, column = (half + along * function(np.radians(degrees)) for function in (np.sin, np.cos))
    top, left = np.floor(row).astype(int), np.floor(column).astype(int)
    for down in (0, 1):  # each point lies between four pixels and is split among them
        for right in (0, 1):
            share = (1 - abs(row - top - down)) * (1 - abs(column - left - right))
            np.add.at(kernel, (top + down, left + right), weight * share)
    return np.asarray(kernel / kernel.sum())


@functools.lru_cache(maxsize=256)
def stretch(size: int, cells: int, factor: float) -> np.ndarray:
    """The matrix [size,cells] that interpolates the middle of `cells` points, `factor` times as wide, linearly."""
    at = (cells - 1) / 2 + (np.arange(size) - (size - 1) / 2) / factor
    at = at.clip(0, cells - 1)
    return np.asarray(np.maximum(0, 1 - abs(at[:, None] - np.arange(cells)[None, :])))


def zoom(image_hwc: np.ndarray, factor: float) -> np.ndarray:
    """The middle of an image, magnified to the image's size."""
    height, width = image_hwc.shape[:2]
    tall = np.tensordot(stretch(height, height, factor), image_hwc, 1)
    return np.asarray(np.einsum("vw,hwc->hvc", stretch(width, width, factor), tall, optimize=True))


def smooth(field_hw: np.ndarray, sigma: float) -> np.ndarray:
    """A map under a Gaussian filter, mirrored at the border.

    The filter is a product with the cosine transform, so that sigma may be larger than the map.
    """
    spectrum = fft.dctn(field_hw, norm="ortho")
    gain = [np.exp(-((np.pi * np.arange(side) / side * sigma) ** 2) / 2) for side in field_hw.shape]
    return np.asarray(fft.idctn(spectrum * gain[0][:, None] * gain[1][None, :], norm="ortho"))


def plasma(side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """A cloudy periodic map in [0,1], by midpoint displacement (Fournier, Fussell & Carpenter 1982).

    Args:
        side: The side of the map, a power of two.
        decay: By what factor the noise shrinks at half the distance; near 1 the map is rough.
        rng: Draws the noise.
    """
    heights = np.zeros((1, 1))
    amplitude = 1.0
    while len(heights) < side:
        n = len(heights)
        finer = np.zeros((2 * n, 2 * n))
        finer[::2, ::2] = heights
        below = heights + np.roll(heights, -1, 0)
        finer[1::2, 1::2] = (below + np.roll(below, -1, 1)) / 4 + rng.uniform(-amplitude, amplitude, (n, n))
        middle = finer[1::2, 1::2]
        sideways = heights + np.roll(heights, -1, 1) + middle + np.roll(middle, 1, 0)
        finer[::2, 1::2] = sideways / 4 + rng.uniform(-amplitude, amplitude, (n, n))
        upright = heights + np.roll(heights, -1, 0) + middle + np.roll(middle, 1, 1)
        finer[1::2, ::2] = upright / 4 + rng.uniform(-amplitude, amplitude, (n, n))
        heights, amplitude = finer, amplitude / decay
    heights -= heights.min()
    return np.asarray(heights / heights.max())
