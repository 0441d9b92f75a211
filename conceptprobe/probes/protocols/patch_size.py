"""What changes with the size of the patches? (Other probes over checkpoints of several patch sizes, as in the tables of
Caron et al. 2021, arXiv 2104.14294, and Naseer et al. 2021, arXiv 2105.10497.)"""

import dataclasses
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import pandas as pd
from pydantic.dataclasses import dataclass

from conceptprobe.models import VisionModel
from conceptprobe.probes.classifiers.readout import residual_layers
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.probe import Findings, Probe
from conceptprobe.probes.framework.responses import Subject
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
class Part:
    """A probe with what it is asked here.

    Attributes:
        series: The curves taken over; None takes all.
        last_block: Whether x is a block, of which the last is taken.
    """

    probe: Probe
    settings: Any
    series: tuple[str, ...] | None = None
    last_block: bool = False


PARTS: dict[str, Part] = {
    part.probe.name: part
    for part in (
        Part(attention_distance.PROBE, AttentionDistance(), ("mean of heads",)),
        Part(background.PROBE, Background()),
        Part(
            cls_attention.PROBE,
            ClsAttention(shown=0),
            (ORACLE, RANDOM_ORACLE, "fixed head", "mean map", "centre", "best patches"),
            last_block=True,
        ),
        Part(cutout.PROBE, Cutout(shares=(0.2,))),
        # One grid for all models: holes as large as a model's own patches would be other images for each of them.
        Part(occlusion.PROBE, Occlusion(kinds=("random",), shares=(0.5,), grid=(14, 14), draws=3)),
        Part(shuffle.PROBE, Shuffle(grids=((2, 2), (4, 4)))),
    )
}


@dataclass(frozen=True, config=CONFIG)
class PatchSize:
    """Settings.

    Attributes:
        probes: Which probes the models are asked.
    """

    probes: Several[Literal["attention_distance", "background", "cls_attention", "cutout", "occlusion", "shuffle"]] = (
        "attention_distance",
        "occlusion",
        "shuffle",
    )


def patch_pixels(model: VisionModel) -> float:
    """The height of a model's patches in pixels.

    Raises:
        ProbeError: It has none.
    """
    grids = [layer.grid for layer in model.layers if layer.kind == "tokens" and layer.grid is not None]
    if not grids:
        raise ProbeError(f"patch_size compares ViTs, and {model.spec} has no patches")
    return model.image_size[0] / grids[0][0]


def check(subject: Subject, items: Items, settings: PatchSize) -> None:
    """Refuse a model that a part refuses."""
    for name in settings.probes:
        PARTS[name].probe.check(subject, items, PARTS[name].settings)


def check_models(models: Sequence[VisionModel], settings: PatchSize) -> None:
    """Refuse a model without patches, and models whose patches are all of one size."""
    sizes = {model.spec: patch_pixels(model) for model in models}
    if len({*sizes.values()}) < 2:
        given = ", ".join(f"{spec} ({pixels:g} pixels)" for spec, pixels in sizes.items())
        raise ProbeError(f"patch_size compares models of different patch sizes, got {given}: give two or more of those")


def run(subject: Subject, items: Items, settings: PatchSize, seed: int) -> Findings:
    """Ask one model all parts, with its patch size as x; what was x goes into the name of the series."""
    x = patch_pixels(subject.model)
    rows, features, survival, caveats = [], [], [], [CONFOUNDS, facts(subject.model)]
    for name in settings.probes:
        part = PARTS[name]
        findings = part.probe.run(_followed(subject, part), items, part.settings, seed)
        kept = findings.rows if part.series is None else findings.rows[findings.rows["series"].isin(part.series)]
        if part.last_block:
            kept = kept[kept["x"] == kept["x"].max()]
        rows.append(at_patch_size(kept, name, x, own_x=not part.last_block))
        features.append(at_patch_size(findings.features, name, x))
        survival.append(at_patch_size(findings.survival, name, x))
        caveats += findings.caveats
    together = pd.concat(rows, ignore_index=True)
    once = together.drop_duplicates(["metric", "series", "draw", "image"], ignore_index=True)  # each part has `clean`
    return Findings(once, _join(features), _join(survival), caveats=tuple(caveats))


def facts(model: VisionModel) -> str:
    """What else differs between checkpoints, as far as the model itself tells."""
    grid = next(layer.grid for layer in model.layers if layer.kind == "tokens" and layer.grid is not None)
    residuals = residual_layers(model)
    millions = sum(weight.numel() for weight in model.module.parameters()) / 1e6
    return (
        f"{model.spec}: patches of {patch_pixels(model):g} pixels, {grid[0]} x {grid[1]} of them in images of "
        f"{model.image_size[0]} x {model.image_size[1]}; {len(residuals)} blocks of width {residuals[0].width}, "
        f"{millions:.1f} M parameters in all."
    )


def at_patch_size(table: pd.DataFrame, name: str, x: float, *, own_x: bool = True) -> pd.DataFrame:
    """A table of a part with the patch size as x, and, with `own_x`, what was x in the name of the series."""
    if table.empty:
        return table
    labels = {
        (series, own): "clean" if series == "clean" else f"{name}: {series}" + (f" {own:g}" if own_x else "")
        for series, own in table[["series", "x"]].drop_duplicates().itertuples(index=False)
    }
    keys = zip(table["series"], table["x"], strict=True)
    return table.assign(series=[labels[key] for key in keys], x=x)


def _followed(subject: Subject, part: Part) -> Subject:
    """The subject as a run of the part alone would have it."""
    return subject if part.probe.follows else replace(subject, layers=())


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
    needs_more=lambda settings: frozenset().union(*(PARTS[name].probe.needs for name in settings.probes)),
    x_of_model=True,
    axes={"": "height of a patch in pixels"},
    follows=True,
    context=tuple(
        {"name": f"ViT-S/{patch}, Jaccard of masks, random / supervised / DINO", "value": value,
         "source": "Caron et al. 2021", "tag": "paper"}
        for patch, value in ((16, "22.0 / 27.3 / 45.9"), (8, "21.8 / 23.7 / 44.7"))
    ),
)  # fmt: skip
