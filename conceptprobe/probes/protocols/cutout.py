"""What does a square hole cost?

Source: square cutouts of Paul & Chen 2022, arXiv 2105.07581.
"""

import math

import numpy as np
import torch
from pydantic import PositiveInt
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import Findings, Probe, published, run_conditions
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.randomness import image_generators
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.framework.settings import Several, Share
from conceptprobe.validation import CONFIG


@dataclass(frozen=True, config=CONFIG)
class Cutout:
    """Settings.

    Attributes:
        shares: Shares of the image that the square covers.
        draws: Random positions for each image and share.
    """

    shares: Several[Share] = (0.05, 0.1, 0.2, 0.5)
    draws: PositiveInt = 3


def run(probed: ProbedModel, images: ProbeImages, settings: Cutout, seed: int) -> Findings:
    """Blacken a square at a random position wholly inside every image."""
    conditions = [
        Condition("square", share, draw, SquareHole(images.ids, share, seed, draw))
        for share in settings.shares
        for draw in range(settings.draws)
    ]
    return run_conditions(probed, images, conditions, seed)


class SquareHole:
    """Blackens a square of about a share of the pixels, at most as wide as the image's shorter side.

    Args:
        ids: Ids of the images.
        share: The share of the pixels.
        seed: Seed of the run.
        draw: Which of several draws.
    """

    def __init__(self, ids: tuple[str, ...], share: float, seed: int, draw: int) -> None:
        self._share = share
        self._position_n2 = np.stack([stream.random(2) for stream in image_generators(seed, ids, "cutout", draw)])

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        """Blacken the squares of a batch of images."""
        height, width = pixels_bchw.shape[2:]
        side = min(round(math.sqrt(self._share * height * width)), height, width)
        top_b, left_b = (
            torch.from_numpy((self._position_n2[numbers, axis] * (size - side + 1)).astype(np.int64)).to(
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
    context=published(
        "Paul & Chen 2022",
        "code",
        {
            "ViT-L/16, square of 50 %, ImageNet accuracy": "60.4 %",
            "BiT, square of 50 %, ImageNet accuracy": "52.0 %",
        },
    ),
)
