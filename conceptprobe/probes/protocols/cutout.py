"""What does a square hole cost? (Square cutouts of Paul & Chen 2022, arXiv 2105.07581.)"""

import math

import numpy as np
import torch
from pydantic import PositiveInt
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.probe import Findings, Probe, behave
from conceptprobe.probes.framework.responses import Condition, Subject, image_generators
from conceptprobe.probes.framework.settings import Several, Share
from conceptprobe.validation import CONFIG


@dataclass(frozen=True, config=CONFIG)
class Cutout:
    """Settings.

    Attributes:
        shares: Shares of the image that the square takes.
        draws: Random places an image and share.
    """

    shares: Several[Share] = (0.05, 0.1, 0.2, 0.5)
    draws: PositiveInt = 3


def run(subject: Subject, items: Items, settings: Cutout, seed: int) -> Findings:
    """Set a square of every image to black, wholly inside of it, at a random place."""
    conditions = [
        Condition("square", share, draw, SquareHole(items.ids, share, seed, draw))
        for share in settings.shares
        for draw in range(settings.draws)
    ]
    return behave(subject, items, conditions, seed)


class SquareHole:
    """Blackens a square of about a share of the pixels; on an image that is no square, at most as wide as its shorter
    side."""

    def __init__(self, ids: tuple[str, ...], share: float, seed: int, draw: int) -> None:
        self._share = share
        self._place_n2 = np.stack([stream.random(2) for stream in image_generators(seed, ids, "cutout", draw)])

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        height, width = pixels_bchw.shape[2:]
        side = min(round(math.sqrt(self._share * height * width)), height, width)
        top_b, left_b = (
            torch.from_numpy((self._place_n2[numbers, axis] * (size - side + 1)).astype(np.int64)).to(
                pixels_bchw.device
            )
            for axis, size in enumerate((height, width))
        )
        inside_bh, inside_bw = (
            (at >= first_b[:, None]) & (at < first_b[:, None] + side)
            for at, first_b in (
                (torch.arange(height, device=pixels_bchw.device), top_b),
                (torch.arange(width, device=pixels_bchw.device), left_b),
            )
        )
        return pixels_bchw * ~(inside_bh[:, None, :, None] & inside_bw[:, None, None, :])


PROBE = Probe(
    name="cutout",
    question="What does a square hole in an image cost the model?",
    source="Paul & Chen 2022, arXiv 2105.07581",
    settings=Cutout,
    run=run,
    axes={"": "share of the image covered"},
    needs=frozenset({"answers"}),
    follows=True,
    context=tuple(
        {
            "name": f"{name}, square of 50 %, ImageNet accuracy",
            "value": value,
            "source": "Paul & Chen 2022",
            "tag": "code",
        }
        for name, value in (("ViT-L/16", "60.4 %"), ("BiT", "52.0 %"))
    ),
)
