"""Does a model know an object without its background, and the background without the object?

Source: foreground-only and background-only images after Ghiasi et al. 2022, arXiv 2212.06727, section 5.
"""

from typing import Literal

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import Findings, Probe, published, run_conditions
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.validation import CONFIG


@dataclass(frozen=True, config=CONFIG)
class Background:
    """Settings.

    Attributes:
        fill: The colour of the hidden pixels: "mean" (that of the model's normalisation, which the model sees as 0),
            "black" or "white".
    """

    fill: Literal["mean", "black", "white"] = "mean"


def run(probed: ProbedModel, images: ProbeImages, settings: Background, seed: int) -> Findings:
    """Show only the object, then only the background."""
    masks_nhw = images.masks(probed.model)
    colour = {"mean": probed.model.preprocessing["mean"], "black": [0.0] * 3, "white": [1.0] * 3}[settings.fill]
    fill_c = torch.tensor(colour, dtype=torch.float32, device="cpu")
    conditions = [
        Condition("foreground only", 1, change=Masked(masks_nhw, fill_c)),
        Condition("background only", 2, change=Masked(~masks_nhw, fill_c)),
    ]
    findings = run_conditions(probed, images, conditions, seed)
    share = float(masks_nhw.float().mean())
    note = f"The masks show {share:.0%} of the pixels; where images were drawn on one colour, the background is blank."
    return findings.with_caveat(note)


class Masked:
    """Shows each image inside a mask and fills the rest with a colour.

    Args:
        shown_nhw: The masks.
        fill_c: The colour.
    """

    def __init__(self, shown_nhw: Tensor, fill_c: Tensor) -> None:
        self._shown_nhw, self._fill_c = shown_nhw, fill_c

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        """Fill a batch of images outside their masks."""
        shown = self._shown_nhw[numbers].to(pixels_bchw.device)[:, None]
        return torch.where(shown, pixels_bchw, self._fill_c.to(pixels_bchw.device)[:, None, None])


PROBE = Probe(
    name="background",
    question="Does the model know an object without its background, and a background without its object?",
    source="Ghiasi et al. 2022, arXiv 2212.06727, section 5",
    settings=Background,
    run=run,
    needs=frozenset({"answers", "masks"}),
    follows=True,
    context=published(
        "Ghiasi et al. 2022",
        "paper",
        {
            "ViT-B/16, top-5 of the unchanged, foreground / background": "95.64 / 31.59 %",
            "ResNet-50, top-5 of the unchanged, foreground / background": "89.69 / 18.69 %",
        },
    ),
)
