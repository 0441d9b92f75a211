"""How much can be hidden before a model errs?

Source: PatchDrop of Naseer et al. 2021, arXiv 2105.10497.
"""

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass

from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import Findings, Probe, published, rows_of, run_conditions
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.framework.settings import Several, Share
from conceptprobe.probes.stimuli.drops import CellDrop, TokenDrop, guided_drop, random_drop
from conceptprobe.probes.stimuli.grid import patch_grid
from conceptprobe.probes.stimuli.saliency import (
    attention_saliency,
    cls_attention_layer,
    last_attention,
    mask_saliency,
    rank_cells,
)
from conceptprobe.validation import CONFIG

GUIDED = ("salient", "non-salient")
MASKED = 0.9
"""The least share of images with a mask for masks to be the default guide."""


@dataclass(frozen=True, config=CONFIG)
class Occlusion:
    """Settings.

    Attributes:
        kinds: What is dropped, of "random", "salient" and "non-salient" cells of the image, and "tokens" for patch
            tokens before a block.
        shares: Shares of the cells to drop.
        grid: Rows and columns of the cells; None takes the model's patches, or 14 x 14 where it has none.
        draws: Random masks for each image and share.
        guide: What defines the saliency: "masks"; "attention", that of the model's CLS in its last block; or the spec
            of a model whose CLS attention is taken. None takes masks where nine in ten images have one, else attention
            where the model has it, else leaves the salient and non-salient kinds out.
        head: The attention head of the guide; None takes the mean of all.
        mass: Whether shares of guided drops are shares of the saliency, as in the paper, and not of the cells: a share
            Q hides the fewest cells that hold Q of it, or all but those that hold 1 - Q.
        token_shares: Shares of the patch tokens to drop.
        blocks: The blocks before which tokens are dropped; None takes the first, the middle and the last.
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
    def guided(self) -> tuple[str, ...]:
        """The kinds that need a guide."""
        return tuple(kind for kind in self.kinds if kind in GUIDED)


def check(probed: ProbedModel, images: ProbeImages, settings: Occlusion) -> None:
    """Refuse a guide without saliency, blocks that the model lacks, and settings that drop nothing."""
    if settings.guided and settings.guide is not None and settings.guide != "masks":
        cls_attention_layer(_guide_model(probed, images, settings.guide), settings.head)
    if images.masks_folder is not None and chosen_guide(probed, images, settings) == "masks":
        images.masks(probed.model)
    last = len(block_inputs(probed.model)) - 1
    if settings.blocks is not None and "tokens" in settings.kinds and max(settings.blocks) > last:
        known = f"0 to {last}" if last >= 0 else "none"
        raise ProbeError(f"block {max(settings.blocks)}: tokens of {probed.model.spec} can be dropped before {known}")
    if not {*settings.kinds} - {*_left_out(probed, images, settings)}:
        raise ProbeError(
            f"{probed.model.spec}: nothing can be dropped of {', '.join(settings.kinds)} without masks, attention or "
            "tokens: take kinds=('random',)"
        )


def run(probed: ProbedModel, images: ProbeImages, settings: Occlusion, seed: int) -> Findings:
    """Drop cells by setting their pixels to 0 before normalisation, and tokens by setting them to 0."""
    grid = settings.grid or patch_grid(probed)
    drops: list[tuple[str, float, int, CellDrop]] = []
    if "random" in settings.kinds:
        drops += [
            ("random", share, draw, random_drop(images.ids, grid, share, seed, draw))
            for share in settings.shares
            for draw in range(settings.draws)
        ]
    guide = chosen_guide(probed, images, settings)
    if guide is not None:
        saliency_nc = _saliency(probed, images, settings, guide, grid)
        order_nc = rank_cells(saliency_nc, images.ids, seed)
        drops += [
            (kind, share, 0, guided_drop(saliency_nc, order_nc, kind, share, settings.mass, grid))
            for kind in settings.guided
            for share in settings.shares
        ]
    conditions = [Condition(kind, share, draw, drop) for kind, share, draw, drop in drops]
    if "tokens" in settings.kinds:
        conditions += token_drops(probed.model, images.ids, settings, seed)
    findings = run_conditions(probed, images, conditions, seed)
    counted = [
        rows_of("share of cells dropped", Condition(kind, share), images.ids, drop.share_n)
        for kind, share, _, drop in drops
        if kind in GUIDED and settings.mass
    ]
    return replace(findings.with_rows(counted), caveats=_caveats(probed, images, settings, guide))


def chosen_guide(probed: ProbedModel, images: ProbeImages, settings: Occlusion) -> str | None:
    """The guide of salient and non-salient drops; None without a guide or without such drops."""
    if not settings.guided or settings.guide is not None:
        return settings.guide if settings.guided else None
    if images.masked().mean() >= MASKED:
        return "masks"
    return "attention" if last_attention(probed.model) is not None else None


def block_inputs(model: VisionModel) -> list[str]:
    """The layer that feeds each block: the output of the block before it.

    For the first block this is `patch_embed`, to which positions are still added.
    """
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


def _guide_model(probed: ProbedModel, images: ProbeImages, guide: str) -> VisionModel:
    if guide == "attention":
        return probed.model
    return images.memory.get(("guide", guide), functools.partial(load_model, guide))


def _saliency(
    probed: ProbedModel, images: ProbeImages, settings: Occlusion, guide: str, grid: tuple[int, int]
) -> np.ndarray:
    if guide == "masks":
        return mask_saliency(images, probed.model, grid)
    return attention_saliency(_guide_model(probed, images, guide), images, grid, settings.head)


def _left_out(probed: ProbedModel, images: ProbeImages, settings: Occlusion) -> tuple[str, ...]:
    """The kinds that are impossible for this model and these images."""
    guided = settings.guided if chosen_guide(probed, images, settings) is None else ()
    tokens = () if block_inputs(probed.model) or "tokens" not in settings.kinds else ("tokens",)
    return (*guided, *tokens)


def _caveats(probed: ProbedModel, images: ProbeImages, settings: Occlusion, guide: str | None) -> tuple[str, ...]:
    spec = probed.model.spec
    notes = []
    if guide == "masks":
        without = int((~images.masked()).sum())
        all_object = f"; {without} images without a mask count as object all over" if without else ""
        notes.append(f"Salient is what the objects' masks show{all_object}.")
    elif guide is not None:
        whose = f"{spec}: salient is what its own" if guide == "attention" else f"Salient is what {guide}'s"
        head = "the mean of its heads" if settings.head is None else f"head {settings.head}"
        notes.append(f"{whose} CLS attends to in the last block, {head}.")
    if settings.mass and guide is not None:
        notes.append("x of led drops is a share of the saliency; `share of cells dropped` says of how many cells.")
    if left_out := _left_out(probed, images, settings):
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
    needs_more=lambda settings: frozenset({"masks"} if settings.guided and settings.guide == "masks" else ()),
    follows=True,
    context=published(
        "Naseer et al. 2021",
        "paper",
        {
            "DeiT-S, random drop 50 %, accuracy": "70 %",
            "RN50, random drop 50 %, accuracy": "0.1 %",
            "RN50, random drop 50 %, r of the final CLS (RN50: of the features before the logits)": ".13",
            "DeiT-B, random drop 50 %, r of the final CLS (RN50: of the features before the logits)": ".77",
            "ViT-L, random drop 50 %, r of the final CLS (RN50: of the features before the logits)": ".81",
        },
    ),
)
