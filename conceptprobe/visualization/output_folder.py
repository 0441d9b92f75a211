"""A folder of visualizations that one process writes, and in which a run that was ended goes on."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from conceptprobe.indexing.storage.manifest import entry_differences
from conceptprobe.output.atomic import replace_file
from conceptprobe.visualization.errors import VisualizeError

LOCK = "visualize.lock"
SETTINGS = "visualize.json"
CHECKPOINT = "checkpoint.safetensors"


@contextmanager
def claimed(out: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Make the folder, or take over one of the same settings, for this process alone. The checkpoint in it is removed
    when all is done, and stays after an exception.

    Raises:
        VisualizeError: Another process works there, it was made with other settings, or it holds something else.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise VisualizeError(f"cannot make {out}: {error.strerror}; choose another folder") from error
    strange = sorted(path.name for path in out.iterdir() if path.name != LOCK)
    if strange and not (out / SETTINGS).is_file():
        raise VisualizeError(
            f"{out} holds what no visualize(..., out=...) left there, such as {strange[0]}: choose another folder"
        )
    lock = FileLock(out / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise VisualizeError(
            f"another process is visualizing into {out}; wait for it, or choose another folder"
        ) from error
    try:
        _check_settings(out, json.loads(json.dumps(settings)))
        yield
        (out / CHECKPOINT).unlink(missing_ok=True)
    finally:
        lock.release()


def _check_settings(out: Path, wanted: dict[str, Any]) -> None:
    path = out / SETTINGS
    if not path.is_file():
        replace_file(path, json.dumps(wanted, indent=1, ensure_ascii=False).encode())
        return
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise VisualizeError(f"{path} is damaged ({error}): choose another folder") from error
    different = [text for name in wanted for text in entry_differences(name, kept.get(name), wanted[name])]
    if different:
        raise VisualizeError(
            f"{out} was made with other settings (there / here): {'; '.join(different)}. Choose another folder, or the "
            "same settings"
        )
