"""`conceptprobe models`."""

import json
from typing import Annotated

import typer

from conceptprobe.cli.options import Json


def models(
    contains: Annotated[
        str, typer.Argument(metavar="TEXT", help="List only models whose spec contains this text.")
    ] = "",
    family: Annotated[
        str | None, typer.Option(help="List only models of this family: open_clip, timm, torchvision or mini.")
    ] = None,
    layers: Annotated[
        bool, typer.Option("--layers", help="Take TEXT as the spec of one model, load it, and list its layers.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the models that can be loaded, or the layers of one model."""
    from conceptprobe.models import list_models, load_model

    if layers:
        model = load_model(contains, device="cpu")
        rows = [
            {"name": x.name, "kind": x.kind, "width": x.width, "prefix": x.prefix, "grid": x.grid} for x in model.layers
        ]
        if as_json:
            typer.echo(json.dumps(rows))
        for row in [] if as_json else rows:
            typer.echo(f"{row['name']:<28} {row['kind']:<9} width {row['width']:<6} grid {row['grid']}")
        return
    specs = [spec for spec in list_models(family) if contains in spec]
    typer.echo(json.dumps(specs) if as_json else "\n".join(specs) or f"no model contains {contains!r}")
