"""What Ctrl-C does to a long command."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def resumable() -> Iterator[None]:
    """On Ctrl-C, say how to resume and exit with code 130."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted: the same command resumes from the last checkpoint", err=True)
        raise typer.Exit(130) from None
