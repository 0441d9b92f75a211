"""Stand-ins for cue-conflict images, made from images with masks.

The silhouette of one image is filled with a quilt of patches of another. The images of Geirhos et al. 2019 are made by
style transfer from photographs instead.
"""

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
from conceptprobe.probes.framework.images import OPAQUE, ProbeImages
from conceptprobe.probes.framework.randomness import image_generators
from conceptprobe.probes.stimuli.cue_conflict import choose_textures

PATCH = 1 / 6
PatchShare = Annotated[float, Field(gt=0, le=1)]
"""The side of a patch as a share of an image's shorter side."""

SHADE = 0


@dataclass(frozen=True, eq=False)
class Drawing:
    """An image with the mask of its object.

    Attributes:
        levels_hwc: uint8 [h,w,3].
        mask_hw: bool [h,w].
    """

    levels_hwc: np.ndarray
    mask_hw: np.ndarray

    def resized(self, size: tuple[int, int]) -> "Drawing":
        """The drawing stretched to a size in rows and columns."""
        if self.mask_hw.shape == size:
            return self
        columns_rows = (size[1], size[0])
        image = Image.fromarray(self.levels_hwc).resize(columns_rows, Image.Resampling.BICUBIC)
        mask = Image.fromarray(self.mask_hw.astype(np.uint8) * 255).resize(columns_rows, Image.Resampling.BILINEAR)
        return Drawing(np.asarray(image), np.asarray(mask) > OPAQUE)


def drawings(images: ProbeImages) -> list[Drawing]:
    """The images at their stored size, cached for other probes and so not to be changed.

    Raises:
        ProbeError: An image cannot be read or has no mask, or its mask is empty.
    """
    return images.memory.get(
        ("drawings", str(images.masks_folder), *images.key),
        lambda: _draw(images),
        lambda drawn: sum(drawing.levels_hwc.nbytes + drawing.mask_hw.nbytes for drawing in drawn),
    )


def _draw(images: ProbeImages) -> list[Drawing]:
    drawn = []
    for row, id_ in zip(images.rows.tolist(), images.ids, strict=True):
        mask_hw = np.asarray(images.mask(row)) > OPAQUE
        if not mask_hw.any():
            raise ProbeError(f"the mask of {id_!r} is empty: leave that image out")
        drawn.append(Drawing(np.asarray(images.source.load(row).image), mask_hw))
    return drawn


def background_of(images: ProbeImages) -> tuple[int, int, int]:
    """The colour that the source puts behind transparent images."""
    return parse_background(images.source.background)


def fill(mask_hw: np.ndarray, texture_hwc: np.ndarray | int, background: tuple[int, int, int]) -> np.ndarray:
    """A texture or a level of grey inside the mask, the background outside: uint8 [h,w,3]."""
    return np.where(mask_hw[..., None], texture_hwc, np.array(background)).astype(np.uint8)


def silhouette(drawing: Drawing, background: tuple[int, int, int]) -> np.ndarray:
    """The object in black, so that its outline stays and its texture does not: uint8 [h,w,3]."""
    return fill(drawing.mask_hw, SHADE, background)


def quilt(drawing: Drawing, share: float, rng: np.random.Generator) -> np.ndarray:
    """Random square patches from inside the mask, laid side by side over the whole image: uint8 [h,w,3].

    Args:
        drawing: The image and its mask.
        share: The side of a patch as a share of the image's shorter side. Where no such square lies inside the mask,
            the patch is the largest square that does.
        rng: Draws the patches.
    """
    height, width = drawing.mask_hw.shape
    side, corners_k2 = patch_corners(drawing.mask_hw, max(1, round(share * min(height, width))))
    rows, columns = -(-height // side), -(-width // side)
    chosen = corners_k2[rng.integers(len(corners_k2), size=rows * columns)]
    within = np.arange(side)
    cells = drawing.levels_hwc[
        (chosen[:, 0, None] + within)[:, :, None], (chosen[:, 1, None] + within)[:, None, :]
    ]  # [rows * columns, side, side, 3]
    laid = cells.reshape(rows, columns, side, side, 3).swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    return np.asarray(laid[:height, :width])


def patch_corners(mask_hw: np.ndarray, side: int) -> tuple[int, np.ndarray]:
    """The side of the largest squares inside a mask, up to a limit, and their upper left corners, int64 [k,2].

    Args:
        mask_hw: A mask that is not empty.
        side: The limit.
    """
    summed = np.pad(mask_hw.astype(np.int64), ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    for tried in range(min(side, *mask_hw.shape), 0, -1):
        inside = summed[tried:, tried:] - summed[:-tried, tried:] - summed[tried:, :-tried] + summed[:-tried, :-tried]
        corners_k2 = np.argwhere(inside == tried**2)
        if len(corners_k2):
            return tried, corners_k2
    raise AssertionError("the mask is empty")


def conflicts(
    drawn: Sequence[Drawing],
    texture_n: np.ndarray,
    streams: Sequence[np.random.Generator],
    share: float,
    background: tuple[int, int, int],
) -> list[np.ndarray]:
    """Each drawing's silhouette filled with a quilt of another one: uint8 [h,w,3] each.

    Args:
        drawn: The drawings.
        texture_n: The number of the drawing whose texture each gets.
        streams: A random stream for each.
        share: The side of a patch as a share of the image's shorter side.
        background: The colour outside the silhouette.
    """
    return [
        fill(shape.mask_hw, quilt(drawn[other].resized(shape.mask_hw.shape), share, stream), background)
        for shape, other, stream in zip(drawn, texture_n.tolist(), streams, strict=True)
    ]


def make_stand_ins(
    model: VisionModel,
    drawn: Sequence[Drawing],
    ids: tuple[str, ...],
    classes: Sequence[str],
    share: float,
    background: tuple[int, int, int],
    seed: int,
) -> tuple[np.ndarray, Tensor]:
    """Stand-ins for cue-conflict images: each drawing with the texture of another one, of another class.

    Args:
        model: The model that will see them.
        drawn: The drawings.
        ids: Ids of the drawings.
        classes: Classes of the drawings.
        share: The side of a patch as a share of the image's shorter side.
        background: The colour outside the silhouettes.
        seed: Seed of the textures and patches.

    Returns:
        The number of the drawing whose texture each has, int64 [n]; and levels uint8 [n,3,h,w] as the model sees them.
    """
    texture_n = choose_textures(ids, classes, seed)
    streams = image_generators(seed, ids, "quilt", 0)
    return texture_n, preprocess_images(model, conflicts(drawn, texture_n, streams, share, background))


def preprocess_images(model: VisionModel, images: Sequence[np.ndarray]) -> Tensor:
    """Images uint8 [h,w,3] as a model sees them: levels uint8 [n,3,h,w], on the CPU, as in `ProbeImages.pixels`."""
    levels = [(model.preprocess(Image.fromarray(image)) * 255).round().to(torch.uint8) for image in images]
    return torch.stack(levels)
