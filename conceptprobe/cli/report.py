"""`conceptprobe report`."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    indices: Annotated[list[Path], typer.Argument(help="Index directories, side by side in the report.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    title: Annotated[str, typer.Option(help="Heading of the report.")] = "What each feature responds to",
) -> None:
    """Write a static HTML report of one or several indices."""
    from conceptprobe.indexing import open_index
    from conceptprobe.report import write_report

    opened = [open_index(path) for path in indices]
    path = write_report(out, opened, title=title, progress=True)
    typer.echo(f"report: {path.resolve()}")
