"""Progress bars on stderr."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn, track

T = TypeVar("T")


def tracked(steps: Iterable[T], description: str, total: int | None = None, *, show: bool) -> Iterator[T]:
    """Iterate with a bar.

    Args:
        steps: What to iterate over.
        description: The text before the bar.
        total: Number of steps, where `steps` has no length.
        show: Whether to show the bar.
    """
    return iter(track(steps, description, total, console=Console(stderr=True), disable=not show))


def progress_bar(*columns: ProgressColumn, show: bool) -> Progress:
    """A bar with its description, more columns, and the time that passed and that remains.

    Args:
        columns: Columns after the bar.
        show: Whether to show the bar.
    """
    return Progress(
        TextColumn("{task.description}"), BarColumn(), *columns, TimeElapsedColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), disable=not show,
    )  # fmt: skip
