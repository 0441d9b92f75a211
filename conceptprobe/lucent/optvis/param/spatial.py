"""Images as pixels or as frequencies."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from conceptprobe.lucent.optvis.param.device import device
from conceptprobe.visualization.parametrizations.parametrizations import LUCID

Parameters = tuple[list[Tensor], Callable[[], Tensor]]


def pixel_image(shape: Sequence[int], sd: float | None = None) -> Parameters:
    """Images [b,c,h,w] whose pixels start as normal numbers of a standard deviation, 0.01 by default."""
    pixels = _normal(shape, sd or 0.01)
    return [pixels], lambda: pixels


def rfft2d_freqs(h: int, w: int) -> np.ndarray:
    """Cycles per pixel of each entry of a spectrum of h by w pixels; odd widths have an extra column."""
    rows, columns = np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[: w // 2 + 1 + w % 2]
    frequencies: np.ndarray = np.sqrt(rows * rows + columns * columns)
    return frequencies


def fft_image(shape: Sequence[int], sd: float | None = None, decay_power: float = 1) -> Parameters:
    """Images [b,c,h,w] whose frequencies start as normal numbers times 1 / frequency ** decay_power."""
    batch, channels, h, w = shape
    frequencies = rfft2d_freqs(h, w)
    spectrum = _normal((batch, channels, *frequencies.shape, 2), sd or 0.01)
    scale_hw = 1.0 / np.maximum(frequencies, 1.0 / max(w, h)) ** decay_power
    scale = torch.tensor(scale_hw, device=spectrum.device, dtype=torch.float32)[..., None]

    def inner() -> Tensor:
        complex_spectrum = torch.view_as_complex(scale * spectrum)
        images: Tensor = torch.fft.irfftn(complex_spectrum, s=(h, w), norm="ortho") / LUCID
        return images

    return [spectrum], inner


def _normal(shape: Sequence[int], sd: float) -> Tensor:
    """Normal numbers of torch's global generator on the CPU, as in Lucent."""
    return (torch.randn(*shape, device="cpu") * sd).to(device()).requires_grad_(True)
