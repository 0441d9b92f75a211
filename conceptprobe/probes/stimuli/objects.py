"""The single objects of masks, and how well a selection of patches covers them."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from conceptprobe.models import VisionModel
from conceptprobe.probes.framework.images import ProbeImages, preprocess_mask
from conceptprobe.probes.stimuli.grid import upsample

VOID = 255


@dataclass(frozen=True, eq=False)
class PatchedObjects:
    """The objects of one image, counted in the patches of a model.

    Attributes:
        pixels_kp: How many pixels of each object lie in each patch, int64 [objects,patches].
        area_p: How many pixels of each patch count, that is, are not void, int64 [patches].
    """

    pixels_kp: np.ndarray
    area_p: np.ndarray

    def jaccard(self, kept_sp: np.ndarray) -> np.ndarray:
        """Intersection over union, in pixels, of each selection of patches with each object: [selections,objects]."""
        chosen_sp = kept_sp.astype(np.float64)
        shared_sk = chosen_sp @ self.pixels_kp.T
        return np.asarray(shared_sk / ((chosen_sp @ self.area_p)[:, None] + self.pixels_kp.sum(1) - shared_sk))

    def best_patches(self) -> np.ndarray:
        """The highest intersection over union that any selection of patches has with each object: [objects].

        The best selection consists of the patches that the object fills most.
        """
        best = []
        for pixels_p in self.pixels_kp:
            order_p = np.argsort(-pixels_p / np.maximum(self.area_p, 1), kind="stable")
            shared_p, area_p = pixels_p[order_p].cumsum(), self.area_p[order_p].cumsum()
            best.append(float((shared_p / (area_p + pixels_p.sum() - shared_p)).max()))
        return np.array(best)


def patched_objects(images: ProbeImages, model: VisionModel, grid: tuple[int, int]) -> list[PatchedObjects]:
    """The objects of each image; none where all lie outside of the model's crop.

    Raises:
        ProbeError: An image has no mask, or one of another size.
    """
    rows, columns = grid
    patches = rows * columns
    cells_hw = upsample(torch.arange(patches, device="cpu").reshape(1, rows, columns), model.image_size)[0].numpy()
    objects = []
    for row in images.rows.tolist():
        of_objects, void = numbered_objects(images.stored_mask(row)) or ([images.mask(row)], None)
        masks = [preprocess_mask(model, mask).numpy() for mask in of_objects]
        counted_hw = np.ones(model.image_size, bool) if void is None else ~preprocess_mask(model, void).numpy()
        counts = [_count(cells_hw, mask & counted_hw, patches) for mask in masks]
        pixels_kp = np.array([count_p for count_p in counts if count_p.any()], np.int64).reshape(-1, patches)
        objects.append(PatchedObjects(pixels_kp, _count(cells_hw, counted_hw, patches)))
    return objects


def numbered_objects(mask: Image.Image) -> tuple[list[Image.Image], Image.Image | None] | None:
    """Masks, mode L, of the single objects and of the void; None where the mask does not number its objects.

    Palette images whose colour 0 is black number their objects, as those of Pascal VOC do: every number except 0 is an
    object, and 255 beside others is void.
    """
    if mask.mode != "P" or (mask.getpalette() or [255])[:3] != [0, 0, 0]:
        return None
    numbers_hw = np.asarray(mask)
    numbers = [int(number) for number in np.unique(numbers_hw) if number]
    void = VOID if VOID in numbers and len(numbers) > 1 else None
    objects = [_mask_image(numbers_hw == number) for number in numbers if number != void]
    return objects, None if void is None else _mask_image(numbers_hw == void)


def _mask_image(shown_hw: np.ndarray) -> Image.Image:
    return Image.fromarray(shown_hw.astype(np.uint8) * 255)


def _count(cells_hw: np.ndarray, shown_hw: np.ndarray, patches: int) -> np.ndarray:
    return np.bincount(cells_hw[shown_hw], minlength=patches)
