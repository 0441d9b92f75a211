"""Affine maps of the image plane, one for each view, and sampling of images through them.

Points are (x, y) in pixels from the top left corner of an image, so that the middle of its first pixel is (0.5, 0.5).
A map goes from a point of the output to the point of the input that it shows.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SLACK = 1.25  # image pixels for each pixel of a view, above which several samples are averaged

Number = Tensor | float
Size = tuple[int, int]


class Affine(NamedTuple):
    """x' = xx * x + xy * y + x0 and y' = yx * x + yy * y + y0; each entry a number, or a tensor [n,e]."""

    xx: Number = 1.0
    xy: Number = 0.0
    yx: Number = 0.0
    yy: Number = 1.0
    x0: Number = 0.0
    y0: Number = 0.0

    def after(self, inner: "Affine") -> "Affine":
        """The composition: this map after `inner`."""
        # Elementwise: a matrix product may be rounded to TF32, and differently in another batch.
        return Affine(
            self.xx * inner.xx + self.xy * inner.yx,
            self.xx * inner.xy + self.xy * inner.yy,
            self.yx * inner.xx + self.yy * inner.yx,
            self.yx * inner.xy + self.yy * inner.yy,
            self.xx * inner.x0 + self.xy * inner.y0 + self.x0,
            self.yx * inner.x0 + self.yy * inner.y0 + self.y0,
        )


def about(center: tuple[float, float], xx: Number, xy: Number, yx: Number, yy: Number) -> Affine:
    """The linear map that leaves `center`, (x, y), where it is."""
    x, y = center
    return Affine(xx, xy, yx, yy, x - xx * x - xy * y, y - yx * x - yy * y)


def reduce(pixels_bchw: Tensor, factor: tuple[float, float]) -> Tensor:
    """The images, antialiased, with 1/factor of their rows and columns; factors up to 1 change nothing."""
    h, w = pixels_bchw.shape[-2:]
    size = tuple(max(1, round(side / max(1.0, f))) for side, f in zip((h, w), factor, strict=True))
    return pixels_bchw if size == (h, w) else resize(pixels_bchw, (size[0], size[1]))


def resize(pixels_bchw: Tensor, size: Size) -> Tensor:
    """The images resized, antialiased; the same tensor where they have the size already."""
    if tuple(pixels_bchw.shape[-2:]) == size:
        return pixels_bchw
    return F.interpolate(pixels_bchw, size=size, mode="bilinear", align_corners=False, antialias=True)


def sample(
    pixels_nechw: Tensor,
    views: int,
    affine: Affine,
    *,
    frame: Size,
    origin: Size,
    size: Size,
    extents: tuple[float, float],
    exact: bool,
) -> Tensor:
    """Views of a frame within images; the edge is repeated beyond the image.

    Args:
        pixels_nechw: One canvas for each image (e = 1), or one for each view.
        views: Number of views.
        affine: From the frame to the frame, in pixels of the canvas.
        frame: Rows and columns of the frame.
        origin: Row and column of the frame's top left corner on the canvas.
        size: Rows and columns of a view.
        extents: The smallest and the largest share of the frame's sides that a view shows.
        exact: Whether every point falls on the middle of a pixel, so that nothing is interpolated.

    Returns:
        [n,views,3,rows,columns].
    """
    n = len(pixels_nechw)
    ratios = [frame[axis] / size[axis] for axis in (0, 1)]
    factor = (max(1.0, ratios[0] * extents[0]), max(1.0, ratios[1] * extents[0]))
    finest = max(ratios[axis] * extents[1] / factor[axis] for axis in (0, 1))
    samples = 1 if exact else max(1, math.ceil(finest / SLACK))

    canvas_size = (pixels_nechw.shape[3], pixels_nechw.shape[4])
    shown = Affine(xx=ratios[1], yy=ratios[0])  # from a view's pixels to the frame's
    placed = Affine(x0=float(origin[1]), y0=float(origin[0])).after(affine).after(shown)
    grid_nehw2 = _grid(placed, (n, views), size, samples, canvas_size, pixels_nechw)

    pixels_bchw = pixels_nechw.flatten(0, 1)
    if exact:
        return _look(pixels_bchw, grid_nehw2, "nearest")
    sampled_nechw = _look(reduce(pixels_bchw, factor), grid_nehw2, "bilinear")
    if samples > 1:
        sampled_nechw = F.avg_pool2d(sampled_nechw.flatten(0, 1), samples).unflatten(0, (n, views))
    return sampled_nechw


def pick(pixels_nechw: Tensor, rows_neh: Tensor, columns_new: Tensor) -> Tensor:
    """The pixels at whole rows and columns of each view, [n,views,3,rows,columns], without interpolation.

    Args:
        pixels_nechw: One canvas for each image (e = 1), or one for each view.
        rows_neh: The rows of each view.
        columns_new: The columns of each view.
    """
    h, w = pixels_nechw.shape[-2:]
    shape = (*rows_neh.shape, columns_new.shape[-1], 2)
    grid_nehw2 = torch.empty(shape, device=pixels_nechw.device, dtype=pixels_nechw.dtype)
    grid_nehw2[..., 0] = ((2 * columns_new + 1) / w - 1)[..., None, :]
    grid_nehw2[..., 1] = ((2 * rows_neh + 1) / h - 1)[..., None]
    return _look(pixels_nechw.flatten(0, 1), grid_nehw2, "nearest")


def _look(pixels_bchw: Tensor, grid_nehw2: Tensor, mode: str) -> Tensor:
    """`grid_sample` of one canvas for each image or for each view.

    The views of one canvas are rows of one tall grid, so that the canvas is not copied for each view.
    """
    n, views, h, w, _ = grid_nehw2.shape
    tall = grid_nehw2.reshape(len(pixels_bchw), -1, w, 2)
    sampled = F.grid_sample(pixels_bchw, tall, mode=mode, padding_mode="border", align_corners=False)
    each = n * views // len(pixels_bchw)
    result: Tensor = sampled.unflatten(2, (each, h)).transpose(1, 2).reshape(n, views, -1, h, w)
    return result


def _grid(affine: Affine, batch: tuple[int, int], size: Size, samples: int, canvas_size: Size, like: Tensor) -> Tensor:
    """The points that `grid_sample` reads, [n,e,rows,columns,2] in [-1,1] over the canvas."""
    rows, columns = size[0] * samples, size[1] * samples
    y = (torch.arange(rows, device=like.device, dtype=like.dtype) + 0.5) / samples
    x = (torch.arange(columns, device=like.device, dtype=like.dtype) + 0.5) / samples
    grid = torch.empty(*batch, rows, columns, 2, device=like.device, dtype=like.dtype)
    height, width = canvas_size
    for axis, side, (by_x, by_y, start) in (
        (0, width, (affine.xx, affine.xy, affine.x0)),
        (1, height, (affine.yx, affine.yy, affine.y0)),
    ):
        row = _wide(by_y, 2.0 / side) * y[:, None] + (_wide(start, 2.0 / side) - 1.0)
        torch.add(row, _wide(by_x, 2.0 / side) * x, out=grid[..., axis])
    return grid


def _wide(value: Number, factor: float) -> Number:
    return value[..., None, None] * factor if isinstance(value, Tensor) else value * factor
