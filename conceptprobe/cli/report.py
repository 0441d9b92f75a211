"""`conceptprobe report`."""

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from conceptprobe.cli.options import Concepts, ScoreFolders, Taxonomy, check_concept_options, load_concepts


def report(
    out: Annotated[Path, typer.Option(help="Write the report to this folder.")],
    indices: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="INDEX", help="Folders of indices, shown side by side; none for a report of probes alone."
        ),
    ] = None,
    scores: ScoreFolders = None,
    names: Annotated[
        list[Path] | None, typer.Option(help="A folder that `conceptprobe label` wrote; may be repeated.")
    ] = None,
    contrast: Annotated[
        list[Path] | None, typer.Option(help="A folder that `conceptprobe contrast` wrote; may be repeated.")
    ] = None,
    visualizations: Annotated[
        list[Path] | None, typer.Option(help="A folder that `conceptprobe visualize` wrote; may be repeated.")
    ] = None,
    probes: Annotated[
        list[Path] | None,
        typer.Option(
            help="A folder that `conceptprobe probe` wrote, with one result or those of `probe all`; may be repeated."
        ),
    ] = None,
    taxonomy: Taxonomy = None,
    concepts: Concepts = None,
    maps: Annotated[
        bool, typer.Option("--maps", help="Run the models again to show where in an image a feature is active.")
    ] = False,
    images: Annotated[
        str,
        typer.Option(
            metavar="thumbs|copy|link",
            help="thumbs stores small images only; copy also stores the top images, and link links to them.",
        ),
    ] = "thumbs",
    title: Annotated[str | None, typer.Option(help="The heading of the report.")] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
) -> None:
    """Write a static HTML report of indices and of the results about them.

    The report opens from disk in any browser. Give --taxonomy or --concepts as the scores were made with.
    """
    check_concept_options(taxonomy, concepts)
    if not indices and (taxonomy is not None or concepts is not None):
        raise typer.BadParameter("--taxonomy and --concepts need an index: add one, or leave the option out")
    from conceptprobe.concepts.comparison.contrast import load_contrast
    from conceptprobe.concepts.naming.names import load_names
    from conceptprobe.concepts.scoring.scores import load_scores
    from conceptprobe.indexing import open_index
    from conceptprobe.report import write_report
    from conceptprobe.report.settings import TITLE

    opened = [open_index(path) for path in indices or ()]
    chosen = taxonomy is not None or concepts is not None
    path = write_report(
        out, opened, scores=[load_scores(folder) for folder in scores or ()],
        names=[load_names(folder) for folder in names or ()],
        contrasts=[load_contrast(folder) for folder in contrast or ()], visualizations=visualizations or (),
        probes=probes or (), concepts=load_concepts(opened[0], taxonomy, concepts) if chosen else None, maps=maps,
        images=images, title=title or TITLE, progress=True,
    )  # fmt: skip
    typer.echo(f"report: {path.resolve()}")
    if open_:
        webbrowser.open(path.resolve().as_uri())
