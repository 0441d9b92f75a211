"""Spectra of images: frequencies, the real Fourier transform, and the magnitudes of photographs.

Spectra are those of `torch.fft.rfft2` with norm "ortho", [..., h, w // 2 + 1]. In this norm the magnitude at a
frequency, in cycles per pixel, does not depend on the size of the image. Channels are decorrelated
(`colour.decorrelate`).
"""

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import Tensor

from conceptprobe.visualization.parametrizations.colour import decorrelate

GREY = 0.5
DATA = files("conceptprobe.visualization") / "data"


def radii(size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """Cycles per pixel of each entry of a spectrum, [h, w // 2 + 1], float32, at most sqrt(1/2)."""
    h, w = size
    rows = torch.fft.fftfreq(h, device=device, dtype=torch.float32)[:, None]
    radii_hw: Tensor = (rows**2 + torch.fft.rfftfreq(w, device=device, dtype=torch.float32) ** 2).sqrt()
    return radii_hw


def to_spectrum(values_nchw: Tensor) -> Tensor:
    """The spectrum of each channel, [n, c, h, w // 2 + 1], complex."""
    spectrum: Tensor = torch.fft.rfft2(values_nchw, norm="ortho")
    return spectrum


def from_spectrum(spectrum: Tensor, size: tuple[int, int]) -> Tensor:
    """The real values of a spectrum, [n, c, h, w].

    The first column, and the last where the width is even, hold every frequency twice. Of these entries only the one in
    the non-negative row is used, and only the real part of a frequency that is its own mirror image. Every entry that
    is used then keeps its magnitude, and devices agree, although their transforms differ on spectra of no real image.
    """
    h, w = size
    rows = torch.arange(h, device=spectrum.device)
    mirror = (-rows) % h
    columns = torch.arange(w // 2 + 1, device=spectrum.device)
    twice = (columns == 0) | (2 * columns == w)
    mirrored = spectrum.index_select(-2, mirror).conj()
    spectrum = torch.where(twice & (rows > mirror)[:, None], mirrored, spectrum)
    real = twice & (rows == mirror)[:, None]
    values: Tensor = torch.fft.irfft2(torch.complex(spectrum.real, spectrum.imag * ~real), s=size, norm="ortho")
    return values


def counts(size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """Number of frequencies for which an entry stands, [h, w // 2 + 1], float32: 2 with its mirror image, 1, or 0."""
    h, w = size
    rows = torch.arange(h, device=device)
    mirror = (-rows) % h
    columns = torch.arange(w // 2 + 1, device=device)
    twice = (columns == 0) | (2 * columns == w)
    result = torch.full((h, w // 2 + 1), 2.0, device=device, dtype=torch.float32)
    result[twice & (rows > mirror)[:, None]] = 0
    result[twice & (rows == mirror)[:, None]] = 1
    return result


def mean_magnitudes(images_nchw: Tensor) -> Tensor:
    """The mean magnitude of each frequency over images, for `Phase(spectrum=...)`.

    Args:
        images_nchw: [n, 3, h, w] in [0, 1].

    Returns:
        [3, h, w // 2 + 1], of decorrelated channels about mid-grey. The constant term [:, 0, 0] keeps its sign.
    """
    spectrum = to_spectrum(decorrelate(images_nchw.float() - GREY))
    magnitudes = spectrum.abs().mean(0)
    magnitudes[:, 0, 0] = spectrum[:, :, 0, 0].real.mean(0)
    return magnitudes


def natural_magnitudes(size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
    """The mean magnitudes of photographs at any size, in the layout of `mean_magnitudes`.

    They are read, at each frequency in cycles per pixel, from a table that `recipes/spectrum.py` makes of the images
    in `natural_provenance`. Between its entries, and below its lowest frequency, the magnitude times the frequency is
    interpolated, since this product hardly changes by the 1/f law of natural images (Field 1987).
    """
    with torch.inference_mode(False), torch.no_grad():
        return _natural_magnitudes(tuple(size), str(device))


def natural_provenance() -> dict[str, Any]:
    """The images from which the magnitudes of photographs were computed, and how."""
    return dict(json.loads((DATA / "spectrum.json").read_text(encoding="utf-8")))


@lru_cache(maxsize=8)
def _natural_magnitudes(size: tuple[int, int], device: str) -> Tensor:
    table = load((DATA / "spectrum.safetensors").read_bytes())
    return resample(table["magnitudes"].float(), table["mean"].float(), size).to(device)


def resample(quadrant_ckk: Tensor, mean_c: Tensor, size: tuple[int, int]) -> Tensor:
    """Magnitudes at another size.

    Args:
        quadrant_ckk: [3, k + 1, k + 1], magnitudes of a 2k x 2k image at rows and columns of 0 to k cycles; entry
            [:, 0, 0] is not used.
        mean_c: [3], the mean of each channel.
        size: Height and width.

    Returns:
        [3, h, w // 2 + 1]; the constant term is that of an image with the given mean.
    """
    h, w = size
    k = quadrant_ckk.shape[-1] - 1
    at = torch.arange(k + 1, device="cpu", dtype=torch.float32)
    flat = quadrant_ckk * (at[:, None] ** 2 + at**2).sqrt()
    flat[:, 0, 0] = (flat[:, 0, 1] + flat[:, 1, 0] + flat[:, 1, 1]) / 3
    rows = torch.fft.fftfreq(h, device="cpu", dtype=torch.float32).abs()[:, None].expand(h, w // 2 + 1)
    columns = torch.fft.rfftfreq(w, device="cpu", dtype=torch.float32).expand(h, w // 2 + 1)
    grid = torch.stack([columns, rows], -1)[None] * 4 - 1  # 0 to 1/2 cycle a pixel, from the first to the last entry
    read = F.grid_sample(flat[None], grid, mode="bilinear", padding_mode="border", align_corners=True)[0]
    magnitudes = read / (radii(size) * 2 * k).clamp_min(1e-12)
    magnitudes[:, 0, 0] = mean_c * (h * w) ** 0.5
    return magnitudes
