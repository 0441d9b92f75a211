"""What changes with the size of the patches?

Source: other probes over checkpoints of several patch sizes, as in the tables of Caron et al. 2021, arXiv 2104.14294,
and Naseer et al. 2021, arXiv 2105.10497.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import pandas as pd
from pydantic.dataclasses import dataclass

from conceptprobe.models import VisionModel
from conceptprobe.probes.classifiers.readout import residual_layers
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import Findings, Probe, published
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.settings import Several
from conceptprobe.probes.protocols import attention_distance, background, cls_attention, cutout, occlusion, shuffle
from conceptprobe.probes.protocols.attention_distance import AttentionDistance
from conceptprobe.probes.protocols.background import Background
from conceptprobe.probes.protocols.cls_attention import ORACLE, RANDOM_ORACLE, ClsAttention
from conceptprobe.probes.protocols.cutout import Cutout
from conceptprobe.probes.protocols.occlusion import Occlusion
from conceptprobe.probes.protocols.shuffle import Shuffle
from conceptprobe.validation import CONFIG

CONFOUNDS = (
    "Checkpoints of different patch sizes differ in more than that: mostly in the number of tokens and so in compute, "
    "often in width, depth, training images and recipe. A difference shown here is one between checkpoints; it is due "
    "to the patch size only where all else was the same."
)


@dataclasses.dataclass(frozen=True, eq=False)
class ComparedProbe:
    """A probe that is run on every patch size.

    Attributes:
        probe: The probe.
        settings: Its settings here.
        series: The series that are taken over; None takes all.
        last_block: Whether x is a block and only the last one is taken.
    """

    probe: Probe
    settings: Any
    series: tuple[str, ...] | None = None
    last_block: bool = False


COMPARED: dict[str, ComparedProbe] = {
    compared.probe.name: compared
    for compared in (
        ComparedProbe(attention_distance.PROBE, AttentionDistance(), ("mean of heads",)),
        ComparedProbe(background.PROBE, Background()),
        ComparedProbe(
            cls_attention.PROBE,
            ClsAttention(shown=0),
            (ORACLE, RANDOM_ORACLE, "fixed head", "mean map", "centre", "best patches"),
            last_block=True,
        ),
        ComparedProbe(cutout.PROBE, Cutout(shares=(0.2,))),
        # One grid for all models, because holes of the size of a model's patches would make other images for each.
        ComparedProbe(occlusion.PROBE, Occlusion(kinds=("random",), shares=(0.5,), grid=(14, 14), draws=3)),
        ComparedProbe(shuffle.PROBE, Shuffle(grids=((2, 2), (4, 4)))),
    )
}


@dataclass(frozen=True, config=CONFIG)
class PatchSize:
    """Settings.

    Attributes:
        probes: The probes that are run.
    """

    probes: Several[Literal["attention_distance", "background", "cls_attention", "cutout", "occlusion", "shuffle"]] = (
        "attention_distance",
        "occlusion",
        "shuffle",
    )


def patch_pixels(model: VisionModel) -> float:
    """The height of a model's patches in pixels.

    Raises:
        ProbeError: The model has no patches.
    """
    grids = [layer.grid for layer in model.layers if layer.kind == "tokens" and layer.grid is not None]
    if not grids:
        raise ProbeError(f"patch_size compares ViTs, and {model.spec} has no patches")
    return model.image_size[0] / grids[0][0]


def check(probed: ProbedModel, images: ProbeImages, settings: PatchSize) -> None:
    """Refuse a model that one of the probes refuses."""
    for name in settings.probes:
        COMPARED[name].probe.check(probed, images, COMPARED[name].settings)


def check_models(models: Sequence[VisionModel], settings: PatchSize) -> None:
    """Refuse a model without patches, and models with patches of one size."""
    sizes = {model.spec: patch_pixels(model) for model in models}
    if len({*sizes.values()}) < 2:
        listed = ", ".join(f"{spec} ({pixels:g} pixels)" for spec, pixels in sizes.items())
        raise ProbeError(
            f"patch_size compares models of different patch sizes, got {listed}: give two or more of those"
        )


def run(probed: ProbedModel, images: ProbeImages, settings: PatchSize, seed: int) -> Findings:
    """Run all probes on one model with its patch size as x; their x goes into the names of the series."""
    x = patch_pixels(probed.model)
    rows, features, survival, caveats = [], [], [], [CONFOUNDS, facts(probed.model)]
    for name in settings.probes:
        compared = COMPARED[name]
        followed = probed if compared.probe.follows else replace(probed, layers=())
        findings = compared.probe.run(followed, images, compared.settings, seed)
        kept = findings.rows
        if compared.series is not None:
            kept = kept[kept["series"].isin(compared.series)]
        if compared.last_block:
            kept = kept[kept["x"] == kept["x"].max()]
        rows.append(at_patch_size(kept, name, x, keep_x=not compared.last_block))
        features.append(at_patch_size(findings.features, name, x))
        survival.append(at_patch_size(findings.survival, name, x))
        caveats += findings.caveats
    together = pd.concat(rows, ignore_index=True)
    once = together.drop_duplicates(["metric", "series", "draw", "image"], ignore_index=True)  # each probe has `clean`
    return Findings(once, _join(features), _join(survival), caveats=tuple(caveats))


def facts(model: VisionModel) -> str:
    """What else differs between checkpoints, as far as the model shows it."""
    grid = next(layer.grid for layer in model.layers if layer.kind == "tokens" and layer.grid is not None)
    residuals = residual_layers(model)
    millions = sum(weight.numel() for weight in model.module.parameters()) / 1e6
    return (
        f"{model.spec}: patches of {patch_pixels(model):g} pixels, {grid[0]} x {grid[1]} of them in images of "
        f"{model.image_size[0]} x {model.image_size[1]}; {len(residuals)} blocks of width {residuals[0].width}, "
        f"{millions:.1f} M parameters in all."
    )


def at_patch_size(table: pd.DataFrame, name: str, x: float, *, keep_x: bool = True) -> pd.DataFrame:
    """A probe's table with the patch size as x and, with `keep_x`, its x in the names of the series."""
    if table.empty:
        return table
    labels = {
        (series, point): "clean" if series == "clean" else f"{name}: {series}" + (f" {point:g}" if keep_x else "")
        for series, point in table[["series", "x"]].drop_duplicates().itertuples(index=False)
    }
    keys = zip(table["series"], table["x"], strict=True)
    return table.assign(series=[labels[key] for key in keys], x=x)


def _join(tables: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()


PROBE = Probe(
    name="patch_size",
    question="What changes between checkpoints with patches of different sizes?",
    source="Caron et al. 2021, arXiv 2104.14294; Naseer et al. 2021, arXiv 2105.10497",
    settings=PatchSize,
    run=run,
    check=check,
    check_models=check_models,
    needs_more=lambda settings: frozenset().union(*(COMPARED[name].probe.needs for name in settings.probes)),
    x_of_model=True,
    axes={"": "height of a patch in pixels"},
    follows=True,
    context=published(
        "Caron et al. 2021",
        "paper",
        {
            "ViT-S/16, Jaccard of masks, random / supervised / DINO": "22.0 / 27.3 / 45.9",
            "ViT-S/8, Jaccard of masks, random / supervised / DINO": "21.8 / 23.7 / 44.7",
        },
    ),
)
