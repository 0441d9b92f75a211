"""How much can be hidden before a model errs? (PatchDrop of Naseer et al. 2021, arXiv 2105.10497.)"""

import functools
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic import NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.probe import Findings, Probe, behave, rows_of
from conceptprobe.probes.framework.responses import Condition, Subject, image_generators
from conceptprobe.probes.framework.settings import Several, Share
from conceptprobe.probes.stimuli.grid import patch_grid, upsample
from conceptprobe.probes.stimuli.saliency import (
    attention_saliency,
    cls_attention_layer,
    holding,
    last_attention,
    mask_saliency,
    ranked,
)
from conceptprobe.validation import CONFIG

LED = ("salient", "non-salient")
MASKED = 0.9
"""Share of images with a mask from which on masks are the guide, where none is named."""


@dataclass(frozen=True, config=CONFIG)
class Occlusion:
    """Settings.

    Attributes:
        kinds: What is dropped, of "random", "salient" and "non-salient" cells of the image, and "tokens": patch tokens
            before a block.
        shares: Shares of the cells to drop.
        grid: Rows and columns that an image is cut into; None takes the model's patches, 14 x 14 where it has none.
        draws: Random masks an image and share.
        guide: What says where an image is salient: "masks"; "attention", what the model's own CLS attends to in its
            last block; or the name of a model whose CLS is asked. None takes masks where nine in ten images have one,
            else attention where the model has it, else leaves those kinds out.
        head: Which head of the guide; None takes the mean of all.
        mass: Whether shares of led drops are of the saliency, as in the paper, and not of the cells: a share Q hides
            the fewest cells that hold Q of it, or all but those that hold 1 - Q.
        token_shares: Shares of the patch tokens to drop.
        blocks: Before which blocks tokens are dropped; None takes the first, the middle and the last.
    """

    kinds: Several[Literal["random", "salient", "non-salient", "tokens"]] = (
        "random", "salient", "non-salient", "tokens"
    )  # fmt: skip
    shares: Several[Share] = (0.1, 0.3, 0.5, 0.7, 0.9)
    grid: tuple[PositiveInt, PositiveInt] | None = None
    draws: PositiveInt = 2
    guide: str | None = None
    head: NonNegativeInt | None = None
    mass: bool = False
    token_shares: Several[Share] = (0.25, 0.5, 0.75)
    blocks: Several[NonNegativeInt] | None = None

    @property
    def led(self) -> tuple[str, ...]:
        """The kinds that need a guide."""
        return tuple(kind for kind in self.kinds if kind in LED)


def check(subject: Subject, items: Items, settings: Occlusion) -> None:
    """Refuse a guide that says nothing of these images, blocks the model lacks, and settings that drop nothing."""
    if settings.led and settings.guide is not None and settings.guide != "masks":
        cls_attention_layer(_guide_model(subject, items, settings.guide), settings.head)
    if items.masks_folder is not None and chosen_guide(subject, items, settings) == "masks":
        items.masks(subject.model)
    last = len(block_inputs(subject.model)) - 1
    if settings.blocks is not None and "tokens" in settings.kinds and max(settings.blocks) > last:
        known = f"0 to {last}" if last >= 0 else "none"
        raise ProbeError(f"block {max(settings.blocks)}: tokens of {subject.model.spec} can be dropped before {known}")
    if not {*settings.kinds} - {*_left_out(subject, items, settings)}:
        raise ProbeError(
            f"{subject.model.spec}: nothing can be dropped of {', '.join(settings.kinds)} without masks, attention or "
            "tokens: take kinds=('random',)"
        )


def run(subject: Subject, items: Items, settings: Occlusion, seed: int) -> Findings:
    """Drop cells, that is, set their pixels to 0 before normalisation; and tokens, that is, set them to 0."""
    grid = settings.grid or patch_grid(subject)
    drops: list[tuple[str, float, int, CellDrop]] = []
    if "random" in settings.kinds:
        drops += [
            ("random", share, draw, random_drop(items.ids, grid, share, seed, draw))
            for share in settings.shares
            for draw in range(settings.draws)
        ]
    guide = chosen_guide(subject, items, settings)
    if guide is not None:
        saliency_nc = _saliency(subject, items, settings, guide, grid)
        order_nc = ranked(saliency_nc, items.ids, seed)
        drops += [
            (kind, share, 0, led_drop(saliency_nc, order_nc, kind, share, settings.mass, grid))
            for kind in settings.led
            for share in settings.shares
        ]
    conditions = [Condition(kind, share, draw, drop) for kind, share, draw, drop in drops]
    if "tokens" in settings.kinds:
        conditions += token_drops(subject.model, items.ids, settings, seed)
    findings = behave(subject, items, conditions, seed)
    counted = [
        rows_of("share of cells dropped", Condition(kind, share), items.ids, drop.share_n)
        for kind, share, _, drop in drops
        if kind in LED and settings.mass
    ]
    rows = pd.concat([findings.rows, *counted], ignore_index=True)
    return replace(findings, rows=rows, caveats=_caveats(subject, items, settings, guide))


class CellDrop:
    """Sets cells of a grid to black.

    Args:
        dropped_nc: Which cells of each image, bool [n,cells].
    """

    def __init__(self, dropped_nc: np.ndarray, grid: tuple[int, int]) -> None:
        self.share_n = dropped_nc.mean(1)
        self._kept_ngg = torch.from_numpy(~dropped_nc).reshape(-1, *grid)

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        kept_bgg = self._kept_ngg[numbers].to(pixels_bchw.device)
        return pixels_bchw * upsample(kept_bgg, pixels_bchw.shape[2:])[:, None]


def random_drop(ids: tuple[str, ...], grid: tuple[int, int], share: float, seed: int, draw: int) -> CellDrop:
    """A share of the cells, other ones in each image; those of a smaller share are among those of a larger one."""
    return CellDrop(_random_cells(ids, grid[0] * grid[1], share, seed, draw, "occlusion"), grid)


def led_drop(
    saliency_nc: np.ndarray, order_nc: np.ndarray, kind: str, share: float, mass: bool, grid: tuple[int, int]
) -> CellDrop:
    """The most salient cells, or for "non-salient" the least salient ones.

    Args:
        saliency_nc, order_nc: Of each cell, and the cells with the most salient first.
        mass: Whether the share is one of the saliency and not of the cells.
    """
    if kind == "non-salient" and share == 0:  # 1 of the saliency leaves out cells that have none
        return CellDrop(np.zeros(order_nc.shape, bool), grid)
    if mass:
        held_nc = holding(saliency_nc, order_nc, share if kind == "salient" else 1 - share)
        return CellDrop(held_nc if kind == "salient" else ~held_nc, grid)
    cells = order_nc.shape[1]
    count = round(share * cells)
    dropped_nc = np.zeros(order_nc.shape, bool)
    chosen_nk = order_nc[:, :count] if kind == "salient" else order_nc[:, cells - count :]
    np.put_along_axis(dropped_nc, chosen_nk, True, 1)
    return CellDrop(dropped_nc, grid)


def chosen_guide(subject: Subject, items: Items, settings: Occlusion) -> str | None:
    """The guide of led drops; None where there is none, or no such drop."""
    if not settings.led or settings.guide is not None:
        return settings.guide if settings.led else None
    if items.masked().mean() >= MASKED:
        return "masks"
    return "attention" if last_attention(subject.model) is not None else None


def block_inputs(model: VisionModel) -> list[str]:
    """What each block is given, as a layer that can be changed: the block before it, and for the first `patch_embed`,
    to which positions are still added."""
    named = {layer.name: layer for layer in model.layers if layer.kind == "tokens"}
    blocks = sum(f"blocks.{number}.resid" in named for number in range(len(named)))
    inputs = ["patch_embed", *(f"blocks.{number}.resid" for number in range(blocks - 1))]
    return inputs if blocks and "patch_embed" in named else []


def token_drops(model: VisionModel, ids: tuple[str, ...], settings: Occlusion, seed: int) -> Iterator[Condition]:
    """Drops of patch tokens before each of the blocks."""
    inputs = block_inputs(model)
    if not inputs:
        return
    last = len(inputs) - 1
    for block in settings.blocks or sorted({0, last // 2, last}):
        layer = model.resolve(inputs[block])[0]
        assert layer.grid is not None, layer
        for share in settings.token_shares:
            drop = TokenDrop(layer.name, layer.prefix, ids, layer.grid[0] * layer.grid[1], share, seed)
            yield Condition(f"tokens, block {block}", share, change=drop, context=drop.context)


class TokenDrop:
    """Sets a share of an image's patch tokens to 0 in a layer, other ones in each image; prefix tokens stay.

    It is both a condition's change, which sees which images come, and its context.
    """

    def __init__(self, layer: str, prefix: int, ids: tuple[str, ...], patches: int, share: float, seed: int) -> None:
        self._layer, self._prefix = layer, prefix
        self._kept_np = torch.from_numpy(~_random_cells(ids, patches, share, seed, 0, "tokens"))
        self._numbers = np.zeros(0, np.int64)

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        self._numbers = numbers
        return pixels_bchw

    def context(self, model: VisionModel) -> AbstractContextManager[object]:
        """The model as long as it lacks the tokens."""
        return model.intervene({self._layer: self._drop})

    def _drop(self, acts_btc: Tensor) -> Tensor:
        acts_btc[:, self._prefix :] *= self._kept_np[self._numbers].to(acts_btc.device)[..., None]
        return acts_btc


def _random_cells(ids: tuple[str, ...], cells: int, share: float, seed: int, draw: int, what: str) -> np.ndarray:
    """A share of the cells of each image, bool [n,cells]; the order that they are taken in is the same for every
    share."""
    order_nc = np.stack([stream.permutation(cells) for stream in image_generators(seed, ids, what, draw)])
    return order_nc < round(share * cells)


def _guide_model(subject: Subject, items: Items, guide: str) -> VisionModel:
    if guide == "attention":
        return subject.model
    return items.memory.get(("guide", guide), functools.partial(load_model, guide))


def _saliency(subject: Subject, items: Items, settings: Occlusion, guide: str, grid: tuple[int, int]) -> np.ndarray:
    if guide == "masks":
        return mask_saliency(items, subject.model, grid)
    return attention_saliency(_guide_model(subject, items, guide), items, grid, settings.head)


def _left_out(subject: Subject, items: Items, settings: Occlusion) -> tuple[str, ...]:
    """The kinds that this model and these images do not allow."""
    led = settings.led if chosen_guide(subject, items, settings) is None else ()
    tokens = () if block_inputs(subject.model) or "tokens" not in settings.kinds else ("tokens",)
    return (*led, *tokens)


def _caveats(subject: Subject, items: Items, settings: Occlusion, guide: str | None) -> tuple[str, ...]:
    spec = subject.model.spec
    notes = []
    if guide == "masks":
        without = int((~items.masked()).sum())
        all_object = f"; {without} images without a mask count as object all over" if without else ""
        notes.append(f"Salient is what the objects' masks show{all_object}.")
    elif guide is not None:
        whose = f"{spec}: salient is what its own" if guide == "attention" else f"Salient is what {guide}'s"
        head = "the mean of its heads" if settings.head is None else f"head {settings.head}"
        notes.append(f"{whose} CLS attends to in the last block, {head}.")
    if settings.mass and guide is not None:
        notes.append("x of led drops is a share of the saliency; `share of cells dropped` says of how many cells.")
    if left_out := _left_out(subject, items, settings):
        notes.append(
            f"{spec}: {', '.join(left_out)} left out, for want of masks, of a CLS token's attention, or tokens."
        )
    return tuple(notes)


PROBE = Probe(
    name="occlusion",
    question="How much of an image can be hidden before the model no longer knows it?",
    source="Naseer et al. 2021, arXiv 2105.10497, section 3.1",
    settings=Occlusion,
    run=run,
    axes={"": "share of patches dropped"},
    check=check,
    needs=frozenset({"answers"}),
    needs_more=lambda settings: frozenset({"masks"} if settings.led and settings.guide == "masks" else ()),
    follows=True,
    context=(
        {"name": "DeiT-S, random drop 50 %, accuracy", "value": "70 %", "source": "Naseer et al. 2021", "tag": "paper"},
        {"name": "RN50, random drop 50 %, accuracy", "value": "0.1 %", "source": "Naseer et al. 2021", "tag": "paper"},
        *(
            {"name": f"{name}, random drop 50 %, r of the final CLS (RN50: of the features before the logits)",
             "value": value, "source": "Naseer et al. 2021", "tag": "paper"}
            for name, value in (("RN50", ".13"), ("DeiT-B", ".77"), ("ViT-L", ".81"))
        ),
    ),
)  # fmt: skip
