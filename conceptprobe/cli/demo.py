"""`conceptprobe demo`."""

from pathlib import Path
from typing import Annotated

import typer

from conceptprobe.cli.interrupt import resumable


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the indices and the report.")] = Path("conceptprobe-demo"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
) -> None:
    """Index the embedded emoji with the CLIP-trained and the supervised mini ViT, score every feature as object or
    concept, contrast the two, and write a report of both."""
    from conceptprobe.demo import run_demo

    with resumable():
        path = run_demo(out, device=device, progress=True)
    typer.echo((out / "contrast" / "summary.txt").read_text(encoding="utf-8"))
    typer.echo(f"report: {path.resolve()}")
    typer.echo("open it in a browser; beside it lie the indices (see `conceptprobe search`), scores and contrast")
