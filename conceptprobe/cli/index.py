"""`conceptprobe index build` and `index info`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from conceptprobe.cli.interrupt import resumable

app = typer.Typer(no_args_is_help=True, help="Build an index, or look at one.")


@app.command()
def build(
    recipe: Annotated[Path | None, typer.Argument(help="A TOML recipe; the options below override it.")] = None,
    model: Annotated[str | None, typer.Option(help="Such as open_clip:ViT-B-32@openai.")] = None,
    images: Annotated[str | None, typer.Option(help="mini:emoji, folder:PATH, wds:PATTERN or table:FILE.")] = None,
    layers: Annotated[list[str] | None, typer.Option(help="Name, glob or slice; may be repeated.")] = None,
    out: Annotated[str | None, typer.Option(help="Directory to make.")] = None,
    pooling: Annotated[
        list[str] | None,
        typer.Option(help="mean, max or cls; may be repeated. By default mean and max; mean for vectors."),
    ] = None,
    k: Annotated[int | None, typer.Option(help="Length of the top lists.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images the model sees at once.")] = None,
    background: Annotated[str | None, typer.Option(help="Colour behind transparent images.")] = None,
    vectors: Annotated[bool | None, typer.Option("--vectors/--no-vectors", help="Write FAISS files.")] = None,
    workers: Annotated[int | None, typer.Option(help="Decoding processes; does not change the result.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an index that is there.")] = False,
) -> None:
    """Stream images through a model once; keep every feature's top images and statistics."""
    from conceptprobe.images import load_images
    from conceptprobe.indexing import build_index
    from conceptprobe.indexing.recipe import Recipe, read_recipe
    from conceptprobe.models import load_model

    options: dict[str, Any] = {
        "model": model, "images": images, "layers": layers, "out": out, "pooling": pooling, "k": k,
        "batch_size": batch_size, "background": background, "vectors": vectors,
    }  # fmt: skip
    needed = [name for name in ("model", "images", "layers", "out") if not options[name]]
    if recipe is None and needed:
        raise typer.BadParameter(f"give a recipe, or --{' and --'.join(needed)}")
    given = {name: value for name, value in options.items() if value is not None}
    plan = Recipe.make({**(read_recipe(recipe) if recipe else {}), **given})
    source = load_images(plan.images, background=plan.background)
    with resumable():
        index = build_index(
            load_model(plan.model, device=device), source, plan.layers, plan.out, pooling=plan.pooling, k=plan.k,
            batch_size=plan.batch_size, workers=workers, vectors=plan.vectors, overwrite=overwrite, progress=True,
        )  # fmt: skip
    counts = index.manifest.counts
    typer.echo(f"{index.path}: {counts['indexed']} images indexed, {counts['skipped']} skipped")


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="An index directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """What an index is of, and how it was made."""
    from conceptprobe.indexing import open_index

    index = open_index(path)
    manifest = index.manifest
    if as_json:
        typer.echo(json.dumps(asdict(manifest), ensure_ascii=False))
        return
    counts = manifest.counts
    typer.echo(f"model    {manifest.model['spec']}  ({manifest.model['fingerprint'][:12]})")
    typer.echo(f"images   {manifest.source['spec']}  ({manifest.source['fingerprint'][:12]})")
    typer.echo(f"counts   {counts['listed']} listed = {counts['indexed']} indexed + {counts['skipped']} skipped")
    typer.echo(f"lists    k {manifest.k}, pooling {', '.join(manifest.pooling)}, batch size {manifest.batch_size}")
    for layer in index.layers:
        stats = index.stats(layer)
        typer.echo(f"layer    {layer}: {len(stats)} features, {int(stats['dead'].sum())} dead")
    for row in index.skipped.head(5).itertuples():
        typer.echo(f"skipped  {row.id}: {row.reason}")
