"""From a PIL image to the pixels that a model looks at: RGB in [0,1]; normalisation is inside the model."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torchvision.transforms.functional as transforms
from PIL import Image
from timm.data.transforms import CenterCropOrPad, ResizeKeepRatio
from torch import Tensor
from torchvision.transforms import InterpolationMode

LONGEST = 16


def shortened(image: Image.Image) -> Image.Image:
    """The middle of an image longer than 16:1. Only a square of it is looked at, but all of it would be scaled so that
    the shorter side fits: a line of 1 x 60,000 pixels would take gigabytes."""
    width, height = image.size
    shown_width, shown_height = min(width, LONGEST * height), min(height, LONGEST * width)
    left, top = (width - shown_width) // 2, (height - shown_height) // 2
    return image if (left, top) == (0, 0) else image.crop((left, top, left + shown_width, top + shown_height))


@dataclass(frozen=True)
class Preprocessing:
    """Resize on PIL (antialiased), crop the centre, scale to [0,1]. Picklable, so that data loaders can send it.

    Attributes:
        size: Rows and columns of the result.
        resize: Rows and columns that `mode` scales to, before the crop.
        mode: "shortest": the shorter side fits `resize`; "longest": the longer one, the rest is filled; "squash": both.
        mean, std: What the model subtracts from and divides the pixels by, itself.
        fill: Grey level, or colour, 0-255, around the image in mode "longest".
    """

    size: tuple[int, int]
    resize: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    mode: Literal["shortest", "longest", "squash"] = "shortest"
    interpolation: str = "bicubic"
    fill: int | tuple[int, int, int] = 0

    def __call__(self, image: Image.Image) -> Tensor:
        """Pixels [3,H,W], float32 in [0,1], of an RGB image."""
        interpolation = InterpolationMode(self.interpolation)
        if self.mode == "shortest":
            image = shortened(image)
        if self.mode == "squash":
            image = transforms.resize(image, list(self.resize), interpolation)
        elif self.mode == "longest":
            image = ResizeKeepRatio(self.resize, longest=1.0, interpolation=self.interpolation)(image)
            image = CenterCropOrPad(list(self.size), fill=self.fill)(image)
        elif self.resize[0] == self.resize[1]:
            image = transforms.resize(image, [self.resize[0]], interpolation)
        else:
            image = ResizeKeepRatio(self.resize, interpolation=self.interpolation)(image)
        return transforms.to_tensor(transforms.center_crop(image, list(self.size)))

    def as_dict(self) -> dict[str, Any]:
        """What it does, in JSON's types."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
