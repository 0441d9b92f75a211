"""`conceptprobe visualize`."""

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conceptprobe.cli.feature_lists import TOP, best_features, listed_features
from conceptprobe.cli.interrupt import resumable
from conceptprobe.cli.options import Device, Json, Seed

if TYPE_CHECKING:
    from conceptprobe.visualization.results.visualizations import Visualizations

CONTACT = "contact.png"


class Animation(StrEnum):
    """Kinds of animation."""

    GIF = "gif"
    WEBP = "webp"


def visualize(
    features: Annotated[
        str,
        typer.Option(
            "--features",
            help="Visualize these features: 0-63, 3,7,12, blocks.5.mlp.hidden:12, top-conceptual:32 or top-object:32 "
            "(with --scores), or the path of a file with one in each line.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="Write the images, their records and contact.png to this folder.")],
    model: Annotated[
        str | None, typer.Option(help="Use this model, such as mini:clip; by default the model of --index.")
    ] = None,
    layer: Annotated[
        list[str] | None,
        typer.Option(
            help="The layers of numbered features: a name, glob or slice; may be repeated. By default the last layer "
            "of --index; for top-*:N all scored layers."
        ),
    ] = None,
    index: Annotated[
        Path | None, typer.Option(help="Compare each image with the natural images of this index of the model.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option(help="The folder that `conceptprobe score --out` wrote, for top-*:N.")
    ] = None,
    preset: Annotated[
        str, typer.Option(help="The method of optimisation: fourier, ghiasi, maco or accentuate.")
    ] = "fourier",
    pooling: Annotated[
        str | None,
        typer.Option(
            help="Maximise the activation pooled by mean, max or cls, or that of the patch of this number; by default "
            "the first pooling of --index, else mean."
        ),
    ] = None,
    specific: Annotated[
        bool,
        typer.Option("--specific", help="Activate each feature more than all others of its layer; this needs --index."),
    ] = False,
    steps: Annotated[int | None, typer.Option(help="The number of steps; by default the preset's.", min=1)] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="N|HxW", help="The size of the images in pixels; by default that of the preset or model."),
    ] = None,
    views: Annotated[
        int | None, typer.Option(help="The augmented copies in each step; by default those of the preset.", min=1)
    ] = None,
    seed: Seed = 0,
    restarts: Annotated[
        int, typer.Option(help="Make this many images of each feature, from different starts.", min=1)
    ] = 1,
    batch: Annotated[
        int | None, typer.Option(help="Optimise this many images at once; by default it depends on the device.", min=1)
    ] = None,
    animate: Annotated[Animation | None, typer.Option(help="Also write the optimisation as an animation.")] = None,
    compile_: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Make images that activate features.

    Give --model, or --index to also see how strongly each image activates its feature compared with natural images.
    """
    top = TOP.fullmatch(features)
    if top is not None and scores is None:
        raise typer.BadParameter(f"--features {features} needs --scores DIR, which `conceptprobe score --out` writes")
    if model is None and index is None:
        raise typer.BadParameter("give --model, or an --index of it")
    if specific and index is None:
        raise typer.BadParameter("--specific needs an --index, which says what is usual for every feature")
    shape = _parse_size(size)
    from conceptprobe.indexing import open_index
    from conceptprobe.indexing.model import model_of
    from conceptprobe.models import load_model
    from conceptprobe.visualization.objectives import objectives
    from conceptprobe.visualization.optimization.presets import get_preset
    from conceptprobe.visualization.results.natural import check_index
    from conceptprobe.visualization.visualize import visualize as make

    chosen_preset = get_preset(preset)
    opened = None if index is None else open_index(index)
    if model is not None:
        loaded = load_model(model, device=device)
    else:
        assert opened is not None
        loaded = model_of(opened, device=device)
    if top is not None and scores is not None:
        chosen = best_features(scores, str(top[1]), int(top[2]), loaded, layer)
    else:
        chosen = listed_features(features, loaded, layer, opened)
    if pooling is None:
        pooling = "mean" if opened is None else opened.pooling
    if opened is not None:
        for name in {feature.layer for feature in chosen}:
            check_index(opened, loaded, name, pooling)
    targets = [
        objectives.specific(feature, opened, pooling)
        if opened is not None and specific
        else objectives.feature(feature, pooling=int(pooling) if pooling.isdecimal() else pooling)
        for feature in chosen
    ]
    with resumable():
        made = make(
            loaded, targets, preset=chosen_preset, index=opened, steps=steps,
            size=shape, views=views, seed=seed, restarts=restarts, batch=batch, out=out,
            animate=None if animate is None else animate.value, compile=compile_, progress=True,
        )  # fmt: skip
    made.contact_sheet(opened).save(out / CONTACT)
    _print(made, out, as_json)


def _print(made: "Visualizations", out: Path, as_json: bool) -> None:
    if as_json:
        rows = json.loads(made.frame.to_json(orient="records", double_precision=15))
        about = {"out": str(out.resolve()), "contact": str((out / CONTACT).resolve()), "images": rows}
        typer.echo(json.dumps(about, ensure_ascii=False))
        return
    from conceptprobe.visualization.results.contact_sheet import caption

    width = max(len(caption(record)[0]) for record in made.records)
    for record in made.records:
        stopped = "" if record.stopped is None else f", stopped at step {record.stopped}: its loss was not finite"
        natural = "" if record.natural is None else f", {caption(record)[1]}"
        typer.echo(f"{caption(record)[0]:{width}}  activation {record.activation:.4g}{natural}{stopped}")
    typer.echo(f"{made}")
    typer.echo(f"images: {out.resolve()}")
    typer.echo(f"contact sheet: {(out / CONTACT).resolve()}")


def _parse_size(size: str | None) -> tuple[int, int] | None:
    if size is None:
        return None
    match = re.fullmatch(r"([1-9][0-9]*)(?:x([1-9][0-9]*))?", size)
    if match is None:
        raise typer.BadParameter(f"--size is {size!r}: write 224, or rows x columns such as 224x320")
    return int(match[1]), int(match[2] or match[1])
