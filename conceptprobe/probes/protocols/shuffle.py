"""Does the order of an image's parts matter? (Patch shuffling of Naseer et al. 2021, arXiv 2105.10497, section 3.3.)"""

import numpy as np
import torch
from pydantic import PositiveInt
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.probe import Findings, Probe, behave
from conceptprobe.probes.framework.responses import Condition, Subject, image_generators
from conceptprobe.probes.framework.settings import Several
from conceptprobe.validation import CONFIG


@dataclass(frozen=True, config=CONFIG)
class Shuffle:
    """Settings.

    Attributes:
        grids: Rows and columns that an image is cut into, one curve point each; x is the number of parts.
        draws: Random orders an image and grid.
    """

    grids: Several[tuple[PositiveInt, PositiveInt]] = ((2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (14, 14), (16, 16))
    draws: PositiveInt = 2


def fitting_grids(subject: Subject, settings: Shuffle) -> list[tuple[int, int]]:
    """The grids that divide the model's images.

    Raises:
        ProbeError: None does.
    """
    size = subject.model.image_size
    fitting = [grid for grid in settings.grids if not (size[0] % grid[0] or size[1] % grid[1])]
    if not fitting:
        raise ProbeError(f"none of the grids {settings.grids} divides the images of {subject.model.spec}, {size}")
    return fitting


def run(subject: Subject, items: Items, settings: Shuffle, seed: int) -> Findings:
    """Cut every image into the grid's parts and put them together in another order.

    A grid that does not divide the model's image is left out and named: parts of unequal size cannot change places.
    """
    size = subject.model.image_size
    fitting = fitting_grids(subject, settings)
    conditions = [
        Condition(
            "shuffled", rows * columns, draw, Shuffled(orders(items.ids, (rows, columns), seed, draw), (rows, columns))
        )
        for rows, columns in fitting
        for draw in range(settings.draws)
    ]
    findings = behave(subject, items, conditions, seed)
    left_out = [f"{rows} x {columns}" for rows, columns in settings.grids if (rows, columns) not in fitting]
    if not left_out:
        return findings
    note = f"{subject.model.spec}: {', '.join(left_out)} left out, which do not divide {size[0]} x {size[1]} pixels."
    return Findings(findings.rows, findings.features, findings.survival, caveats=(note,))


def orders(ids: tuple[str, ...], grid: tuple[int, int], seed: int, draw: int) -> np.ndarray:
    """A random order of the parts for each image, int64 [n,parts]."""
    streams = image_generators(seed, ids, f"shuffle {grid}", draw)
    return np.stack([stream.permutation(grid[0] * grid[1]) for stream in streams])


class Shuffled:
    """Puts part `order[i]` of an image at place i."""

    def __init__(self, order_np: np.ndarray, grid: tuple[int, int]) -> None:
        self._order_np, self._grid = torch.from_numpy(order_np), grid

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        rows, columns = self._grid
        height, width = (size // parts for size, parts in zip(pixels_bchw.shape[2:], self._grid, strict=True))
        cut = pixels_bchw.unflatten(2, (rows, height)).unflatten(4, (columns, width))  # [b,c,rows,h,columns,w]
        parts_bpchw = cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        order_bp = self._order_np[numbers].to(pixels_bchw.device)
        moved = parts_bpchw[torch.arange(len(order_bp), device=order_bp.device)[:, None], order_bp]
        return moved.unflatten(1, (rows, columns)).permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


PROBE = Probe(
    name="shuffle",
    question="Does the order of an image's parts matter to the model?",
    source="Naseer et al. 2021, arXiv 2105.10497, section 3.3",
    settings=Shuffle,
    run=run,
    axes={"": "parts"},
    check=lambda subject, items, settings: fitting_grids(subject, settings),
    needs=frozenset({"answers"}),
    follows=True,
)
