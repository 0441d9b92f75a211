"""`conceptprobe search`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from conceptprobe.indexing import Index

FOUND = 10  # by default
SHOWN = 3


def search(
    paths: Annotated[list[Path], typer.Argument(help="An index directory; several for --text and --like.")],
    text: Annotated[str | None, typer.Option(help="Features whose top images show this, such as music.")] = None,
    like: Annotated[
        str | None,
        typer.Option(help="Features whose top images are like those of a feature, or like an image (an id or a file)."),
    ] = None,
    feature: Annotated[
        str | None, typer.Option(help="Top images of a feature, such as blocks.5.mlp.hidden:12.")
    ] = None,
    neighbours: Annotated[str | None, typer.Option(help="Features that fire on the same images as this one.")] = None,
    image: Annotated[str | None, typer.Option(help="Images that the model finds similar to this image id.")] = None,
    scorer: Annotated[
        str | None,
        typer.Option(help="Model that looks at the images for --text and --like; by default that of the index."),
    ] = None,
    layer: Annotated[
        str | None, typer.Option(help="Layer for --image (by default the last), --text and --like.")
    ] = None,
    pooling: Annotated[str | None, typer.Option(help="Pooling of the lists; by default the first.")] = None,
    k: Annotated[
        int | None, typer.Option("-k", help="How many; by default 10, or all of a shorter list.", min=1)
    ] = None,
    device: Annotated[str, typer.Option(help="Of the scorer: auto, cpu, cuda, cuda:N or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Ask an index: features by a text, an image or a feature, top images of a feature, or images similar to one."""
    if sum(option is not None for option in (text, like, feature, neighbours, image)) != 1:
        raise typer.BadParameter("give one of --text, --like, --feature, --neighbours and --image")
    finds = text is not None or like is not None
    if len(paths) > 1 and not finds:
        raise typer.BadParameter("several indices are for --text and --like")
    from conceptprobe.indexing import open_index

    indices = [open_index(path) for path in paths]
    if finds:
        _print_features(indices, text, like, scorer, layer, pooling, k or FOUND, device, as_json)
        return
    index = indices[0]
    names: dict[str, str] = {}
    if neighbours is not None:
        frame = index.neighbours(neighbours, k or FOUND)
        names_of = frame["layer"] + ":" + frame["feature"].astype(str)
        found = list(zip(names_of, frame["correlation"].astype(float), strict=True))
    else:
        if feature is not None:
            top = index.top(feature, k or min(FOUND, index.manifest.k), pooling)
        else:
            top = index.similar_images(str(image), k or FOUND, layer)
        found = [(id_, float(value)) for id_, value in zip(top.ids, top.values, strict=True)]
        names = _labels(index, top.ids)
    if as_json:
        typer.echo(json.dumps([{"id": name, "value": value} for name, value in found], ensure_ascii=False))
        return
    for name, value in found:
        typer.echo(f"{value:10.4f}  {name}  {names.get(name, '')}".rstrip())


def _labels(index: "Index", ids: tuple[str, ...]) -> dict[str, str]:
    if "label" not in index.images:
        return {}
    rows = index.images[index.images["id"].isin(ids)]
    return {id_: str(label) for id_, label in zip(rows["id"], rows["label"], strict=True)}


def _print_features(
    indices: list["Index"], text: str | None, like: str | None, scorer: str | None, layer: str | None,
    pooling: str | None, k: int, device: str, as_json: bool,
) -> None:  # fmt: skip
    from conceptprobe.models import load_model
    from conceptprobe.search.features import find_features

    query: dict[str, Any] = {"text": text} if like is None else _query_like(like, indices[0])
    model = None if scorer is None else load_model(scorer, device=device)
    found = find_features(indices, **query, scorer=model, layers=layer, pooling=pooling, k=k, progress=True)
    if as_json:
        typer.echo(found.to_json(orient="records", force_ascii=False))
        return
    for row in found.itertuples():
        index = indices[row.index]
        ids = index.top(f"{row.layer}:{row.feature}", min(SHOWN, index.manifest.k), pooling).ids
        labels = _labels(index, ids)
        where = f"{index.path.name}  " if len(indices) > 1 else ""
        typer.echo(f"{row.score:8.3f}  {where}{row.layer}:{row.feature}  {', '.join(labels.get(i, i) for i in ids)}")


def _query_like(like: str, index: "Index") -> dict[str, Any]:
    """An image id of the index, else an image file, else a feature."""
    if (index.images["id"] == like).any():
        return {"image": like}
    if Path(like).is_file():
        from conceptprobe.images.decode import decode_image, parse_background

        background = parse_background(index.manifest.source.background)
        return {"image": decode_image(Path(like).read_bytes(), background).image}
    return {"feature": like}
