"""`conceptprobe demo`."""

from pathlib import Path
from typing import Annotated

import typer

from conceptprobe.cli.interrupt import resumable
from conceptprobe.cli.options import Device


def demo(
    out: Annotated[Path, typer.Option(help="Write the indices, all results and the report to this folder.")] = Path(
        "conceptprobe-demo"
    ),
    device: Device = "auto",
) -> None:
    """Try everything on the embedded emoji and models.

    The emoji are indexed with a CLIP-trained and a supervised mini ViT. Every feature is scored as object or concept,
    the two models are contrasted, two probes are run, and a report of all is written.
    """
    from conceptprobe.demo import run_demo

    with resumable():
        path = run_demo(out, device=device, progress=True)
    typer.echo((out / "contrast" / "summary.txt").read_text(encoding="utf-8"))
    typer.echo(f"report: {path.resolve()}")
    typer.echo("open it in a browser; beside it are the indices (see `conceptprobe search`), scores, contrast, probes")
