"""`conceptprobe`: the root command, and how errors end it."""

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
    context_settings={"help_option_names": ["-h", "--help"]},
    help="What does each feature of a vision model respond to, and is that an object or a concept?",
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


def show_version(asked: bool) -> None:
    if asked:
        typer.echo(importlib.metadata.version("conceptprobe"))
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of every command."""


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted."""
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
