"""`conceptprobe report`."""

import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer


def report(
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    indices: Annotated[
        list[Path] | None,
        typer.Argument(help="Indices, side by side in the report; none for a report of probes alone."),
    ] = None,
    scores: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that `conceptprobe score` wrote, for any of the indices; may be repeated."),
    ] = None,
    names: Annotated[
        list[Path] | None, typer.Option(help="Folder that `conceptprobe label` wrote; may be repeated.")
    ] = None,
    contrast: Annotated[
        list[Path] | None, typer.Option(help="Folder that `conceptprobe contrast` wrote; may be repeated.")
    ] = None,
    visualizations: Annotated[
        list[Path] | None, typer.Option(help="Folder that `conceptprobe visualize` wrote; may be repeated.")
    ] = None,
    probes: Annotated[
        list[Path] | None,
        typer.Option(help="Folder that `conceptprobe probe` or `conceptprobe probe all` wrote; may be repeated."),
    ] = None,
    taxonomy: Annotated[
        str | None, typer.Option(help="Taxonomy of the scores: imagenet, folders, columns:NAME,... or a file.")
    ] = None,
    concepts: Annotated[
        Path | None, typer.Option(help="Concepts of the scores: a JSON file, name to labels or image ids.")
    ] = None,
    maps: Annotated[
        bool, typer.Option("--maps", help="Run the models again to show where in an image a feature is active.")
    ] = False,
    images: Annotated[
        str,
        typer.Option(help="thumbs: small tiles only. copy: the whole top images, too. link: links to their files."),
    ] = "thumbs",
    title: Annotated[str | None, typer.Option(help="Heading of the report.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
) -> None:
    """Write a static HTML report of one or several indices and their results, or of probes alone."""
    if taxonomy is not None and concepts is not None:
        raise typer.BadParameter("give one of --taxonomy and --concepts")
    if not indices and (taxonomy is not None or concepts is not None):
        raise typer.BadParameter("--taxonomy and --concepts need an index: add one, or leave the option out")
    from conceptprobe.concepts.comparison.contrast import load_contrast
    from conceptprobe.concepts.naming.names import load_names
    from conceptprobe.concepts.scoring.scores import load_scores
    from conceptprobe.concepts.sets.from_index import concepts_of
    from conceptprobe.concepts.sets.user_sets import beside_labels, read_sets
    from conceptprobe.indexing import open_index
    from conceptprobe.report import write_report
    from conceptprobe.report.settings import TITLE

    opened = [open_index(path) for path in indices or ()]
    family = None
    if concepts is not None:
        family = replace(beside_labels(read_sets(concepts), opened[0].images), options=("--concepts", str(concepts)))
    elif taxonomy is not None:
        family = concepts_of(opened[0], taxonomy)
    path = write_report(
        out, opened, scores=[load_scores(folder) for folder in scores or ()],
        names=[load_names(folder) for folder in names or ()],
        contrasts=[load_contrast(folder) for folder in contrast or ()], visualizations=visualizations or (),
        probes=probes or (), concepts=family, maps=maps, images=images, title=title or TITLE, progress=True,
    )  # fmt: skip
    typer.echo(f"report: {path.resolve()}")
    if open_:
        webbrowser.open(path.resolve().as_uri())
