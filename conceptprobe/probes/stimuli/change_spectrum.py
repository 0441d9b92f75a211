"""The spectrum of a change of an image: its power by spatial frequency, and on the lines of the patch grid."""

import numpy as np

NEAR = 2


def power_spectrum(change_bchw: np.ndarray) -> np.ndarray:
    """Squared magnitudes of the Fourier transform, the mean over channels: [b,h,w], frequency 0 first."""
    return np.asarray((np.abs(np.fft.fft2(change_bchw)) ** 2).mean(1))


def radial_shares(power_bhw: np.ndarray) -> np.ndarray:
    """Share of the power at each whole radius, in cycles per shorter side: [b,r], r from 0 to half that side.

    The last radius includes the corners of the spectrum. An image without any power has NaN.
    """
    height, width = power_bhw.shape[1:]
    shorter = min(height, width)
    rows, columns = (np.fft.fftfreq(side) * shorter for side in (height, width))
    radius_hw = np.hypot(rows[:, None], columns[None, :]).round().astype(int).clip(max=shorter // 2)
    summed = np.stack([np.bincount(radius_hw.ravel(), power_hw.ravel(), shorter // 2 + 1) for power_hw in power_bhw])
    with np.errstate(invalid="ignore"):
        return np.asarray(summed / summed.sum(1, keepdims=True))


def grid_share(power_bhw: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Share of the power on the lines of a grid: [b], NaN where there is no power.

    A pattern that repeats in every cell has only frequencies that are multiples of the number of cells. The frequencies
    along the rows and along the columns are added up, both without 0.

    Args:
        power_bhw: As `power_spectrum` returns it.
        grid: Rows and columns of cells across the image.
    """
    on, whole = np.zeros(len(power_bhw)), np.zeros(len(power_bhw))
    for axis, cells in enumerate(grid):
        along_bf = power_bhw.sum(2 - axis)
        on, whole = on + along_bf[:, _multiples(along_bf, cells)].sum(1), whole + along_bf[:, 1:].sum(1)
    with np.errstate(invalid="ignore"):
        return on / whole


def grid_contrast(power_bhw: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Power on the lines of a grid, divided by the mean over the line and two frequencies on both sides: [b].

    White noise and every even slope have 1, an exactly repeated pattern has 5. The value is NaN where there is no
    power, no line, or lines are too close (fewer than 5 cells).

    Args:
        power_bhw: As `power_spectrum` returns it.
        grid: Rows and columns of cells across the image.
    """
    on, near = np.zeros(len(power_bhw)), np.zeros(len(power_bhw))
    for axis, cells in enumerate(grid):
        along_bf = power_bhw.sum(2 - axis)
        lines = _multiples(along_bf, cells) if cells > 2 * NEAR else np.zeros(0, int)
        around = (lines[:, None] + np.arange(-NEAR, NEAR + 1)) % along_bf.shape[1]
        on, near = on + along_bf[:, lines].sum(1), near + along_bf[:, around].mean(2).sum(1)
    with np.errstate(invalid="ignore"):
        return on / near


def _multiples(along_bf: np.ndarray, cells: int) -> np.ndarray:
    """The frequencies above 0 at which a pattern that repeats in every cell has power."""
    return np.arange(cells, along_bf.shape[1] - cells + 1, cells)
