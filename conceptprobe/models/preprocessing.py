"""From a PIL image to a model's input pixels: RGB in [0,1]; normalisation is inside the model."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
import torchvision.transforms.functional as transforms
import torchvision.transforms.v2.functional as tensors
from PIL import Image
from timm.data.transforms import CenterCropOrPad, ResizeKeepRatio
from torch import Tensor
from torchvision.transforms import InterpolationMode

from conceptprobe.models.errors import ModelError

LONGEST = 16


def shortened(image: Image.Image) -> Image.Image:
    """The middle of an image that is longer than 16:1.

    The model sees only a square, but the whole image is scaled until its shorter side fits: a line of 1 x 60,000 pixels
    would take gigabytes.
    """
    width, height = image.size
    shown_width, shown_height = min(width, LONGEST * height), min(height, LONGEST * width)
    left, top = (width - shown_width) // 2, (height - shown_height) // 2
    return image if (left, top) == (0, 0) else image.crop((left, top, left + shown_width, top + shown_height))


def as_floats(levels: Tensor) -> Tensor:
    """Grey levels, uint8, as float32 in [0,1], with the same bits on every device."""
    return levels / torch.full((), 255.0, device=levels.device)  # by a Python number CUDA would multiply by 1 / 255


def levels_of(image: Image.Image) -> Tensor:
    """The grey levels of an RGB image, uint8 [3,h,w], on the CPU even if the default device is another."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@dataclass(frozen=True)
class Preprocessing:
    """Resize with PIL (antialiased), crop the centre and scale to [0,1]. Picklable, so that data loaders can send it.

    Attributes:
        size: Rows and columns of the result.
        resize: Rows and columns to which `mode` scales before the crop.
        mean: What the model subtracts from each channel.
        std: What the model divides each channel by.
        mode: "shortest" fits the shorter side to `resize`; "longest" fits the longer side and fills the rest; "squash"
            fits both sides.
        interpolation: "bilinear", "bicubic" or another mode of torchvision.
        fill: Grey level or colour, 0-255, around the image in mode "longest".

    Raises:
        ModelError: `mean` or `std` is not for pixels in [0,1].
    """

    size: tuple[int, int]
    resize: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mode: Literal["shortest", "longest", "squash"] = "shortest"
    interpolation: str = "bicubic"
    fill: int | tuple[int, int, int] = 0

    def __post_init__(self) -> None:
        if len(self.mean) != 3 or not all(0 <= value <= 1 for value in self.mean):
            raise ModelError(f"mean={self.mean} must be three numbers between 0 and 1, for pixels in [0,1]")
        if len(self.std) != 3 or not all(0 < value < 10 for value in self.std):
            raise ModelError(f"std={self.std} must be three numbers above 0 and below 10, for pixels in [0,1]")

    def __call__(self, image: Image.Image) -> Tensor:
        """Pixels [3,H,W], float32 in [0,1], of an RGB image."""
        return as_floats(self.levels(image))

    def levels(self, image: Image.Image) -> Tensor:
        """Pixels [3,H,W], uint8, of an RGB image: a quarter of the memory of floats, which `as_floats` makes."""
        return levels_of(self._fit(image))

    @property
    def scales_tensors(self) -> bool:
        """Whether `fast` takes tensors and is faster than PIL."""
        return self.mode != "longest" and self.interpolation in ("bilinear", "bicubic")

    def fast(self, image: Image.Image | Tensor) -> Tensor:
        """The same steps with torch's kernels, several times faster than PIL.

        Some pixels differ from PIL's by one, rarely by two grey levels.

        Args:
            image: An RGB image or, if `scales_tensors`, its pixels [3,h,w], uint8, on any device.

        Returns:
            Pixels [3,H,W], uint8, like those of `levels`.
        """
        if isinstance(image, Image.Image):
            if not self.scales_tensors:
                return self.levels(image)
            pixels = levels_of(image)
        else:
            pixels = image
        size = list(self.resize)
        if self.mode == "shortest":
            height, width = pixels.shape[-2:]
            pixels = tensors.center_crop(pixels, [min(height, LONGEST * width), min(width, LONGEST * height)])
            square = size[0] == size[1]
            size = size[:1] if square else ResizeKeepRatio.get_params(pixels, self.resize, longest=0.0)
        pixels = tensors.resize(pixels, size, InterpolationMode(self.interpolation))
        cropped: Tensor = tensors.center_crop(pixels, list(self.size))
        return cropped

    def at(self, pixels: int) -> "Preprocessing":
        """The same preprocessing for a square of another size; the crop keeps the same share of the image."""
        rows, columns = (scaled * pixels // side for scaled, side in zip(self.resize, self.size, strict=True))
        return replace(self, size=(pixels, pixels), resize=(rows, columns))

    def _fit(self, image: Image.Image) -> Image.Image:
        interpolation = InterpolationMode(self.interpolation)
        if self.mode == "shortest":
            image = shortened(image)
        if image.size[::-1] == self.resize == self.size:
            return image
        if self.mode == "squash":
            image = transforms.resize(image, list(self.resize), interpolation)
        elif self.mode == "longest":
            sides = ResizeKeepRatio.get_params(image, self.resize, longest=1.0)
            image = transforms.resize(image, [max(1, side) for side in sides], interpolation)  # a line gets a side of 0
            image = CenterCropOrPad(list(self.size), fill=self.fill)(image)
        elif self.resize[0] == self.resize[1]:
            image = transforms.resize(image, [self.resize[0]], interpolation)
        else:
            image = ResizeKeepRatio(self.resize, interpolation=self.interpolation)(image)
        cropped: Image.Image = transforms.center_crop(image, list(self.size))
        return cropped

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
