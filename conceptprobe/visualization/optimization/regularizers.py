"""Penalties that keep images smooth or plain: one number for each image, computed from this image alone."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

GREY = 0.5


@runtime_checkable
class Regularizer(Protocol):
    """A penalty on images or on their views."""

    def __call__(self, images_nchw: Tensor, views_nechw: Tensor) -> Tensor:
        """The weighted penalty of each image [n], computed from the images or from their views."""
        ...

    def describe(self) -> dict[str, Any]:
        """The name and every setting, in JSON's types."""
        ...


class _Described:
    def describe(self) -> dict[str, Any]:
        """The name and every setting, in JSON's types."""
        return {"name": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class TotalVariation(_Described):
    """Norm of the differences between neighbours, across, down and along both diagonals (Ghiasi et al. 2022).

    The four norms over a channel are added, and averaged over channels and views. An enlarged image has nearly the same
    penalty: it has more differences, but smaller ones.

    Attributes:
        weight: Weight of the penalty.
        on: "views", as in the code of the paper, or "images".
    """

    weight: float
    on: Literal["views", "images"] = "views"

    def __call__(self, images_nchw: Tensor, views_nechw: Tensor) -> Tensor:
        """The weighted penalty of each image [n]."""
        pixels_nechw = views_nechw if self.on == "views" else images_nchw[:, None]
        up, down = pixels_nechw[..., :-1, :], pixels_nechw[..., 1:, :]
        differences = (
            pixels_nechw[..., 1:] - pixels_nechw[..., :-1],
            down - up,
            down[..., 1:] - up[..., :-1],
            down[..., :-1] - up[..., 1:],
        )
        lengths_nec = torch.stack([torch.linalg.vector_norm(d, dim=(-2, -1)) for d in differences]).sum(0)
        return self.weight * lengths_nec.mean((1, 2))


@dataclass(frozen=True)
class L1(_Described):
    """Mean distance of an image's values from mid-grey, after Lucid."""

    weight: float

    def __call__(self, images_nchw: Tensor, views_nechw: Tensor) -> Tensor:
        """The weighted penalty of each image [n]."""
        return self.weight * (images_nchw - GREY).abs().mean((1, 2, 3))


@dataclass(frozen=True)
class L2(_Described):
    """Root of the mean squared distance of an image's values from mid-grey, after Lucid."""

    weight: float

    def __call__(self, images_nchw: Tensor, views_nechw: Tensor) -> Tensor:
        """The weighted penalty of each image [n]."""
        away = images_nchw - GREY
        penalty_n: Tensor = self.weight * torch.linalg.vector_norm(away, dim=(1, 2, 3)) / away[0].numel() ** 0.5
        return penalty_n


@dataclass(frozen=True)
class Spectral(_Described):
    """Mean power of an image's values, each frequency weighted by (cycles per pixel / 0.5) ** exponent.

    The constant part has no penalty, and fine stripes have the largest. Without weights, the penalty would be the mean
    square of the values.
    """

    weight: float
    exponent: float = 2.0

    def __call__(self, images_nchw: Tensor, views_nechw: Tensor) -> Tensor:
        """The weighted penalty of each image [n]."""
        h, w = images_nchw.shape[-2:]
        device = images_nchw.device
        rows, columns = torch.fft.fftfreq(h, device=device), torch.fft.rfftfreq(w, device=device)
        cost = (torch.hypot(rows[:, None], columns) / 0.5) ** self.exponent
        twice = torch.full_like(columns, 2.0)  # rfft2 computes one of two mirrored frequencies
        twice[0] = 1.0
        if w % 2 == 0:
            twice[-1] = 1.0
        power_nchf = torch.fft.rfft2(images_nchw, norm="ortho").abs().square()
        penalty_n: Tensor = self.weight * (power_nchf * (cost * twice)).sum((-2, -1)).mean(1) / (h * w)
        return penalty_n
