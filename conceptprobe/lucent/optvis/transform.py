"""Transforms: functions of images [B,C,H,W] that are random in each call.

`render_vis` composes consecutive transforms of this module to one resampling. Any other function of images is a
transform too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.transforms.affine import Affine, Size, about, resize
from conceptprobe.visualization.transforms.transforms import Jitter, Pad, Transform
from conceptprobe.visualization.transforms.views import make_views

TransformF = Callable[[Tensor], Tensor]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision's models take it
INCEPTION_MEAN, INCEPTION_SCALE = 117.0, 255.0  # InceptionV1 takes -117 to 138


@dataclass(frozen=True)
class KnownTransform:
    """Transforms of this library, and the call for the same transform in Lucent.

    Attributes:
        parts: The transforms, in order.
        lucent: Name and arguments of a function of `lucent.optvis.transform`.
    """

    parts: tuple[Transform, ...]
    lucent: tuple[str, tuple[Any, ...]]

    def __call__(self, image_t: Tensor) -> Tensor:
        """The transformed images; random numbers are derived from torch's global generator."""
        generators = [generator(image_t.device) for _ in image_t]
        by = sum(2 * int(part.pixels) for part in self.parts if isinstance(part, Pad))
        size = (image_t.shape[2] + by, image_t.shape[3] + by)
        return make_views(self.parts, image_t, generators, 1, size, 0.0)[:, 0]


@dataclass(frozen=True)
class Composed:
    """Transforms, one after the other."""

    transforms: tuple[TransformF, ...]

    def __call__(self, image_t: Tensor) -> Tensor:
        """The transformed images."""
        for transform in self.transforms:
            image_t = transform(image_t)
        return image_t


def generator(device: torch.device) -> torch.Generator:
    """A generator with a seed from torch's global generator."""
    seed = int(torch.randint(2**62, (1,), device="cpu"))
    return torch.Generator(device=device).manual_seed(seed)


def jitter(d: int) -> KnownTransform:
    """Shift by whole pixels, uniformly over d pixels along each axis, about the middle."""
    if d <= 1:
        raise VisualizeError(f"jitter is {d} pixels: it must be at least 2")
    return KnownTransform((Jitter(d // 2),), ("jitter", (d,)))


def pad(w: int, mode: str = "reflect", constant_value: float = 0.5) -> KnownTransform:
    """Add w pixels on each side, "constant" or by another mode of `torch.nn.functional.pad`."""
    allowed = ("constant", "reflect", "replicate", "circular")
    if mode not in allowed:
        raise VisualizeError(f"pad mode {mode!r} is unknown: choose one of {', '.join(allowed)}")
    return KnownTransform((Pad(w, mode=mode, value=constant_value),), ("pad", (w, mode, constant_value)))  # type: ignore[arg-type]


def random_scale(scales: Sequence[float]) -> KnownTransform:
    """Enlarge about the middle by one of several factors, without a change of size."""
    return KnownTransform((OneScale(tuple(map(float, scales))),), ("random_scale", (scales,)))


def random_rotate(angles: Sequence[float], units: str = "degrees") -> KnownTransform:
    """Turn about the middle, anticlockwise, by one of several angles in "degrees" or "radians"."""
    numbers = np.asarray(angles, dtype=np.float64)
    radians = np.deg2rad(numbers) if units.lower() == "degrees" else numbers
    return KnownTransform((OneRotation(tuple(radians.tolist())),), ("random_rotate", (angles, units)))


def compose(transforms: Sequence[TransformF]) -> Composed:
    """Compose several functions."""
    return Composed(tuple(transforms))


def normalize() -> TransformF:
    """ImageNet's normalisation; `render_vis` applies the model's normalisation if `preprocess` is true."""
    return lambda image_t: (image_t - _channels(MEAN, image_t)) / _channels(STD, image_t)


def preprocess_inceptionv1() -> TransformF:
    """From [0,1] to the range of the original InceptionV1, -117 to 138."""
    return lambda image_t: image_t * INCEPTION_SCALE - INCEPTION_MEAN


@dataclass(frozen=True)
class OneScale:
    """Enlarge about the middle by one of several factors, all equally likely."""

    scales: tuple[float, ...]
    numbers: ClassVar[int] = 1
    whole: ClassVar[bool] = False

    def affine(self, u_nek: Tensor, frame: Size, progress: float) -> Affine:
        """The map of each view, in pixels of the frame."""
        shrink = 1.0 / _one_of(self.scales, u_nek)
        return about((frame[1] / 2, frame[0] / 2), shrink, 0.0, 0.0, shrink)

    def extents(self, progress: float) -> tuple[float, float]:
        """The smallest and the largest share of the frame's sides that a view shows."""
        return 1.0 / max(self.scales), 1.0 / min(self.scales)

    def describe(self) -> dict[str, Any]:
        """The name and every setting, in JSON's types."""
        return {"name": "OneScale", "scales": list(self.scales)}


@dataclass(frozen=True)
class OneRotation:
    """Turn about the middle by one of several angles in radians, all equally likely."""

    angles: tuple[float, ...]
    numbers: ClassVar[int] = 1
    whole: ClassVar[bool] = False

    def affine(self, u_nek: Tensor, frame: Size, progress: float) -> Affine:
        """The map of each view, in pixels of the frame."""
        angle = _one_of(self.angles, u_nek)
        cos, sin = angle.cos(), angle.sin()
        return about((frame[1] / 2, frame[0] / 2), cos, -sin, sin, cos)

    def extents(self, progress: float) -> tuple[float, float]:
        """The smallest and the largest share of the frame's sides that a view shows."""
        return 1.0, 1.0

    def describe(self) -> dict[str, Any]:
        """The name and every setting, in JSON's types."""
        return {"name": "OneRotation", "angles": list(self.angles)}


@dataclass(frozen=True)
class FunctionTransform:
    """Any function of images as a transform of the views.

    It is called for the first views of all images, then for the second ones, and so on, as Lucent calls it in a step.
    Its random numbers are not controlled by a seed of this library.
    """

    function: TransformF
    numbers: ClassVar[int] = 0
    spatial: ClassVar[bool] = True

    def apply(
        self, views_nechw: Tensor, u_nek: Tensor, generators: Sequence[torch.Generator], progress: float
    ) -> Tensor:
        """The changed views."""
        n, views = u_nek.shape[:2]
        batches = views_nechw.expand(-1, views, -1, -1, -1).unbind(1)
        made = [self.function(view) for view in batches]
        for view in made:
            if not isinstance(view, Tensor) or view.ndim != 4 or view.shape[:2] != (n, views_nechw.shape[2]):
                got = list(view.shape) if isinstance(view, Tensor) else type(view).__name__
                raise VisualizeError(
                    f"a transform returned {got} for images {list(batches[0].shape)}: it must keep B and C"
                )
        size = (made[0].shape[2], made[0].shape[3])
        return torch.stack([resize(view, size) for view in made], 1)

    def describe(self) -> dict[str, Any]:
        """The name and every setting, in JSON's types."""
        return {"name": "FunctionTransform", "function": getattr(self.function, "__qualname__", repr(self.function))}


def as_transforms(transforms: Sequence[TransformF]) -> tuple[Transform, ...]:
    """Lucent's transforms as this library's."""
    converted: list[Transform] = []
    for transform in transforms:
        if isinstance(transform, KnownTransform):
            converted += transform.parts
        elif isinstance(transform, Composed):
            converted += as_transforms(transform.transforms)
        elif callable(transform):
            converted.append(FunctionTransform(transform))
        else:
            raise VisualizeError(f"{transform!r} is no transform: give a function of images [B,C,H,W]")
    return tuple(converted)


def _one_of(values: Sequence[float], u_nek: Tensor) -> Tensor:
    table = torch.tensor(values, device=u_nek.device, dtype=u_nek.dtype)
    return table[(u_nek[..., 0] * len(values)).long().clamp(max=len(values) - 1)]


def _channels(values: Sequence[float], image_t: Tensor) -> Tensor:
    return torch.tensor(values, device=image_t.device, dtype=image_t.dtype).reshape(1, -1, 1, 1)


standard_transforms: list[TransformF] = [
    pad(12, mode="constant", constant_value=0.5),
    jitter(8),
    random_scale([1 + (i - 5) / 50.0 for i in range(11)]),
    random_rotate([*range(-10, 11), *5 * [0]]),
    jitter(4),
]
