"""The locked output folder of a visualization; interrupted runs resume from it."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from conceptprobe.errors import OutputError
from conceptprobe.indexing.storage.manifest import entry_differences
from conceptprobe.output.atomic import replace_file
from conceptprobe.output.folder import resumable
from conceptprobe.visualization.errors import VisualizeError

SETTINGS = "visualize.json"
CHECKPOINT = "checkpoint.safetensors"


@contextmanager
def resumed(out: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Lock a new folder, or one of the same settings.

    The checkpoint in the folder is removed at the end; after an exception it stays, and the next run resumes from it.

    Raises:
        FolderBusyError: Another process visualizes into the folder.
        OutputError: The folder cannot be made, or holds something else.
        VisualizeError: The images of the folder were made with other settings.
    """
    with resumable(out, _check_marked, f"another process is visualizing into {out}: wait, or choose another folder"):
        _check_settings(out, json.loads(json.dumps(settings)))
        yield
        (out / CHECKPOINT).unlink(missing_ok=True)


def _check_marked(out: Path) -> None:
    if not (out / SETTINGS).is_file():
        some = min(path.name for path in out.iterdir())
        raise OutputError(
            f"{out} holds files that visualize(..., out=...) did not write, such as {some}: choose another folder"
        )


def _check_settings(out: Path, wanted: dict[str, Any]) -> None:
    """Write the settings to a new folder, and compare them with those of an earlier run."""
    path = out / SETTINGS
    if not path.is_file():
        replace_file(path, json.dumps(wanted, indent=1, ensure_ascii=False).encode())
        return
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        different = [text for name in wanted for text in entry_differences(name, stored.get(name), wanted[name])]
    except (ValueError, AttributeError) as error:
        raise VisualizeError(f"{path} is damaged ({error}): choose another folder") from error
    if different:
        raise VisualizeError(
            f"{out} was made with other settings (there / here): {'; '.join(different)}. Choose another folder, or use "
            "the same settings"
        )
