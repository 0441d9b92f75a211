"""Penalties that keep images smooth or plain. Each gives one number an image, of that image alone."""

from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

GREY = 0.5


@runtime_checkable
class Regularizer(Protocol):
    """A penalty on images or on their views."""

    def __call__(self, images_nchw: Tensor, views_nechw: Tensor) -> Tensor:
        """The weighted penalty of each image [n]; which of the two it looks at is its own business."""
        ...

    def describe(self) -> dict[str, Any]:
        """Its name and every setting, in JSON's types."""
        ...


class _Described:
    def describe(self) -> dict[str, Any]:
        """Its name and every setting, in JSON's types."""
        return {"name": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class TotalVariation(_Described):
    """Length of the differences between neighbours, across, down and along both diagonals (Ghiasi et al. 2022).

    The four lengths (square roots of summed squares over a channel) are added, and averaged over channels and views. An
    image scaled up keeps its penalty nearly: it has more differences, each as much smaller.

    Attributes:
        on: "views", as in their code, or "images".
    """

    weight: float
    on: Literal["views", "images"] = "views"

    def __call__(self, images_nchw: Tensor, views_nechw: Tensor) -> Tensor:
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
        return self.weight * (images_nchw - GREY).abs().mean((1, 2, 3))


@dataclass(frozen=True)
class L2(_Described):
    """Root of the mean squared distance of an image's values from mid-grey, after Lucid."""

    weight: float

    def __call__(self, images_nchw: Tensor, views_nechw: Tensor) -> Tensor:
        away = images_nchw - GREY
        return self.weight * torch.linalg.vector_norm(away, dim=(1, 2, 3)) / away[0].numel() ** 0.5


@dataclass(frozen=True)
class Spectral(_Described):
    """Mean power of an image's values, each frequency weighted by (its cycles a pixel / 0.5) ** exponent.

    Without weights this were the mean square of the values. The constant part costs nothing, fine stripes most.
    """

    weight: float
    exponent: float = 2.0

    def __call__(self, images_nchw: Tensor, views_nechw: Tensor) -> Tensor:
        h, w = images_nchw.shape[-2:]
        device = images_nchw.device
        rows, columns = torch.fft.fftfreq(h, device=device), torch.fft.rfftfreq(w, device=device)
        cost = (torch.hypot(rows[:, None], columns) / 0.5) ** self.exponent
        twice = torch.full_like(columns, 2.0)  # the half of the frequencies that is not computed mirrors the other
        twice[0] = 1.0
        if w % 2 == 0:
            twice[-1] = 1.0
        power_nchf = torch.fft.rfft2(images_nchw, norm="ortho").abs().square()
        return self.weight * (power_nchf * (cost * twice)).sum((-2, -1)).mean(1) / (h * w)
