"""Tensors that are interpolated from a coarse tensor."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from conceptprobe.lucent.optvis.param.device import device
from conceptprobe.lucent.optvis.param.spatial import Parameters


def lowres_tensor(
    shape: Sequence[int],
    underlying_shape: Sequence[int],
    offset: bool | int | Sequence[bool | int] | None = None,
    sd: float = 0.01,
) -> Parameters:
    """A tensor of four dimensions, interpolated linearly along each dimension from a coarse tensor.

    Args:
        shape: Shape of the tensor.
        underlying_shape: Shape of the parameters; 1 in the first dimension shares them between the images of a batch.
        offset: Entries by which the tensor is moved along each dimension, reflected at its start; True stands for half
            of the distance between two parameters.
        sd: Standard deviation of the parameters at the start.
    """
    coarse = (torch.randn(*underlying_shape, device="cpu") * sd).to(device()).requires_grad_(True)
    moves = [0] * 4
    if offset is not None:
        offsets = [offset] * 4 if isinstance(offset, bool | int) else list(offset)
        moves = [
            int(a / b / 2) if o is True else int(o) for o, a, b in zip(offsets, shape, underlying_shape, strict=True)
        ]

    def inner() -> Tensor:
        values = coarse
        for dim, side in enumerate(shape):
            values = _move(_stretch(values, dim, side), dim, moves[dim])
        return values

    return [coarse], inner


def _stretch(values: Tensor, dim: int, side: int) -> Tensor:
    if values.shape[dim] == side:
        return values
    last = values.movedim(dim, -1)
    wide = F.interpolate(last.reshape(1, -1, last.shape[-1]), size=side, mode="linear", align_corners=True)
    return wide.reshape(*last.shape[:-1], side).movedim(-1, dim)


def _move(values: Tensor, dim: int, by: int) -> Tensor:
    if by == 0:
        return values
    side = values.shape[dim]
    indices = [abs(index - by) for index in range(side)]
    return values.index_select(dim, torch.tensor(indices, device=values.device))
