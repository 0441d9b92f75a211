"""`conceptprobe search`."""

import json
from pathlib import Path
from typing import Annotated

import typer


def search(
    path: Annotated[Path, typer.Argument(help="An index directory.")],
    feature: Annotated[
        str | None, typer.Option(help="Top images of a feature, such as blocks.5.mlp.hidden:12.")
    ] = None,
    neighbours: Annotated[str | None, typer.Option(help="Features that fire on the same images as this one.")] = None,
    image: Annotated[str | None, typer.Option(help="Images that the model finds similar to this image id.")] = None,
    layer: Annotated[str | None, typer.Option(help="Layer for --image; by default the last.")] = None,
    pooling: Annotated[str | None, typer.Option(help="Pooling for --feature; by default the first.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many.", min=1)] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask an index: a feature's top images, its neighbours, or the images similar to one."""
    if sum(option is not None for option in (feature, neighbours, image)) != 1:
        raise typer.BadParameter("give one of --feature, --neighbours and --image")
    from conceptprobe.indexing import open_index

    index = open_index(path)
    names: dict[str, str] = {}
    if neighbours is not None:
        found = [(str(name), value) for name, value in index.neighbours(neighbours, k)]
    else:
        top = index.top(feature, k, pooling) if feature is not None else index.similar_images(str(image), k, layer)
        found = [(id_, float(value)) for id_, value in zip(top.ids, top.values, strict=True)]
        if "label" in index.images:
            rows = index.images[index.images["id"].isin(top.ids)]
            names = {id_: str(label) for id_, label in zip(rows["id"], rows["label"], strict=True)}
    if as_json:
        typer.echo(json.dumps([{"id": name, "value": value} for name, value in found], ensure_ascii=False))
        return
    for name, value in found:
        typer.echo(f"{value:10.4f}  {name}  {names.get(name, '')}".rstrip())
