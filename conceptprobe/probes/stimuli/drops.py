"""Drops: changes that hide cells of images, or patch tokens before a block."""

from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor

from conceptprobe.models import VisionModel
from conceptprobe.probes.framework.randomness import image_generators
from conceptprobe.probes.stimuli.grid import upsample
from conceptprobe.probes.stimuli.saliency import top_cells


class CellDrop:
    """Sets cells of a grid to black.

    Args:
        dropped_nc: The cells of each image that are dropped, bool [n,cells].
        grid: Rows and columns of the cells.
    """

    def __init__(self, dropped_nc: np.ndarray, grid: tuple[int, int]) -> None:
        self.share_n = dropped_nc.mean(1)
        self._kept_ngg = torch.from_numpy(~dropped_nc).reshape(-1, *grid)

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        """Blacken the dropped cells of a batch of images."""
        kept_bgg = self._kept_ngg[numbers].to(pixels_bchw.device)
        return pixels_bchw * upsample(kept_bgg, pixels_bchw.shape[2:])[:, None]


def random_drop(ids: tuple[str, ...], grid: tuple[int, int], share: float, seed: int, draw: int) -> CellDrop:
    """Drop a random share of the cells of each image; a larger share contains the cells of a smaller one."""
    return CellDrop(_random_cells(ids, grid[0] * grid[1], share, seed, draw, "occlusion"), grid)


def guided_drop(
    saliency_nc: np.ndarray, order_nc: np.ndarray, kind: str, share: float, mass: bool, grid: tuple[int, int]
) -> CellDrop:
    """Drop the most salient cells, or for "non-salient" the least salient ones.

    Args:
        saliency_nc: The saliency of each cell.
        order_nc: The cells, the most salient first.
        kind: "salient" or "non-salient".
        share: How much is dropped.
        mass: Whether the share is one of the saliency and not of the cells.
        grid: Rows and columns of the cells.
    """
    if kind == "non-salient" and share == 0:  # cells without saliency are not among those that hold all of it
        return CellDrop(np.zeros(order_nc.shape, bool), grid)
    if mass:
        held_nc = top_cells(saliency_nc, order_nc, share if kind == "salient" else 1 - share)
        return CellDrop(held_nc if kind == "salient" else ~held_nc, grid)
    cells = order_nc.shape[1]
    count = round(share * cells)
    dropped_nc = np.zeros(order_nc.shape, bool)
    chosen_nk = order_nc[:, :count] if kind == "salient" else order_nc[:, cells - count :]
    np.put_along_axis(dropped_nc, chosen_nk, True, 1)
    return CellDrop(dropped_nc, grid)


class TokenDrop:
    """Sets a random share of each image's patch tokens to 0 in a layer; prefix tokens stay.

    It is both the change of a condition, which learns the numbers of the images, and its context.

    Args:
        layer: The layer.
        prefix: The number of its prefix tokens.
        ids: Ids of the images.
        patches: The number of patch tokens.
        share: The share to drop.
        seed: Seed of the run.
    """

    def __init__(self, layer: str, prefix: int, ids: tuple[str, ...], patches: int, share: float, seed: int) -> None:
        self._layer, self._prefix = layer, prefix
        self._kept_np = torch.from_numpy(~_random_cells(ids, patches, share, seed, 0, "tokens"))
        self._numbers = np.zeros(0, np.int64)

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        """Store the numbers of a batch for the context, and leave the images as they are."""
        self._numbers = numbers
        return pixels_bchw

    def context(self, model: VisionModel) -> AbstractContextManager[object]:
        """The model without the tokens."""
        return model.intervene({self._layer: self._drop})

    def _drop(self, acts_btc: Tensor) -> Tensor:
        acts_btc[:, self._prefix :] *= self._kept_np[self._numbers].to(acts_btc.device)[..., None]
        return acts_btc


def _random_cells(ids: tuple[str, ...], cells: int, share: float, seed: int, draw: int, what: str) -> np.ndarray:
    """A random share of the cells of each image, bool [n,cells], in an order that is the same for every share."""
    order_nc = np.stack([stream.permutation(cells) for stream in image_generators(seed, ids, what, draw)])
    return order_nc < round(share * cells)
