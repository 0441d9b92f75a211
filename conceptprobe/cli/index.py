"""`conceptprobe index`: build, merge, append, verify, info."""

import json
from dataclasses import asdict, fields
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conceptprobe.cli.interrupt import resumable

if TYPE_CHECKING:
    from conceptprobe.indexing import Index

app = typer.Typer(no_args_is_help=True, help="Build an index, or look at one.")


class Engine(StrEnum):
    """What runs a build."""

    LOCAL = "local"
    RAY = "ray"


def parse_shard(text: str | None) -> tuple[int, int] | None:
    """The two numbers of I/N."""
    if text is None:
        return None
    number, slash, count = text.partition("/")
    if not slash or not number.isdecimal() or not count.isdecimal():
        raise typer.BadParameter(f"{text!r}: write I/N, such as 0/8", param_hint="--shard")
    return int(number), int(count)


@app.command()
def build(
    ctx: typer.Context,
    recipe: Annotated[Path | None, typer.Argument(help="A TOML recipe; the options below override it.")] = None,
    model: Annotated[str | None, typer.Option(help="Such as open_clip:ViT-B-32@openai.")] = None,
    images: Annotated[
        str | None, typer.Option(help="mini:emoji, folder:PATH, wds:PATTERN, hf:PATH#SPLIT or table:FILE.")
    ] = None,
    layers: Annotated[list[str] | None, typer.Option(help="Name, glob or slice; may be repeated.")] = None,
    out: Annotated[str | None, typer.Option(help="Directory to make.")] = None,
    pooling: Annotated[
        list[str] | None,
        typer.Option(help="mean, max or cls; may be repeated. By default mean and max; mean for vectors."),
    ] = None,
    k: Annotated[int | None, typer.Option(help="Length of the top lists.")] = None,
    bottom: Annotated[int | None, typer.Option(help="Length of the lists of lowest images; 0 for none.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images the model sees at once.")] = None,
    background: Annotated[str | None, typer.Option(help="Colour behind transparent images.")] = None,
    fast_decode: Annotated[
        bool | None,
        typer.Option(
            "--fast-decode/--exact-decode",
            help="Scale JPEGs while decoding, and on a GPU where there is one; changes pixels slightly.",
        ),
    ] = None,
    vectors: Annotated[bool | None, typer.Option("--vectors/--no-vectors", help="Write FAISS files.")] = None,
    faiss: Annotated[
        str | None, typer.Option(help="Index-factory string of images.faiss: Flat (exact), SQfp16, IVF1024,Flat, ...")
    ] = None,
    growable: Annotated[
        bool | None, typer.Option("--growable/--not-growable", help="Keep what `index append` goes on from.")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", callback=parse_shard, help="Build shard I of N, from 0/N to N-1/N, for `index merge`."
        ),
    ] = None,
    max_skipped: Annotated[
        str | None, typer.Option(metavar="N|P%", help="Stop when more images than this cannot be read.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Decoding processes; does not change the result.")] = None,
    engine: Annotated[Engine, typer.Option(help="ray: on the Ray cluster at RAY_ADDRESS, or on this machine.")] = (
        Engine.LOCAL
    ),
    ray_workers: Annotated[
        int | None,
        typer.Option(help="Ray workers that hold the model; by default as many as there is room for.", min=1),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    overwrite: Annotated[bool | None, typer.Option("--overwrite", help="Replace an index that is there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    log: Annotated[
        str | None, typer.Option("--log-json", help="File to append the progress to, as JSON lines.")
    ] = None,
) -> None:
    """Stream images through a model once; keep every feature's top images and statistics."""
    from conceptprobe.images import load_images
    from conceptprobe.indexing.build import run_build
    from conceptprobe.indexing.ray_engine import run_build_on_ray
    from conceptprobe.indexing.recipe import NEEDED, Recipe, make_recipe, read_recipe
    from conceptprobe.models import load_model

    names = {field.name for field in fields(Recipe)}
    options = {name: value for name, value in ctx.params.items() if name in names and value not in (None, (), [])}
    if engine is Engine.RAY and shard is not None:
        raise typer.BadParameter("--shard is for another scheduler than Ray, which makes its own shards")
    if recipe is None and (missing := [name for name in NEEDED if not options.get(name)]):
        raise typer.BadParameter(f"give a recipe, or --{' and --'.join(missing)}")
    settings = make_recipe({"progress": True, **(read_recipe(recipe) if recipe else {}), **options})
    source = load_images(settings.images, background=settings.background, fast_decode=settings.fast_decode)
    loaded, path = load_model(settings.model, device=device), Path(settings.out)
    with resumable():
        if engine is Engine.RAY:
            index = run_build_on_ray(loaded, source, settings.layers, path, settings, ray_workers=ray_workers)
        else:
            index = run_build(loaded, source, settings.layers, path, settings)
    summarise(index, as_json)


@app.command()
def merge(
    shards: Annotated[list[Path], typer.Argument(help="All shards of an index, in any order.")],
    out: Annotated[Path, typer.Option(help="Directory to make.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an index that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Join the shards that `index build --shard` made, to the same bytes as one build."""
    from conceptprobe.indexing import merge_indices

    with resumable():
        index = merge_indices(shards, out, overwrite=overwrite)
    summarise(index, as_json)


@app.command()
def append(
    path: Annotated[Path, typer.Argument(help="An index that was built with --growable.")],
    images: Annotated[
        str | None, typer.Option(help="The source with all images, old and new; by default the index's own.")
    ] = None,
    max_skipped: Annotated[
        str | None, typer.Option(metavar="N|P%", help="Stop when more of the new images than this cannot be read.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Decoding processes; does not change the result.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    log_json: Annotated[Path | None, typer.Option(help="File to append the progress to, as JSON lines.")] = None,
) -> None:
    """Add the images that an index does not have yet; only those are run through the model."""
    from conceptprobe.indexing import append_index, open_index
    from conceptprobe.indexing.describe import load_source
    from conceptprobe.indexing.storage.directory import recover

    recover(path.resolve())
    source = load_source(open_index(path).manifest.source, images)
    with resumable():
        index = append_index(path, source, workers=workers, max_skipped=max_skipped, progress=True, log=log_json)
    summarise(index, as_json)


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(help="An index directory.")],
    images: Annotated[str | None, typer.Option(help="Where its images are now, if elsewhere.")] = None,
    again: Annotated[int, typer.Option(min=0, help="How many images to run through the model again.")] = 16,
    out: Annotated[Path | None, typer.Option(help="Folder to save the result to.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the checks and problems as JSON.")] = False,
) -> None:
    """Check every hash and every invariant, and run some images again. Ends with 1 where something is wrong."""
    from conceptprobe.indexing import verify_index
    from conceptprobe.indexing.describe import load_source
    from conceptprobe.indexing.storage.manifest import Manifest
    from conceptprobe.indexing.verification.verify import RESULT
    from conceptprobe.output.tables import check_output

    check_output(out, RESULT)
    source = None if images is None else load_source(Manifest.read(path).source, images)
    found = verify_index(path, images=source, images_again=again)
    if out is not None:
        found.save(out)
    if as_json:
        typer.echo(json.dumps({**asdict(found), "path": str(found.path), "ok": found.ok}, ensure_ascii=False))
    else:
        for row in found.frame.itertuples():
            typer.echo(f"{row.result:<8} {row.text}")
        typer.echo(f"{found.path}: {'nothing wrong' if found.ok else f'{len(found.problems)} things wrong'}")
    if not found.ok:
        raise typer.Exit(1)


def summarise(index: "Index", as_json: bool) -> None:
    """Say what was made."""
    manifest, counts = index.manifest, index.manifest.counts
    if as_json:
        stored = manifest.to_json()
        made = {"path": str(index.path), **stored["counts"], "part": stored["part"], "appended": stored["appended"]}
        typer.echo(json.dumps(made))
        return
    kind = "shard: " if manifest.part is not None else ""
    typer.echo(f"{index.path}: {kind}{counts.indexed} images indexed, {counts.skipped} skipped")
    for entry in manifest.appended[-1:]:
        typer.echo(entry.why)


@app.command()
def info(
    path: Annotated[Path, typer.Argument(help="An index directory.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
) -> None:
    """What an index is of, and how it was made."""
    from conceptprobe.indexing import Index
    from conceptprobe.indexing.storage.manifest import Manifest

    manifest = Manifest.read(path)
    index = Index(path, manifest)
    if as_json:
        typer.echo(json.dumps(manifest.to_json(), ensure_ascii=False))
        return
    counts = manifest.counts
    typer.echo(f"model    {manifest.model.spec}  ({manifest.model.fingerprint[:12]})")
    typer.echo(f"images   {manifest.source.spec}  ({manifest.source.fingerprint[:12]})")
    typer.echo(f"counts   {counts.listed} listed = {counts.indexed} indexed + {counts.skipped} skipped")
    typer.echo(f"lists    k {manifest.k}, pooling {', '.join(manifest.pooling)}, batch size {manifest.batch_size}")
    if manifest.part is not None:
        runs = " and ".join(f"{first} to {last - 1}" for first, last in manifest.part.batches)
        typer.echo(f"shard    batches {runs or 'none'}, of {manifest.listed} images in all")
    for entry in manifest.appended:
        typer.echo(f"appended {entry.images} images: {entry.why}")
    if manifest.part is None:
        for row in index.summary().itertuples():
            typer.echo(f"layer    {row.layer}: {row.features} features, {row.dead} dead")
    for row in index.skipped.head(5).itertuples():
        typer.echo(f"skipped  {row.id}: {row.reason}")
