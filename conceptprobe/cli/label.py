"""`conceptprobe label`."""

import json
from pathlib import Path
from typing import Annotated

import typer


def label(
    index: Annotated[Path, typer.Argument(help="An index directory, built with vectors.")],
    scorer: Annotated[str, typer.Option(help="The model that reads the words, such as open_clip:ViT-B-32@openai.")],
    words: Annotated[
        str, typer.Option(help="english, mini, imagenet, or a text file with one word a line.")
    ] = "english",
    out: Annotated[Path | None, typer.Option(help="Folder to write the names to.")] = None,
    layer: Annotated[
        list[str] | None, typer.Option(help="A layer of the index; may be repeated. By default all.")
    ] = None,
    template: Annotated[
        list[str] | None, typer.Option(help="Such as 'a photo of a {}'; may be repeated. By default the bare word.")
    ] = None,
    images: Annotated[str | None, typer.Option(help="Where the images are now, if they have moved.")] = None,
    k: Annotated[int | None, typer.Option("-k", help="How many top images are looked at, at most 100.")] = None,
    q: Annotated[float, typer.Option("-q", help="False discovery rate.")] = 0.05,
    seed: Annotated[int, typer.Option(help="Makes other halves of the images.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print all names as JSON.")] = False,
) -> None:
    """Name features by words and concepts, each tested on images that did not choose it."""
    from conceptprobe.concepts.naming.names import NAME, label_features
    from conceptprobe.indexing import open_index
    from conceptprobe.indexing.describe import load_source
    from conceptprobe.models import load_model
    from conceptprobe.output.tables import check_output

    check_output(out, NAME)
    opened = open_index(index)
    source = None if images is None else load_source(opened.manifest.source, images)
    names = label_features(
        opened, words, load_model(scorer, device=device), layers=layer or None, templates=template or ("{}",),
        images=source, k=k, q=q, seed=seed, progress=True,
    )  # fmt: skip
    if out is not None:
        names.save(out)
    if as_json:
        typer.echo(json.dumps({"names": json.loads(names.frame.to_json(orient="records")), "settings": names.settings}))
        return
    typer.echo(names.text())
    if out is not None:
        typer.echo(f"names: {out.resolve()}")
