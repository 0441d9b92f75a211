"""The folder of an index: locked by one process, replaced only by another index, published only when complete."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.storage.manifest import MARK, NAME, Counts, Manifest
from conceptprobe.output.folder import locked, replace_folder


def check_output_path(out: Path, overwrite: bool) -> None:
    """Refuse a path that exists, unless it is an index and may be overwritten."""
    if not out.exists():
        return
    if not overwrite:
        raise IndexingError(f"{out} is already there: open it, choose another folder, or overwrite it")
    if others := Manifest.other_files(out):
        raise IndexingError(
            f"{out} holds files that are not the index's, such as {others[0]}: move them, or choose another folder"
        )


@contextmanager
def staged_index(out: Path, manifest: Manifest, *, overwrite: bool) -> Iterator[Path]:
    """The locked folder beside `out` in which the index of a manifest is built.

    When the index is complete, with its manifest, the folder is renamed to `out`. After an error the folder stays, and
    the next build resumes from it.

    Raises:
        FolderBusyError: Another process builds there.
        IndexingError: See `locked_partial` and `check_output_path`.
    """
    with locked_partial(out) as partial:
        check_output_path(out, overwrite)  # another process may have finished before this one got the lock
        partial.mkdir(exist_ok=True)
        if not is_finished(partial, manifest):
            (partial / MARK).touch()
        yield partial
        check_output_path(out, overwrite)  # or something else may have come there meanwhile
        clear(partial)
        replace_folder(partial, out)


def partial_path(out: Path) -> Path:
    """The folder in which the index is built that will be renamed to `out`."""
    return out.with_name(f"{out.name}.partial")


@contextmanager
def locked_partial(out: Path) -> Iterator[Path]:
    """Lock the folder beside `out`, which need not exist, for this process.

    Raises:
        FolderBusyError: Another process builds there.
        IndexingError: The folder was not left by a build.
        OutputError: The lock file cannot be made.
    """
    partial = partial_path(out)
    with locked(partial, f"another process is building {out}; wait for it, or choose another directory"):
        if partial.exists() and not _was_left_by_build(partial):
            raise IndexingError(
                f"{partial} is in the way and no build left it there: move it, or choose another directory"
            )
        yield partial


def is_finished(partial: Path, manifest: Manifest) -> bool:
    """Whether a build of this manifest was complete, and killed before it was renamed."""
    try:
        stored = replace(Manifest.read(partial), counts=Counts(), files={})
    except IndexingError:
        return False
    return json.dumps(stored.to_json()) == json.dumps(manifest.to_json())


def _was_left_by_build(partial: Path) -> bool:
    """Whether a build left this folder: it is marked, or an index, or empty."""
    if not partial.is_dir():
        return False
    if (partial / MARK).is_file() or not any(partial.iterdir()):
        return True
    try:
        return not Manifest.other_files(partial)
    except IndexingError:
        return False


def clear(partial: Path) -> None:
    """Remove every file that the manifest does not list, the mark last."""
    kept = {NAME, MARK, *Manifest.read(partial).files}
    for path in sorted(partial.rglob("*"), reverse=True):  # what is in a folder before the folder
        if path.is_file() and path.relative_to(partial).as_posix() not in kept:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    (partial / MARK).unlink(missing_ok=True)


def recover(out: Path) -> None:
    """Rename a complete index to `out` where a build was killed between the removal of the old index and that."""
    if out.exists() or not (partial_path(out) / NAME).is_file():
        return
    with locked_partial(out) as partial:
        if not out.exists():
            clear(partial)
            replace_folder(partial, out)
