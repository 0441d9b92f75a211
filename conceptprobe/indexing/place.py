"""Where an index comes to lie: claimed by one process, replaced only by its like, there only when complete."""

import glob
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from filelock import FileLock, Timeout

from conceptprobe.indexing.errors import BusyError, IndexingError
from conceptprobe.indexing.manifest import LOCK, NAME, Manifest


def check_place(out: Path, overwrite: bool) -> None:
    """Refuse to replace anything but an index, and that only when asked to."""
    if not out.exists():
        return
    if not overwrite:
        raise IndexingError(f"{out} is already there: open it, choose another directory, or overwrite it")
    own = {NAME, LOCK, *Manifest.read(out).files}
    foreign = sorted(path for path in out.rglob("*") if path.is_file() and path.relative_to(out).as_posix() not in own)
    if foreign:
        raise IndexingError(
            f"{out} holds files that are not the index's, such as {foreign[0].relative_to(out)}: move them, "
            "or choose another directory"
        )


@contextmanager
def making(out: Path, manifest: Manifest, *, overwrite: bool) -> Iterator[Path]:
    """The directory beside `out`, claimed for this process, in which to make what the manifest describes. When it is
    complete, with its manifest, it takes its place at `out`; after an error it stays for the next try.

    Raises:
        IndexingError: See `claimed` and `check_place`.
    """
    partial = beside(out)
    with claimed(partial, out, manifest):
        check_place(out, overwrite)  # another process may have finished it before this one got its claim
        yield partial
        check_place(out, overwrite)  # or something else may have come there meanwhile
        clear(partial)
        publish(partial, out)


def beside(out: Path) -> Path:
    """Where what is to lie at `out` is made."""
    return out.with_name(f"{out.name}.partial")


@contextmanager
def claimed(partial: Path, out: Path, manifest: Manifest) -> Iterator[None]:
    """Make the directory of an unfinished build, or take over one that was left, for this process alone.

    Raises:
        IndexingError: Another process builds there, or the directory is not of a build.
    """
    ours = (partial / LOCK).is_file() or is_finished(partial, manifest)
    if partial.exists() and not (ours or (partial.is_dir() and not any(partial.iterdir()))):
        raise IndexingError(f"{partial} is in the way and no build left it there: move it, or choose another directory")
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IndexingError(f"cannot make {partial}: {error.strerror}; choose another directory") from error
    lock = FileLock(partial / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise BusyError(f"another process is building {out}; wait for it, or choose another directory") from error
    try:
        yield
    finally:
        lock.release()


def is_finished(partial: Path, manifest: Manifest) -> bool:
    """Whether a build of this plan was killed when nothing but the renaming was left."""
    if not (partial / NAME).is_file():
        return False
    stored = replace(Manifest.read(partial), counts={}, files={})
    return json.dumps(asdict(stored)) == json.dumps(asdict(manifest))


def clear(partial: Path) -> None:
    """Remove what only the making of an index needed: every file that its manifest does not list."""
    own = {NAME, *Manifest.read(partial).files}
    for path in sorted(partial.rglob("*"), reverse=True):  # what is in a folder before the folder
        if path.is_file() and path.relative_to(partial).as_posix() not in own:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def publish(partial: Path, out: Path) -> None:
    """Put a finished index in its place; an older one is removed only when the new one is there."""
    aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-replaced-", dir=out.parent))
    if out.exists():
        out.rename(aside / out.name)
    partial.rename(out)
    for old in out.parent.glob(f"{glob.escape(f'.{out.name}')}-replaced-*"):  # a kill may have left another
        shutil.rmtree(old)


def recover(out: Path) -> None:
    """Put an index in its place that was killed there between the old one's going and its coming."""
    partial = beside(out)
    if not out.exists() and (partial / NAME).is_file():
        clear(partial)
        publish(partial, out)
