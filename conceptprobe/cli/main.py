"""`conceptprobe`: the root command, and how it reports errors."""

import importlib.metadata
import sys
from typing import Annotated

import typer

from conceptprobe.allocator import keep_freed_memory
from conceptprobe.cli import (
    contrast,
    demo,
    doctor,
    index,
    label,
    models,
    probe,
    report,
    score,
    search,
    serve,
    visualize,
)
from conceptprobe.errors import ConceptProbeError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # joins the lines of a paragraph
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Find out what each feature of a vision model responds to, and whether that is an object or a concept.",
)
app.command("demo")(demo.demo)
app.command("models")(models.models)
app.add_typer(index.app, name="index")
app.command("search")(search.search)
app.command("score")(score.score)
app.command("label")(label.label)
app.command("contrast")(contrast.contrast)
app.command("visualize")(visualize.visualize)
app.command("probe")(probe.probe)
app.command("report")(report.report)
app.command("serve")(serve.serve)
app.command("doctor")(doctor.doctor)


def show_version(wanted: bool) -> None:
    """Print the version and exit."""
    if wanted:
        typer.echo(importlib.metadata.version("conceptprobe"))
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error instead of one line.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """The options of every command."""


def main() -> None:
    """Run the command line. The exit code is 0 for success, 1 for a failure, 2 for wrong usage, 130 after Ctrl-C."""
    keep_freed_memory()
    try:
        app()
    except ConceptProbeError as error:
        if "--debug" in sys.argv[1:]:
            raise
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        if "--debug" in sys.argv[1:]:
            raise
        typer.echo(f"error: {error.filename}: {error.strerror}" if error.filename else f"error: {error}", err=True)
        sys.exit(1)
