"""`conceptprobe search`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from conceptprobe.cli.options import Device, Json, Pooling

if TYPE_CHECKING:
    from conceptprobe.indexing import Index
    from conceptprobe.models import VisionModel

RESULTS = 10  # by default
EXAMPLES = 3  # top images that are shown of a feature


def search(
    paths: Annotated[
        list[Path], typer.Argument(metavar="INDEX", help="The folder of an index; several for --text and --like.")
    ],
    text: Annotated[str | None, typer.Option(help="Find features whose top images show this, such as music.")] = None,
    like: Annotated[
        str | None,
        typer.Option(
            help="Find features whose top images are like those of a feature, or like an image (its id or a file)."
        ),
    ] = None,
    feature: Annotated[
        str | None, typer.Option(help="Show the top images of this feature, such as blocks.5.mlp.hidden:12.")
    ] = None,
    neighbours: Annotated[
        str | None, typer.Option(help="Find features that fire on the same images as this feature.")
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Find images that the model of the index finds similar to the image of this id.")
    ] = None,
    scorer: Annotated[
        str | None,
        typer.Option(help="Compare images for --text and --like with this model; by default that of the index."),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(help="Search this layer only; by default the last one for --image, all for --text and --like."),
    ] = None,
    pooling: Pooling = None,
    k: Annotated[
        int | None,
        typer.Option("-k", "--k", help="Show this many results; by default 10, or all of a shorter list.", min=1),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Search an index for images or features.

    Give one of --text, --like, --feature, --neighbours and --image.
    """
    if sum(option is not None for option in (text, like, feature, neighbours, image)) != 1:
        raise typer.BadParameter("give one of --text, --like, --feature, --neighbours and --image")
    features_wanted = text is not None or like is not None
    if len(paths) > 1 and not features_wanted:
        raise typer.BadParameter("several indices are for --text and --like")
    from conceptprobe.indexing import open_index

    indices = [open_index(path) for path in paths]
    if features_wanted:
        _print_features(indices, text, like, scorer, layer, pooling, k or RESULTS, device, as_json)
        return
    index = indices[0]
    labels: dict[str, str] = {}
    if neighbours is not None:
        frame = index.neighbours(neighbours, k or RESULTS)
        names = frame["layer"] + ":" + frame["feature"].astype(str)
        results = list(zip(names, frame["correlation"].astype(float), strict=True))
    else:
        if feature is not None:
            top = index.top(feature, k or min(RESULTS, index.manifest.k), pooling)
        else:
            top = index.similar_images(str(image), k or RESULTS, layer)
        results = [(id_, float(value)) for id_, value in zip(top.ids, top.values, strict=True)]
        labels = _labels(index, top.ids)
    if as_json:
        typer.echo(json.dumps([{"id": name, "value": value} for name, value in results], ensure_ascii=False))
        return
    for name, value in results:
        typer.echo(f"{value:10.4f}  {name}  {labels.get(name, '')}".rstrip())


def _labels(index: "Index", ids: tuple[str, ...]) -> dict[str, str]:
    if "label" not in index.images:
        return {}
    rows = index.images[index.images["id"].isin(ids)]
    return {id_: str(label) for id_, label in zip(rows["id"], rows["label"], strict=True)}


def _print_features(
    indices: list["Index"], text: str | None, like: str | None, scorer: str | None, layer: str | None,
    pooling: str | None, k: int, device: str, as_json: bool,
) -> None:  # fmt: skip
    from conceptprobe.indexing.model import model_of
    from conceptprobe.models import load_model
    from conceptprobe.search.features import find_features

    query: dict[str, Any] = {"text": text} if like is None else _query_like(like, indices[0])
    model: VisionModel | None
    if scorer is not None:
        model = load_model(scorer, device=device)
    else:
        alike = len({index.manifest.model["fingerprint"] for index in indices}) == 1
        model = model_of(indices[0], device=device) if alike and device != "auto" else None
    features = find_features(indices, **query, scorer=model, layers=layer, pooling=pooling, k=k, progress=True)
    if as_json:
        typer.echo(features.to_json(orient="records", force_ascii=False))
        return
    for row in features.itertuples():
        index = indices[row.index]
        ids = index.top(f"{row.layer}:{row.feature}", min(EXAMPLES, index.manifest.k), pooling).ids
        labels = _labels(index, ids)
        name = f"{index.path.name}  " if len(indices) > 1 else ""
        examples = ", ".join(labels.get(id_, id_) for id_ in ids)
        typer.echo(f"{row.score:8.3f}  {name}{row.layer}:{row.feature}  {examples}")


def _query_like(like: str, index: "Index") -> dict[str, Any]:
    """What --like names: the id of an image, else an image file, else a feature."""
    if (index.images["id"] == like).any():
        return {"image": like}
    if Path(like).is_file():
        from conceptprobe.images import UnreadableImageError
        from conceptprobe.images.decode import decode_image, parse_background

        background = parse_background(index.manifest.source["background"])
        try:
            return {"image": decode_image(Path(like).read_bytes(), background).image}
        except UnreadableImageError as error:
            raise typer.BadParameter(f"--like is the file {like}, which cannot be read as an image: {error}") from error
    return {"feature": like}
