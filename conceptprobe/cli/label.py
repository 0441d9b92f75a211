"""`conceptprobe label`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from conceptprobe.cli.options import Device, IndexPath, Json, Layers, MovedImages, Rate, Seed, TopK


def label(
    index: IndexPath,
    scorer: Annotated[
        str,
        typer.Option(
            help="Compare images and words with this model, which needs a text encoder, such as mini:clip or "
            "open_clip:ViT-B-32@openai."
        ),
    ],
    words: Annotated[
        str,
        typer.Option(
            help="Name features by the words of this list: english, mini, imagenet, or the path of a text file with "
            "one word in each line."
        ),
    ] = "english",
    out: Annotated[Path | None, typer.Option(help="Write the names to this folder.")] = None,
    layer: Layers = None,
    template: Annotated[
        list[str] | None,
        typer.Option(
            help="Put the words into this sentence, such as 'a photo of a {}'; may be repeated. By default the bare "
            "word is used."
        ),
    ] = None,
    images: MovedImages = None,
    k: TopK = None,
    q: Rate = 0.05,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Name features by words and by concepts.

    The index must have been built with vectors. Half of the images choose the names of a feature, and the other half
    tests whether the feature is more active on the images of the name than on others. Names that do no better than
    chance are left out.
    """
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
