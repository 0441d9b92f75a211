"""Images as pixels or as frequencies."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from conceptprobe.lucent.optvis.param.device import device
from conceptprobe.visualization.parametrizations.parametrizations import LUCID

Parameters = tuple[list[Tensor], Callable[[], Tensor]]


def pixel_image(shape: Sequence[int], sd: float | None = None) -> Parameters:
    """Normal numbers of that standard deviation (0.01), in the shape [b,c,h,w]."""
    pixels = _normal(shape, sd or 0.01)
    return [pixels], lambda: pixels


def rfft2d_freqs(h: int, w: int) -> np.ndarray:
    """Cycles a pixel of each entry of a spectrum of h by w pixels; odd widths have a spare column."""
    rows, columns = np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[: w // 2 + 1 + w % 2]
    return np.sqrt(rows * rows + columns * columns)


def fft_image(shape: Sequence[int], sd: float | None = None, decay_power: float = 1) -> Parameters:
    """Normal numbers (0.01) for frequencies, each multiplied by 1 / frequency ** decay_power, as an image [b,c,h,w]."""
    batch, channels, h, w = shape
    frequencies = rfft2d_freqs(h, w)
    spectrum = _normal((batch, channels, *frequencies.shape, 2), sd or 0.01)
    scale_hw = 1.0 / np.maximum(frequencies, 1.0 / max(w, h)) ** decay_power
    scale = torch.tensor(scale_hw, device=spectrum.device, dtype=torch.float32)[..., None]

    def inner() -> Tensor:
        complex_spectrum = torch.view_as_complex(scale * spectrum)
        return torch.fft.irfftn(complex_spectrum, s=(h, w), norm="ortho") / LUCID

    return [spectrum], inner


def _normal(shape: Sequence[int], sd: float) -> Tensor:
    """From torch's own random numbers on the CPU, as Lucent's are."""
    return (torch.randn(*shape, device="cpu") * sd).to(device()).requires_grad_(True)
