"""Descriptors of what an image looks like, without what it means: colours and gradients on a grid.

The null distribution of looks is made in this space: a feature without meaning lists images that are alike here, and
only here. An early layer of a model is another such space; any array with a row for each image will do.
"""

import os

import numpy as np
import torch
from PIL.Image import Image
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from conceptprobe.images import ImageSource
from conceptprobe.indexing.storage.faiss_files import unit
from conceptprobe.search.embeddings import CACHE, map_images

SIDE = 64
GRID = 4
ORIENTATIONS = 9
COLOURS = 3 * GRID**2
"""How many numbers of a descriptor are colours; they come first, and the others are gradients."""
_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.950456, 1.0, 1.088754)  # D65


def describe_images(
    source: ImageSource,
    rows: np.ndarray | None = None,
    *,
    workers: int | None = None,
    cache: str | os.PathLike[str] | None = CACHE,
    progress: bool = False,
) -> np.ndarray:
    """Describe how images look by their colours and gradients.

    A descriptor is of the image squashed to 64 x 64: CIELAB means on a 4 x 4 grid (48 numbers), and a histogram of
    oriented gradients (Dalal & Triggs 2005; 9 directions, 4 x 4 cells, 3 x 3 blocks: 324 numbers). Both parts count
    equally, see `standardise`. Transparent images are described as the models see them, on the source's background, so
    that their outline counts as gradients and their empty corners as colour.

    Args:
        source: The images.
        rows: Rows of the source, int [n], in any order; by default all.
        workers: Processes that decode images; by default half the processors.
        cache: The folder that caches the result, by images and rows; None caches nothing.
        progress: Whether to show a bar on stderr.

    Returns:
        float32 [n,372], rows of length one.
    """
    raw = map_images(
        descriptors, source, rows, preprocess=_squash, shape=(SIDE, SIDE), key=("visual", "1"),
        description=f"visual descriptors of {source.spec}", workers=workers, cache=cache, progress=progress,
    )  # fmt: skip
    return standardise(raw, COLOURS)


def standardise(values_nd: np.ndarray, *cuts: int) -> np.ndarray:
    """Centre every column, give each group of columns a total variance of one, and scale rows to length one.

    Columns of a group keep their proportions, so that a corner that is nearly always white counts for little.

    Args:
        values_nd: Descriptors, float [n,d].
        cuts: The first column of each group but the first.
    """
    groups = np.split(values_nd - values_nd.mean(0, dtype=np.float64), cuts, axis=1)
    scaled = [group / (np.sqrt(np.square(group).sum(1).mean()) or 1) for group in groups]
    return unit(np.concatenate(scaled, axis=1)).astype(np.float32)


def descriptors(pixels_bchw: Tensor) -> Tensor:
    """Colours and gradients, float [b,48 + 324], of 64 x 64 images in RGB from 0 to 1."""
    lab_bchw = rgb_to_lab(pixels_bchw)
    colours = functional.avg_pool2d(lab_bchw, SIDE // GRID).flatten(1)
    return torch.cat([colours, gradients(lab_bchw[:, 0] / 100)], 1)


def rgb_to_lab(pixels_bchw: Tensor) -> Tensor:
    """CIELAB (D65, 2 degrees) of sRGB from 0 to 1."""
    linear = torch.where(pixels_bchw > 0.04045, ((pixels_bchw + 0.055) / 1.055) ** 2.4, pixels_bchw / 12.92)
    to_xyz = pixels_bchw.new_tensor(_TO_XYZ) / pixels_bchw.new_tensor(_WHITE)[:, None]
    xyz = torch.einsum("rc,bchw->brhw", to_xyz, linear)
    f = torch.where(xyz > 216 / 24389, xyz.clamp(min=1e-6) ** (1 / 3), (24389 / 27 * xyz + 16) / 116)
    return torch.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def gradients(grey_bhw: Tensor) -> Tensor:
    """Histogram of oriented gradients, [b, 3 * 3 blocks * 4 cells * 9 directions], of 64 x 64 grey images.

    Directions have no sign. A pixel votes with its magnitude for the two nearest directions, and blocks are normalised
    with L2-Hys.
    """
    dy = functional.pad(grey_bhw[:, 2:] - grey_bhw[:, :-2], (0, 0, 1, 1))
    dx = functional.pad(grey_bhw[:, :, 2:] - grey_bhw[:, :, :-2], (1, 1))
    bin_ = torch.atan2(dy, dx).remainder(torch.pi) * (ORIENTATIONS / torch.pi) - 0.5
    low, share = bin_.floor(), bin_ - bin_.floor()
    magnitude = torch.hypot(dx, dy)
    votes = magnitude.new_zeros(len(grey_bhw), ORIENTATIONS, SIDE, SIDE)
    for direction, weight in ((low, 1 - share), (low + 1, share)):
        votes.scatter_add_(1, direction.long().remainder(ORIENTATIONS)[:, None], (magnitude * weight)[:, None])
    cells = functional.avg_pool2d(votes, SIDE // GRID)
    blocks = cells.unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 4, 5, 1).flatten(3)
    blocks = functional.normalize(functional.normalize(blocks, dim=-1, eps=1e-5).clamp(max=0.2), dim=-1, eps=1e-5)
    return blocks.flatten(1)


def _squash(image: Image) -> Tensor:
    pixels_chw: Tensor = transforms.to_tensor(transforms.resize(image, [SIDE, SIDE], InterpolationMode.BICUBIC))
    return pixels_chw
