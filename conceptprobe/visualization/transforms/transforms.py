"""Random transforms of the views of an image: shifts, crops, rotations, colours and noise.

Letters: n images, e views, k random numbers of a view, c channels, h w pixels.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor

from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.transforms.affine import Affine, Size, about, pick


@runtime_checkable
class Transform(Protocol):
    """A random change of a view, which takes `numbers` uniform random numbers in [0,1)."""

    numbers: ClassVar[int]

    def describe(self) -> dict[str, Any]:
        """The name and every setting, in JSON's types."""
        ...


@runtime_checkable
class Moving(Transform, Protocol):
    """A transform that is an affine map of the plane."""

    whole: ClassVar[bool]  # whether it moves by whole pixels only

    def affine(self, u_nek: Tensor, frame: Size, progress: float) -> Affine:
        """The map of each view, in pixels of the frame."""
        ...

    def extents(self, progress: float) -> tuple[float, float]:
        """The smallest and the largest share of the frame's sides that a view shows."""
        ...


@runtime_checkable
class Changing(Transform, Protocol):
    """A transform that computes new pixels."""

    spatial: ClassVar[bool]  # whether positions matter to it, so that views get their size only after it

    def apply(
        self, views_nechw: Tensor, u_nek: Tensor, generators: Sequence[torch.Generator], progress: float
    ) -> Tensor:
        """The changed views, with the same n and e."""
        ...


class _Described:
    def describe(self) -> dict[str, Any]:
        """The name and every setting, in JSON's types."""
        return {"name": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


def whole_pixels(pixels: float, of: int | None, frame: Size) -> int:
    """An amount of pixels for images of side `of`, scaled to the shorter side of a frame."""
    return round(pixels if of is None else pixels * min(frame) / of)


def _middle(frame: Size) -> tuple[float, float]:
    return frame[1] / 2, frame[0] / 2


def _whole_shifts(u_ne: Tensor, reach: int) -> Tensor:
    """Whole numbers from -reach to reach, all equally likely."""
    return (u_ne * (2 * reach + 1)).floor().clamp(max=2 * reach) - reach


@dataclass(frozen=True)
class Jitter(_Described):
    """Shift by whole pixels, uniformly up to `pixels` in each direction; the edge is repeated beyond the image.

    Attributes:
        pixels: The largest shift.
        of: The side of images for which `pixels` is meant; at other sizes the shift scales with the image's shorter
            side. None: the same shift at every size.
    """

    pixels: float
    of: int | None = None
    numbers: ClassVar[int] = 2
    whole: ClassVar[bool] = True

    def affine(self, u_nek: Tensor, frame: Size, progress: float) -> Affine:
        """The map of each view, in pixels of the frame."""
        shift = _whole_shifts(u_nek, whole_pixels(self.pixels, self.of, frame))
        return Affine(x0=shift[..., 0], y0=shift[..., 1])

    def extents(self, progress: float) -> tuple[float, float]:
        """The smallest and the largest share of the frame's sides that a view shows."""
        return 1.0, 1.0


@dataclass(frozen=True)
class Scale(_Described):
    """Enlarge about the middle by a factor drawn uniformly from `low` to `high`."""

    low: float
    high: float
    numbers: ClassVar[int] = 1
    whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high:
            raise VisualizeError(f"Scale has factors from {self.low} to {self.high}: they must be 0 < low <= high")

    def affine(self, u_nek: Tensor, frame: Size, progress: float) -> Affine:
        """The map of each view, in pixels of the frame."""
        shrink = 1.0 / (self.low + (self.high - self.low) * u_nek[..., 0])
        return about(_middle(frame), shrink, 0.0, 0.0, shrink)

    def extents(self, progress: float) -> tuple[float, float]:
        """The smallest and the largest share of the frame's sides that a view shows."""
        return 1.0 / self.high, 1.0 / self.low


@dataclass(frozen=True)
class Rotate(_Described):
    """Turn about the middle by an angle drawn uniformly from -degrees to degrees."""

    degrees: float
    numbers: ClassVar[int] = 1
    whole: ClassVar[bool] = False

    def affine(self, u_nek: Tensor, frame: Size, progress: float) -> Affine:
        """The map of each view, in pixels of the frame."""
        angle = (2.0 * u_nek[..., 0] - 1.0) * math.radians(self.degrees)
        cos, sin = angle.cos(), angle.sin()
        return about(_middle(frame), cos, -sin, sin, cos)

    def extents(self, progress: float) -> tuple[float, float]:
        """The smallest and the largest share of the frame's sides that a view shows."""
        return 1.0, 1.0


@dataclass(frozen=True)
class Crop(_Described):
    """Show a box, anywhere within the image, whose side is drawn uniformly from `low` to `high` of the image's side."""

    low: float
    high: float
    numbers: ClassVar[int] = 3
    whole: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.high <= 1:
            raise VisualizeError(f"Crop has shares from {self.low} to {self.high}: they must be 0 < low <= high <= 1")

    def affine(self, u_nek: Tensor, frame: Size, progress: float) -> Affine:
        """The map of each view, in pixels of the frame."""
        share = self.low + (self.high - self.low) * u_nek[..., 0]
        room = 1.0 - share
        return Affine(share, 0.0, 0.0, share, room * u_nek[..., 1] * frame[1], room * u_nek[..., 2] * frame[0])

    def extents(self, progress: float) -> tuple[float, float]:
        """The smallest and the largest share of the frame's sides that a view shows."""
        return self.low, self.high


@dataclass(frozen=True)
class ShrinkingCrop(_Described):
    """Show a box around the middle that shrinks during the optimisation (MACO, Fel et al. 2023).

    All numbers are shares of the image's side. The side of the box is normal, and so is its centre, around the middle
    of the image.

    Attributes:
        start: Mean side at the first step.
        end: Mean side at the last step; between them the mean changes linearly.
        sd: Standard deviation of the side.
        center_sd: Standard deviation of the centre.
        smallest: The smallest side.
    """

    start: float
    end: float
    sd: float
    center_sd: float
    smallest: float
    numbers: ClassVar[int] = 3
    whole: ClassVar[bool] = False

    def affine(self, u_nek: Tensor, frame: Size, progress: float) -> Affine:
        """The map of each view, in pixels of the frame."""
        normal = math.sqrt(2.0) * torch.erfinv((2.0 * u_nek - 1.0).clamp(-0.999999, 0.999999))
        share = (self._mean(progress) + self.sd * normal[..., 0]).clamp(self.smallest, 1.0)
        x, y = (0.5 + self.center_sd * normal[..., axis] - 0.5 * share for axis in (1, 2))
        return Affine(share, 0.0, 0.0, share, x * frame[1], y * frame[0])

    def extents(self, progress: float) -> tuple[float, float]:
        """The smallest and the largest share of the frame's sides that a view shows."""
        mean = self._mean(progress)
        low, high = (min(max(mean + by * self.sd, self.smallest), 1.0) for by in (-2, 2))
        return low, high

    def _mean(self, progress: float) -> float:
        return self.start + (self.end - self.start) * progress


@dataclass(frozen=True)
class Roll(_Described):
    """Shift by whole pixels, uniformly up to `pixels` in each direction, around the edges of the image.

    Attributes:
        pixels: The largest shift.
        of: As for `Jitter`.
    """

    pixels: float
    of: int | None = None
    numbers: ClassVar[int] = 2
    spatial: ClassVar[bool] = True

    def apply(
        self, views_nechw: Tensor, u_nek: Tensor, generators: Sequence[torch.Generator], progress: float
    ) -> Tensor:
        """The changed views."""
        h, w = views_nechw.shape[-2:]
        shift = _whole_shifts(u_nek, whole_pixels(self.pixels, self.of, (h, w))).long()
        rows_neh = (torch.arange(h, device=shift.device) - shift[..., 1:]) % h
        columns_new = (torch.arange(w, device=shift.device) - shift[..., :1]) % w
        return pick(views_nechw, rows_neh, columns_new)


@dataclass(frozen=True)
class Pad(_Described):
    """Put pixels around the image.

    Attributes:
        pixels: Pixels on each side.
        of: As for `Jitter`.
        mode: As in `torch.nn.functional.pad`.
        value: Grey value of the mode "constant".
        shown: Whether views show the padding. Without, only later transforms that move the image bring it in.
    """

    pixels: float
    of: int | None = None
    mode: Literal["constant", "reflect", "replicate", "circular"] = "constant"
    value: float = 0.5
    shown: bool = True
    numbers: ClassVar[int] = 0
    spatial: ClassVar[bool] = True

    def apply(
        self, views_nechw: Tensor, u_nek: Tensor, generators: Sequence[torch.Generator], progress: float
    ) -> Tensor:
        """The changed views."""
        h, w = views_nechw.shape[-2:]
        return self.around(views_nechw, whole_pixels(self.pixels, self.of, (h, w)))

    def around(self, views_nechw: Tensor, by: int) -> Tensor:
        """The views with `by` more pixels on each side."""
        padded = F.pad(views_nechw.flatten(0, 1), [by] * 4, self.mode, self.value if self.mode == "constant" else None)
        result: Tensor = padded.unflatten(0, views_nechw.shape[:2])
        return result


@dataclass(frozen=True)
class ColourShift(_Described):
    """Replace each channel x by (x - mu) / sigma (Ghiasi et al. 2022).

    Attributes:
        mean: mu is drawn uniformly from -mean to mean.
        log_sd: The logarithm of sigma is drawn uniformly from -log_sd to log_sd.
    """

    mean: float = 1.0
    log_sd: float = 1.0
    numbers: ClassVar[int] = 6
    spatial: ClassVar[bool] = False

    def apply(
        self, views_nechw: Tensor, u_nek: Tensor, generators: Sequence[torch.Generator], progress: float
    ) -> Tensor:
        """The changed views."""
        even_ne6 = 2.0 * u_nek - 1.0
        mu, scale = self.mean * even_ne6[..., :3], torch.exp(-self.log_sd * even_ne6[..., 3:])
        return torch.addcmul((-mu * scale)[..., None, None], views_nechw, scale[..., None, None])


@dataclass(frozen=True)
class Noise(_Described):
    """Add normal noise to each value, and uniform noise where that is wanted.

    Attributes:
        sd: Standard deviation at the first step.
        end: Standard deviation at the last step; between them it changes linearly. None keeps it constant.
        even: Width of the uniform noise around 0.
    """

    sd: float
    end: float | None = None
    even: float = 0.0
    numbers: ClassVar[int] = 0
    spatial: ClassVar[bool] = False

    def apply(
        self, views_nechw: Tensor, u_nek: Tensor, generators: Sequence[torch.Generator], progress: float
    ) -> Tensor:
        """The changed views."""
        sd = self.sd if self.end is None else self.sd + (self.end - self.sd) * progress
        like = views_nechw
        noise = torch.empty(*u_nek.shape[:2], *like.shape[2:], device=like.device, dtype=like.dtype)
        for view_echw, generator in zip(noise, generators, strict=True):
            view_echw.normal_(0.0, sd, generator=generator)
        if self.even:
            uniform = torch.empty_like(noise)
            for view_echw, generator in zip(uniform, generators, strict=True):
                view_echw.uniform_(-self.even / 2, self.even / 2, generator=generator)
            noise += uniform
        return views_nechw + noise
