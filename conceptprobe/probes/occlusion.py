"""How much can be hidden before a model errs? (PatchDrop of Naseer et al. 2021, arXiv 2105.10497.)"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.items import Items
from conceptprobe.probes.probe import Findings, Probe, behave
from conceptprobe.probes.subject import Condition, Subject, image_generators


@dataclass(frozen=True)
class Occlusion:
    """Settings.

    Attributes:
        shares: Shares of the patches to drop.
        grid: Rows and columns that an image is cut into; None takes the model's patches, 14 x 14 where it has none.
        draws: Random masks an image and share.
    """

    shares: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    grid: tuple[int, int] | None = None
    draws: int = 5

    def __post_init__(self) -> None:
        if not self.shares or not all(0 <= share <= 1 for share in self.shares):
            raise ProbeError(f"shares are from 0 to 1, got {self.shares}")
        if self.draws < 1 or (self.grid is not None and min(self.grid) < 1):
            raise ProbeError(f"draws and grid must be at least 1, got {self.draws} and {self.grid}")


def run(subject: Subject, items: Items, settings: Occlusion, seed: int) -> Findings:
    """Drop random patches, that is, set their pixels to 0 before normalisation."""
    grid = settings.grid or patch_grid(subject)
    conditions = [
        Condition("random", share, draw, RandomDrop(items.ids, grid, share, seed, draw))
        for share in settings.shares
        for draw in range(settings.draws)
    ]
    return behave(subject, items, conditions, seed)


def patch_grid(subject: Subject) -> tuple[int, int]:
    """Rows and columns of a ViT's patches; 14 x 14, as in the paper, for a CNN."""
    grids = [layer.grid for layer in subject.model.layers if layer.kind == "tokens" and layer.grid is not None]
    return grids[0] if grids else (14, 14)


class RandomDrop:
    """Sets a share of the cells of a grid to black, other ones in each image."""

    def __init__(self, ids: tuple[str, ...], grid: tuple[int, int], share: float, seed: int, draw: int) -> None:
        cells = grid[0] * grid[1]
        dropped = round(share * cells)
        streams = image_generators(seed, ids, "occlusion", draw)
        order_np = np.stack([stream.permutation(cells) for stream in streams])  # the same for every share
        self._kept_ngg = torch.from_numpy(order_np >= dropped).reshape(-1, *grid)

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        kept_bgg = self._kept_ngg[numbers].to(pixels_bchw.device)
        return pixels_bchw * upsample(kept_bgg, pixels_bchw.shape[2:])[:, None]


def upsample(cells_bgg: Tensor, size: tuple[int, ...]) -> Tensor:
    """Cells of a grid as pixels [b,h,w]; where it does not divide the size, some cells are a pixel larger."""
    rows, columns = (
        torch.arange(pixels, device=cells_bgg.device) * cells // pixels
        for pixels, cells in zip(size, cells_bgg.shape[1:], strict=True)
    )
    return cells_bgg[:, rows[:, None], columns[None, :]]


PROBE = Probe(
    name="occlusion",
    question="How much of an image can be hidden before the model no longer knows it?",
    source="Naseer et al. 2021, arXiv 2105.10497, section 3.1",
    settings=Occlusion,
    run=run,
    needs=frozenset({"classes"}),
    follows=True,
    context=(
        {"name": "DeiT-S, random drop 50 %, accuracy", "value": "70 %", "source": "Naseer et al. 2021", "tag": "paper"},
        {"name": "RN50, random drop 50 %, accuracy", "value": "0.1 %", "source": "Naseer et al. 2021", "tag": "paper"},
    ),
)
