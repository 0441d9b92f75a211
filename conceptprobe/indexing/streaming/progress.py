"""How a long pass over images tells where it is: a bar for a person, JSON lines for a program."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from rich.progress import MofNCompleteColumn, Progress, TextColumn

from conceptprobe.display.progress import progress_bar

EVERY = 10.0  # seconds between progress lines in a log


class Meter:
    """Counts images as they are done; made by `metered`."""

    def __init__(self, title: str, total: int, done: int, skipped: int, bar: Progress, log: TextIO | None) -> None:
        self._title, self._total, self._done, self._skipped, self._log = title, total, done, skipped, log
        self._start, self._first, self._said = time.monotonic(), done, 0.0
        self._bar = bar
        self._task = bar.add_task(title, total=total, completed=done, speed="", skipped=skipped)

    def advance(self, images: int, skipped: list[tuple[str, str]]) -> None:
        """So many more images are done; `skipped` are the id and reason of those that could not be read."""
        self._done += images
        self._skipped += len(skipped)
        speed = self._speed
        self._bar.update(self._task, advance=images, speed=f"{speed:.0f}" if speed >= 10 else f"{speed:.2g}",
                         skipped=self._skipped)  # fmt: skip
        for id_, reason in skipped:
            self.log("skipped", id=id_, reason=reason)
        if time.monotonic() - self._said >= EVERY:
            self._said = time.monotonic()
            self.log("progress", **self._where())

    def log(self, event: str, **fields: Any) -> None:
        """Write one line to the log, if there is one."""
        if self._log is not None:
            line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "event": event, **fields}
            self._log.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._log.flush()

    def checkpoint(self) -> None:
        """A checkpoint was written; where no bar can be drawn, that is when a line is printed."""
        self.log("checkpoint", **self._where())
        if not self._bar.disable and not self._bar.console.is_terminal:
            where = self._where()
            self._bar.console.print(
                f"{self._title}: {self._done} of {self._total} images, {where['images_per_second']} images/s, "
                f"{where['eta_seconds']} s left, {self._skipped} skipped"
            )

    @property
    def _speed(self) -> float:
        return (self._done - self._first) / max(time.monotonic() - self._start, 1e-9)

    def _where(self) -> dict[str, Any]:
        speed = self._speed
        return {
            "images": self._done,
            "of": self._total,
            "skipped": self._skipped,
            "images_per_second": round(speed, 1),
            "eta_seconds": round((self._total - self._done) / speed) if speed > 0 else None,
        }


@contextmanager
def metered(
    title: str, total: int, *, done: int = 0, skipped: int = 0, show: bool, log: Path | None
) -> Iterator[Meter]:
    """Show a bar on stderr, and append events to a file of JSON lines.

    The events are start, progress, skipped, checkpoint, end, and failed with the error that ends the pass early.

    Args:
        title: What is being done.
        total: Images altogether.
        done: Images that an earlier run has done.
        skipped: How many of them were skipped.
        show: Whether to show the bar.
        log: The file, or None for none.
    """
    columns = "images, {task.fields[speed]} images/s, {task.fields[skipped]} skipped"
    bar = progress_bar(MofNCompleteColumn(), TextColumn(columns), show=show)
    file = None if log is None else log.open("a", encoding="utf-8")
    try:
        with bar:
            meter = Meter(title, total, done, skipped, bar, file)
            meter.log("start", title=title, images=done, of=total, skipped=skipped)
            try:
                yield meter
            except BaseException as error:
                meter.log("failed", error=f"{type(error).__name__}: {error}")
                raise
            meter.log("end", **meter._where())
    finally:
        if file is not None:
            file.close()
