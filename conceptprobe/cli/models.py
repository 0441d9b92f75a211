"""`conceptprobe models`."""

import json
from typing import Annotated

import typer


def models(
    contains: Annotated[str, typer.Argument(help="Only specs that contain this text.")] = "",
    family: Annotated[str | None, typer.Option(help="open_clip, timm, torchvision or mini.")] = None,
    layers: Annotated[bool, typer.Option("--layers", help="Load the one model named and list its layers.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models that can be loaded, or the layers of one."""
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
