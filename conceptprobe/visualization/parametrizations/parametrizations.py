"""Parametrizations: the parameters that are optimised, and the images that they describe.

The parameters of `Fourier` are frequencies, those of `Pixels` pixels, and those of `Phase` only the phases of the
frequencies of a natural image. All of them compute in float32, on the device of their inputs. Row i of a batch depends
on row i or generator i alone.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.parametrizations.colour import correlate, decorrelate
from conceptprobe.visualization.parametrizations.spectrum import (
    GREY,
    from_spectrum,
    natural_magnitudes,
    natural_provenance,
    radii,
    to_spectrum,
)

EDGE = 2**-10  # images start at least a quarter of an 8-bit step from black and white, where a sigmoid has a gradient
LUCID = 4.0  # Lucid divides the values by this number, so that the sigmoid saturates less


@runtime_checkable
class Parametrization(Protocol):
    """A map from parameters to images."""

    def start(self, size: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
        """Random parameters [n, ...], float32 on the generators' device, without gradient.

        Args:
            size: Height and width of the images.
            generators: n generators, one for each image.
        """
        ...

    def start_from(self, images_nchw: Tensor) -> Tensor:
        """The parameters whose images are nearest to the given images in [0, 1]."""
        ...

    def images(self, params: Tensor, size: tuple[int, int]) -> Tensor:
        """The images [n, 3, h, w] that the model sees, float32, differentiable."""
        ...

    def project(self, params: Tensor) -> None:
        """Move parameters back to allowed values, in place; called after each step."""
        ...

    def describe(self) -> dict[str, Any]:
        """The name and every setting, in JSON's types."""
        ...


@dataclass(frozen=True)
class Fourier:
    """Frequencies of decorrelated colours, scaled as in natural images, through a sigmoid.

    The parameters are the real and imaginary parts of the real Fourier transform, [n, 3, h, w // 2 + 1, 2], each
    multiplied by 1 / frequency ** decay. The parametrization is that of Lucid and Lucent, but odd sizes need no extra
    column.

    Attributes:
        sd: Standard deviation of the parameters at the start.
        decay: Exponent of the frequency.
        decorrelate: Whether the channels are those of `colour.correlate` instead of RGB.
    """

    sd: float = 0.01
    decay: float = 1.0
    decorrelate: bool = True

    def __post_init__(self) -> None:
        _require(0 < self.sd < math.inf, "sd", self.sd, "a positive number")
        _require(0 <= self.decay < math.inf, "decay", self.decay, "a number of at least 0")

    def start(self, size: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
        """Normal numbers."""
        return _normal((3, size[0], size[1] // 2 + 1, 2), generators) * self.sd

    def start_from(self, images_nchw: Tensor) -> Tensor:
        """The inverse; colours are kept at least 2 ** -10 from black and white."""
        values = _logit(images_nchw)
        values = decorrelate(values, longest=True) if self.decorrelate else values
        scale = self._scale((images_nchw.shape[-2], images_nchw.shape[-1]), values.device)
        return torch.view_as_real(to_spectrum(values)) / scale

    def images(self, params: Tensor, size: tuple[int, int]) -> Tensor:
        """Images in [0, 1]."""
        values = from_spectrum(torch.view_as_complex(params * self._scale(size, params.device)), size)
        return torch.sigmoid(correlate(values, longest=True) if self.decorrelate else values)

    def project(self, params: Tensor) -> None:
        """All parameters are allowed."""

    def describe(self) -> dict[str, Any]:
        """The name and every setting, in JSON's types."""
        return {"name": "fourier", "sd": self.sd, "decay": self.decay, "decorrelate": self.decorrelate}

    def _scale(self, size: tuple[int, int], device: torch.device) -> Tensor:
        return radii(size, device).clamp_min(1 / max(size))[..., None] ** -self.decay / LUCID


@dataclass(frozen=True)
class Pixels:
    """Pixels, or their logits.

    The parameters are [n, 3, h, w]. Ghiasi et al. 2022 (arXiv 2212.06727) start from uniform pixels and clamp.

    Attributes:
        init: "uniform" starts each channel of each pixel between 0 and 1, "grey" from mid-grey and normal noise.
        sd: Standard deviation of the noise.
        squash: How pixels stay in [0, 1]: "clamp" after each step, or "sigmoid".
    """

    init: Literal["uniform", "grey"] = "uniform"
    sd: float = 0.01
    squash: Literal["clamp", "sigmoid"] = "clamp"

    def __post_init__(self) -> None:
        _require(self.init in ("uniform", "grey"), "init", self.init, '"uniform" or "grey"')
        _require(0 <= self.sd < math.inf, "sd", self.sd, "a number of at least 0")
        _require(self.squash in ("clamp", "sigmoid"), "squash", self.squash, '"clamp" or "sigmoid"')

    def start(self, size: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
        """Uniform or grey pixels."""
        shape = (3, *size)
        uniform = self.init == "uniform"
        return self.start_from(_uniform(shape, generators) if uniform else GREY + self.sd * _normal(shape, generators))

    def start_from(self, images_nchw: Tensor) -> Tensor:
        """The inverse; with a sigmoid, colours are kept at least 2 ** -10 from black and white."""
        return _logit(images_nchw) if self.squash == "sigmoid" else images_nchw.detach().float().clamp(0, 1)

    def images(self, params: Tensor, size: tuple[int, int]) -> Tensor:
        """Images in [0, 1], if `project` was called after the last step."""
        return torch.sigmoid(params) if self.squash == "sigmoid" else params

    def project(self, params: Tensor) -> None:
        """Clamp pixels to [0, 1]."""
        if self.squash == "clamp":
            params.clamp_(0, 1)

    def describe(self) -> dict[str, Any]:
        """The name and every setting, in JSON's types."""
        return {"name": "pixels", "init": self.init, "sd": self.sd, "squash": self.squash}


@dataclass(frozen=True)
class Phase:
    """Phases of frequencies, whose magnitudes stay those of natural images.

    The parameters are phases in radians, [n, 3, h, w // 2 + 1]. After MACO (Fel et al. 2023, arXiv 2306.06805; Xplique,
    Horama), with these differences:

    - Phases start uniform. In MACO they are normal and rescaled to a standard deviation of 1 at each step, so that they
      agree in part, and every image has a spot in its corner. As phases grow, the rescaling shrinks the steps; without
      it, a learning rate of 1 needs a falling schedule.
    - Magnitudes are those of pixel values and keep their scale: a standard deviation of about 0.14 at any size. MACO
      rescales each image to a standard deviation of 1 before the sigmoid, which couples all its phases.
    - The constant term, the mean colour, has no phase and is fixed.
    - The squash is `sigmoid(4 * (value - 1/2))`. It hardly changes values near mid-grey and stays in [0, 1], so that
      the saved image is the one that the model saw. The squash of MACO spans a range of normalised pixels.

    Attributes:
        spectrum: Magnitudes [3, h, w // 2 + 1] made by `spectrum.mean_magnitudes`, for images of one size; None takes
            the magnitudes of photographs, at any size.
        squash: "sigmoid", or "none", with which values are pixels and may leave [0, 1]. A linear unit with the
            decorrelated spectrum W then has the known optimum sum |M||W|, which tests an optimiser; such images cannot
            be saved.
        digest: The magnitudes' name or hash.
    """

    spectrum: Tensor | None = field(default=None, compare=False, repr=False)
    squash: Literal["sigmoid", "none"] = "sigmoid"
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        _require(self.squash in ("sigmoid", "none"), "squash", self.squash, '"sigmoid" or "none"')
        if self.spectrum is None:
            object.__setattr__(self, "digest", f"natural {natural_provenance()['sha256']}")
            return
        spectrum = self.spectrum.detach().float().cpu().clone()
        shape = tuple(spectrum.shape)
        _require(len(shape) == 3 and shape[0] == 3, "spectrum", shape, "of shape [3, h, w // 2 + 1]")
        _require(bool(spectrum.isfinite().all()), "spectrum", "not finite", "finite")
        object.__setattr__(self, "spectrum", spectrum)
        object.__setattr__(self, "digest", f"given {hashlib.sha256(spectrum.numpy().tobytes()).hexdigest()}")

    def magnitudes(self, size: tuple[int, int], device: torch.device | str = "cpu") -> Tensor:
        """The magnitudes at a size, [3, h, w // 2 + 1]; the constant term keeps its sign."""
        if self.spectrum is None:
            return natural_magnitudes(size, device)
        if self.spectrum.shape[1:] != (size[0], size[1] // 2 + 1):
            rows, columns = self.spectrum.shape[1:]
            raise VisualizeError(
                f"the spectrum is that of images of {rows} x {2 * columns - 2} or {rows} x {2 * columns - 1} pixels, "
                f"but size is {size[0]} x {size[1]}: change the size, or make a spectrum of images of this size with "
                "mean_magnitudes"
            )
        return self.spectrum.to(device)

    def start(self, size: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
        """Uniform phases."""
        return (_uniform((3, size[0], size[1] // 2 + 1), generators) * 2 - 1) * math.pi

    def start_from(self, images_nchw: Tensor) -> Tensor:
        """The phases of images, which hold their edges and shapes; colour and contrast are those of the spectrum."""
        values = _logit(images_nchw) / 4 if self.squash == "sigmoid" else images_nchw.detach().float() - GREY
        return to_spectrum(decorrelate(values)).angle()

    def images(self, params: Tensor, size: tuple[int, int]) -> Tensor:
        """Images in [0, 1], or, without squash, with natural contrast about the mean colour."""
        magnitudes = self.magnitudes(size, params.device)
        constant = torch.zeros_like(magnitudes, dtype=torch.bool)
        constant[:, 0, 0] = True
        spectrum = torch.polar(magnitudes.abs().expand_as(params), params)
        values = correlate(from_spectrum(torch.where(constant, magnitudes, spectrum), size))
        return torch.sigmoid(4 * values) if self.squash == "sigmoid" else values + GREY

    def project(self, params: Tensor) -> None:
        """All phases are allowed."""

    def describe(self) -> dict[str, Any]:
        """The name and every setting, in JSON's types; a user's spectrum is described by its hash."""
        return {"name": "phase", "spectrum": self.digest, "squash": self.squash}


def _normal(shape: tuple[int, ...], generators: Sequence[torch.Generator]) -> Tensor:
    return torch.stack([torch.randn(shape, generator=g, device=g.device, dtype=torch.float32) for g in generators])


def _uniform(shape: tuple[int, ...], generators: Sequence[torch.Generator]) -> Tensor:
    return torch.stack([torch.rand(shape, generator=g, device=g.device, dtype=torch.float32) for g in generators])


def _logit(images_nchw: Tensor) -> Tensor:
    return torch.logit(images_nchw.detach().float(), eps=EDGE)


def _require(holds: bool, name: str, value: object, allowed: str) -> None:
    if not holds:
        raise VisualizeError(f"{name} is {value!r}: it must be {allowed}")
