"""The folder of an index: locked by one process, replaced only by another index, published only when complete."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.storage.manifest import MARK, NAME, Counts, Manifest
from conceptprobe.output.folder import locked, replace_folder


def check_place(out: Path, overwrite: bool) -> None:
    """Refuse to replace anything but an index, and that only when asked to."""
    if not out.exists():
        return
    if not overwrite:
        raise IndexingError(f"{out} is already there: open it, choose another directory, or overwrite it")
    if foreign := Manifest.foreign(out):
        raise IndexingError(
            f"{out} holds files that are not the index's, such as {foreign[0]}: move them, or choose another directory"
        )


@contextmanager
def making(out: Path, manifest: Manifest, *, overwrite: bool) -> Iterator[Path]:
    """The folder beside `out`, locked for this process, in which to build the index that a manifest describes. When it
    is complete, with its manifest, it is renamed to `out`; after an error it stays, and the next build resumes from it.

    Raises:
        FolderBusyError: Another process builds there.
        IndexingError: See `claimed` and `check_place`.
    """
    with claimed(out) as partial:
        check_place(out, overwrite)  # another process may have finished it before this one got its claim
        partial.mkdir(exist_ok=True)
        if not is_finished(partial, manifest):
            (partial / MARK).touch()
        yield partial
        check_place(out, overwrite)  # or something else may have come there meanwhile
        clear(partial)
        replace_folder(partial, out)


def beside(out: Path) -> Path:
    """The folder in which the index is built that will be renamed to `out`."""
    return out.with_name(f"{out.name}.partial")


@contextmanager
def claimed(out: Path) -> Iterator[Path]:
    """Lock the folder beside `out`, which need not exist, for this process.

    Raises:
        FolderBusyError: Another process builds there.
        IndexingError: The folder was not left by a build.
        OutputError: The lock file cannot be made.
    """
    partial = beside(out)
    with locked(partial, f"another process is building {out}; wait for it, or choose another directory"):
        if partial.exists() and not _is_ours(partial):
            raise IndexingError(
                f"{partial} is in the way and no build left it there: move it, or choose another directory"
            )
        yield partial


def is_finished(partial: Path, manifest: Manifest) -> bool:
    """Whether a build of this plan was killed when only clearing up and renaming was left."""
    try:
        stored = replace(Manifest.read(partial), counts=Counts(), files={})
    except IndexingError:
        return False
    return json.dumps(stored.to_json()) == json.dumps(manifest.to_json())


def _is_ours(partial: Path) -> bool:
    """Whether a build left a directory: it is marked, or an index, or empty."""
    if not partial.is_dir():
        return False
    if (partial / MARK).is_file() or not any(partial.iterdir()):
        return True
    try:
        return not Manifest.foreign(partial)
    except IndexingError:
        return False


def clear(partial: Path) -> None:
    """Remove what only the making of an index needed: every file that its manifest does not list, the mark last."""
    own = {NAME, MARK, *Manifest.read(partial).files}
    for path in sorted(partial.rglob("*"), reverse=True):  # what is in a folder before the folder
        if path.is_file() and path.relative_to(partial).as_posix() not in own:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()
    (partial / MARK).unlink(missing_ok=True)


def recover(out: Path) -> None:
    """Put an index in its place that was killed there between the old one's going and its coming."""
    if out.exists() or not (beside(out) / NAME).is_file():
        return
    with claimed(out) as partial:
        if not out.exists():
            clear(partial)
            replace_folder(partial, out)
