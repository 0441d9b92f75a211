"""Does a model know an object without its background, and the background without the object? (Foreground-only and
background-only images after Ghiasi et al. 2022, arXiv 2212.06727, section 5.)"""

from typing import Literal

import numpy as np
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.probe import Findings, Probe, behave
from conceptprobe.probes.framework.responses import Condition, Subject
from conceptprobe.validation import CONFIG


@dataclass(frozen=True, config=CONFIG)
class Background:
    """Settings.

    Attributes:
        fill: What takes the place of what is left out, of "mean" (the mean colour of the model's normalisation, which
            the model sees as 0), "black" or "white".
    """

    fill: Literal["mean", "black", "white"] = "mean"


def run(subject: Subject, items: Items, settings: Background, seed: int) -> Findings:
    """Show only what the mask shows, then only the rest."""
    masks_nhw = items.masks(subject.model)
    colour = {"mean": subject.model.preprocessing["mean"], "black": [0.0] * 3, "white": [1.0] * 3}[settings.fill]
    fill_c = torch.tensor(colour, dtype=torch.float32, device="cpu")
    conditions = [
        Condition("foreground only", 1, change=Shown(masks_nhw, fill_c)),
        Condition("background only", 2, change=Shown(~masks_nhw, fill_c)),
    ]
    findings = behave(subject, items, conditions, seed)
    share = float(masks_nhw.float().mean())
    note = f"The masks show {share:.0%} of the pixels; where images were drawn on one colour, the background is blank."
    return findings.with_caveat(note)


class Shown:
    """Shows a part of each image and fills the rest with a colour."""

    def __init__(self, shown_nhw: Tensor, fill_c: Tensor) -> None:
        self._shown_nhw, self._fill_c = shown_nhw, fill_c

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
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
    context=tuple(
        {"name": f"{name}, top-5 of the unchanged, foreground / background", "value": value,
         "source": "Ghiasi et al. 2022", "tag": "paper"}
        for name, value in (("ViT-B/16", "95.64 / 31.59 %"), ("ResNet-50", "89.69 / 18.69 %"))
    ),
)  # fmt: skip
