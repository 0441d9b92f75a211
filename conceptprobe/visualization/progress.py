"""The progress bar of the optimisation of many units."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import TaskProgressColumn, TextColumn

from conceptprobe.display.progress import progress_bar


class Meter:
    """A progress bar that counts steps of units.

    Args:
        units: Number of units.
        done: Number of units that are finished already.
        steps: Steps of a unit.
    """

    def __init__(self, units: int, done: int, steps: int) -> None:
        self._units, self._done, self._steps = units, done, steps
        self._bar = progress_bar(TaskProgressColumn(), TextColumn("{task.fields[finished]}"), show=True)

    @contextmanager
    def shown(self, show: bool) -> Iterator[None]:
        """Show the bar on stderr while the block runs."""
        self._bar.disable = not show
        with self._bar:
            self._task = self._bar.add_task("visualizing", total=self._units * self._steps, finished="")
            self.finish(0)
            yield

    def step(self, step: int, units: int) -> None:
        """Some units have finished a step."""
        self._bar.update(self._task, completed=self._done * self._steps + step * units)

    def finish(self, units: int) -> None:
        """Some more units are finished."""
        self._done += units
        finished = f"{self._done} of {self._units} finished"
        self._bar.update(self._task, completed=self._done * self._steps, finished=finished)
