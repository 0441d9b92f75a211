"""Does the order of an image's parts matter?

Source: patch shuffling of Naseer et al. 2021, arXiv 2105.10497, section 3.3.
"""

import numpy as np
import torch
from pydantic import PositiveInt
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import Findings, Probe, run_conditions
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.randomness import image_generators
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.framework.settings import Several
from conceptprobe.validation import CONFIG


@dataclass(frozen=True, config=CONFIG)
class Shuffle:
    """Settings.

    Attributes:
        grids: Rows and columns that an image is cut into, a point of the curve each; x is the number of cells.
        draws: Random orders for each image and grid.
    """

    grids: Several[tuple[PositiveInt, PositiveInt]] = ((2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (14, 14), (16, 16))
    draws: PositiveInt = 2


def fitting_grids(probed: ProbedModel, settings: Shuffle) -> list[tuple[int, int]]:
    """The grids that divide the model's images.

    Raises:
        ProbeError: No grid does.
    """
    size = probed.model.image_size
    fitting = [grid for grid in settings.grids if not (size[0] % grid[0] or size[1] % grid[1])]
    if not fitting:
        raise ProbeError(f"none of the grids {settings.grids} divides the images of {probed.model.spec}, {size}")
    return fitting


def run(probed: ProbedModel, images: ProbeImages, settings: Shuffle, seed: int) -> Findings:
    """Cut every image into the cells of a grid and put them together in another order.

    A grid that does not divide the model's image is left out and named in a caveat, because cells of unequal size
    cannot be exchanged.
    """
    size = probed.model.image_size
    fitting = fitting_grids(probed, settings)
    conditions = [
        Condition(
            "shuffled", rows * columns, draw, Shuffled(orders(images.ids, (rows, columns), seed, draw), (rows, columns))
        )
        for rows, columns in fitting
        for draw in range(settings.draws)
    ]
    findings = run_conditions(probed, images, conditions, seed)
    left_out = [f"{rows} x {columns}" for rows, columns in settings.grids if (rows, columns) not in fitting]
    if not left_out:
        return findings
    note = f"{probed.model.spec}: {', '.join(left_out)} left out, which do not divide {size[0]} x {size[1]} pixels."
    return findings.with_caveat(note)


def orders(ids: tuple[str, ...], grid: tuple[int, int], seed: int, draw: int) -> np.ndarray:
    """A random order of the cells for each image, int64 [n,cells]."""
    streams = image_generators(seed, ids, f"shuffle {grid}", draw)
    return np.stack([stream.permutation(grid[0] * grid[1]) for stream in streams])


class Shuffled:
    """Puts cell `order[i]` of an image at position i.

    Args:
        order_np: The order of each image.
        grid: Rows and columns of the cells.
    """

    def __init__(self, order_np: np.ndarray, grid: tuple[int, int]) -> None:
        self._order_np, self._grid = torch.from_numpy(order_np), grid

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        """Shuffle the cells of a batch of images."""
        rows, columns = self._grid
        batch, channels, height, width = pixels_bchw.shape
        cut = pixels_bchw.reshape(batch, channels, rows, height // rows, columns, width // columns)
        cells_bpchw = cut.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        order_bp = self._order_np[numbers].to(pixels_bchw.device)
        moved = cells_bpchw[torch.arange(batch, device=order_bp.device)[:, None], order_bp]
        laid = moved.reshape(batch, rows, columns, channels, height // rows, width // columns)
        return laid.permute(0, 3, 1, 4, 2, 5).reshape(pixels_bchw.shape)


PROBE = Probe(
    name="shuffle",
    question="Does the order of an image's parts matter to the model?",
    source="Naseer et al. 2021, arXiv 2105.10497, section 3.3",
    settings=Shuffle,
    run=run,
    axes={"": "parts"},
    check=lambda probed, images, settings: fitting_grids(probed, settings),
    needs=frozenset({"answers"}),
    follows=True,
)
