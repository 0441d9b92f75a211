"""Grids of cells over images."""

import torch
from torch import Tensor

from conceptprobe.probes.framework.probed_model import ProbedModel


def patch_grid(probed: ProbedModel) -> tuple[int, int]:
    """Rows and columns of a ViT's patches; 14 x 14 for a CNN, as in Naseer et al. 2021 (arXiv 2105.10497)."""
    grids = [layer.grid for layer in probed.model.layers if layer.kind == "tokens" and layer.grid is not None]
    return grids[0] if grids else (14, 14)


def upsample(cells_bgg: Tensor, size: tuple[int, ...]) -> Tensor:
    """Cells of a grid as pixels [b,h,w]; where the grid does not divide the size, some cells are a pixel larger."""
    rows, columns = (
        torch.arange(pixels, device=cells_bgg.device) * cells // pixels
        for pixels, cells in zip(size, cells_bgg.shape[1:], strict=True)
    )
    return cells_bgg[:, rows[:, None], columns[None, :]]


def cell_means(values_bhw: Tensor, grid: tuple[int, int]) -> Tensor:
    """The mean of a map over each cell of a grid, float64 [b,cells]; NaN where a cell has no pixel."""
    cells = grid[0] * grid[1]
    number_hw = upsample(torch.arange(cells, device=values_bhw.device).reshape(1, *grid), values_bhw.shape[1:])[0]
    sums_bc = torch.zeros(len(values_bhw), cells, dtype=torch.float64, device=values_bhw.device)
    sums_bc.index_add_(1, number_hw.flatten(), values_bhw.flatten(1).double())
    return sums_bc / torch.bincount(number_hw.flatten(), minlength=cells)
