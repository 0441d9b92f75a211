"""Stand-ins for cue-conflict images, made from images with masks: the silhouette of one, filled with a quilt of patches
of another. They are not those of Geirhos et al. 2019, which are made by style transfer from photographs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import Tensor

from conceptprobe.images.decode import parse_background
from conceptprobe.models import VisionModel
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import OPAQUE, Items

PATCH = 1 / 6
PatchShare = Annotated[float, Field(gt=0, le=1)]
"""The side of a patch as a share of an image's shorter side."""

SHADE = 0


@dataclass(frozen=True, eq=False)
class Drawing:
    """An image and where its object is.

    Attributes:
        levels_hwc: uint8 [h,w,3].
        mask_hw: bool [h,w].
    """

    levels_hwc: np.ndarray
    mask_hw: np.ndarray

    def resized(self, size: tuple[int, int]) -> "Drawing":
        """The drawing stretched to so many rows and columns."""
        if self.mask_hw.shape == size:
            return self
        columns_rows = (size[1], size[0])
        image = Image.fromarray(self.levels_hwc).resize(columns_rows, Image.Resampling.BICUBIC)
        mask = Image.fromarray(self.mask_hw.astype(np.uint8) * 255).resize(columns_rows, Image.Resampling.BILINEAR)
        return Drawing(np.asarray(image), np.asarray(mask) > OPAQUE)


def drawings(items: Items) -> list[Drawing]:
    """The images at the size they are kept in. Not to be changed: they are kept for other probes.

    Raises:
        ProbeError: An image cannot be read, has no mask, or its mask shows nothing.
    """
    return items.memory.get(
        ("drawings", str(items.masks_folder), *items.key),
        lambda: _draw(items),
        lambda drawn: sum(drawing.levels_hwc.nbytes + drawing.mask_hw.nbytes for drawing in drawn),
    )


def _draw(items: Items) -> list[Drawing]:
    found = []
    for row, id_ in zip(items.rows.tolist(), items.ids, strict=True):
        mask_hw = np.asarray(items.mask(row)) > OPAQUE
        if not mask_hw.any():
            raise ProbeError(f"the mask of {id_!r} shows nothing of it: leave that image out")
        found.append(Drawing(np.asarray(items.source.load(row).image), mask_hw))
    return found


def background_of(items: Items) -> tuple[int, int, int]:
    """The colour that the source lays transparent images on."""
    return parse_background(items.source.background)


def fill(mask_hw: np.ndarray, texture_hwc: np.ndarray | int, background: tuple[int, int, int]) -> np.ndarray:
    """A texture, or a level of grey, where the mask is; the background elsewhere: uint8 [h,w,3]."""
    return np.where(mask_hw[..., None], texture_hwc, np.array(background)).astype(np.uint8)


def silhouette(drawing: Drawing, background: tuple[int, int, int]) -> np.ndarray:
    """The object in black: its outline and nothing of its texture, uint8 [h,w,3]."""
    return fill(drawing.mask_hw, SHADE, background)


def quilt(drawing: Drawing, share: float, rng: np.random.Generator) -> np.ndarray:
    """Square patches from random places wholly inside the mask, laid side by side over the whole image: uint8 [h,w,3].

    Args:
        share: The side of a patch as a share of the image's shorter side. Where no such square lies inside the mask, it
            is the largest that does.
    """
    height, width = drawing.mask_hw.shape
    side, places_k2 = patch_places(drawing.mask_hw, max(1, round(share * min(height, width))))
    rows, columns = -(-height // side), -(-width // side)
    chosen = places_k2[rng.integers(len(places_k2), size=rows * columns)]
    within = np.arange(side)
    cells = drawing.levels_hwc[
        (chosen[:, 0, None] + within)[:, :, None], (chosen[:, 1, None] + within)[:, None, :]
    ]  # [rows * columns, side, side, 3]
    laid = cells.reshape(rows, columns, side, side, 3).swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    return laid[:height, :width]


def patch_places(mask_hw: np.ndarray, side: int) -> tuple[int, np.ndarray]:
    """The largest side up to the one given of which a square lies wholly inside the mask, and the upper left corners of
    all such squares, int64 [k,2]. The mask shows something."""
    summed = np.pad(mask_hw.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    for tried in range(min(side, *mask_hw.shape), 0, -1):
        inside = summed[tried:, tried:] - summed[:-tried, tried:] - summed[tried:, :-tried] + summed[:-tried, :-tried]
        places_k2 = np.argwhere(inside == tried**2)
        if len(places_k2):
            return tried, places_k2
    raise AssertionError("the mask shows nothing")


def conflicts(
    drawn: Sequence[Drawing],
    texture_n: np.ndarray,
    streams: Sequence[np.random.Generator],
    share: float,
    background: tuple[int, int, int],
) -> list[np.ndarray]:
    """Each drawing's silhouette filled with a quilt of another one: uint8 [h,w,3] each.

    Args:
        texture_n: Whose texture each gets.
        streams: A random stream for each.
    """
    return [
        fill(shape.mask_hw, quilt(drawn[other].resized(shape.mask_hw.shape), share, stream), background)
        for shape, other, stream in zip(drawn, texture_n.tolist(), streams, strict=True)
    ]


def seen(model: VisionModel, images: Sequence[np.ndarray]) -> Tensor:
    """What a model sees of images uint8 [h,w,3]: levels uint8 [n,3,h,w], on the CPU, as `Items.pixels` gives them."""
    levels = [(model.preprocess(Image.fromarray(image)) * 255).round().to(torch.uint8) for image in images]
    return torch.stack(levels)
