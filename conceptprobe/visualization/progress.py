"""A bar that says how far the optimisation of many units is."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class Meter:
    """Counts steps of units.

    Args:
        units: Altogether.
        done: Of them that were there before.
        steps: Of each.
    """

    def __init__(self, units: int, done: int, steps: int) -> None:
        self._units, self._done, self._steps = units, done, steps
        self._bar = Progress(
            TextColumn("visualizing"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[finished]}"),
            TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True),
        )  # fmt: skip

    @contextmanager
    def shown(self, show: bool) -> Iterator[None]:
        """Show the bar on stderr meanwhile."""
        self._bar.disable = not show
        with self._bar:
            self._task = self._bar.add_task("", total=self._units * self._steps, finished="")
            self.finish(0)
            yield

    def step(self, step: int, units: int) -> None:
        """So many units are after this step."""
        self._bar.update(self._task, completed=self._done * self._steps + step * units)

    def finish(self, units: int) -> None:
        """So many more units are finished."""
        self._done += units
        finished = f"{self._done} of {self._units} finished"
        self._bar.update(self._task, completed=self._done * self._steps, finished=finished)
