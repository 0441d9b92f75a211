"""Output folders: written beside their path, and moved there only when they are complete.

One process writes a folder at a time. A process that is killed leaves the old folder or the new one, never a mixture: a
new folder is written under another name, the old one is moved aside, and `recover` moves it back where a kill came
between the two renames. Long runs that keep what they have finished write into a `resumable` folder instead.
"""

import contextlib
import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from conceptprobe.errors import FolderBusyError, OutputError
from conceptprobe.output.atomic import TEMPORARY


@contextmanager
def locked(path: Path, busy: str, timeout: float = 0.0) -> Iterator[None]:
    """Hold a lock file beside a path; the parent folder is made where there is none.

    Args:
        path: The file or folder to lock.
        busy: Message of the error where another process holds the lock.
        timeout: Seconds to wait for that process.

    Raises:
        FolderBusyError: Another process holds the lock.
        OutputError: The lock file cannot be made.
    """
    file = path.with_name(f"{path.name}.lock")
    lock = FileLock(file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=timeout)
    except Timeout as error:
        raise FolderBusyError(busy) from error
    except OSError as error:
        raise OutputError(f"cannot make {file}: {error.strerror}; choose another folder") from error
    if not file.exists():  # the process that held the lock removed the file after it was opened here
        lock.release()
        raise FolderBusyError(busy)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # an open file cannot be removed on every platform
            file.unlink()
        lock.release()


@contextmanager
def staged(out: str | os.PathLike[str], check: Callable[[Path], None]) -> Iterator[Path]:
    """A new folder beside `out` that replaces it when the block ends well, and is removed when it does not.

    Args:
        out: The path to write; missing, empty, or a folder that `check` accepts.
        check: Raises an error for a folder that must not be replaced.

    Raises:
        FolderBusyError: Another process writes to `out`.
        OutputError: `out` is a file or a link, or its parent folder cannot be written to.
    """
    out = Path(out)
    out = out.parent.resolve() / out.name if out.name else out.resolve()
    check_replaceable(out, check)
    with locked(out, f"another process is writing {out}: wait for it, or choose another folder"):
        recover(out)
        check_replaceable(out, check)
        for left in out.parent.glob(f"{glob.escape(f'.{out.name}')}.partial-*"):  # of a process that was killed
            shutil.rmtree(left, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.parent))
        try:
            yield partial
            partial.chmod(0o755)
            check_replaceable(out, check)  # something else may have been put there meanwhile
            flush(partial)
            replace_folder(partial, out)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def resumable(folder: Path, check: Callable[[Path], None], busy: str) -> Iterator[None]:
    """Lock a folder into which a run writes whole files, one after the other.

    After an error or a kill the files stay, and the next run resumes from them. The folder is made where there is none.

    Args:
        folder: The path to write; missing, empty, or a folder that `check` accepts.
        check: Raises an error for a folder that no run left there.
        busy: Message of the error where another process holds the lock.

    Raises:
        FolderBusyError: Another process writes to the folder.
        OutputError: The folder cannot be made.
    """
    folder = folder.resolve()
    with locked(folder, busy):
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make {folder}: {error.strerror}; choose another folder") from error
        if any(path.suffix != TEMPORARY for path in folder.iterdir()):  # a kill can leave half of the first file
            check(folder)
        yield


def check_replaceable(out: Path, check: Callable[[Path], None]) -> None:
    """Refuse a path that is neither free, nor an empty folder, nor a folder that `check` accepts."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise OutputError(f"{out} exists and is not a folder: choose another folder")
    if out.is_dir() and any(out.iterdir()):
        check(out)


def flush(folder: Path) -> None:
    """Bring every file below a folder to the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())


def replace_folder(partial: Path, out: Path) -> None:
    """Rename `partial` to `out`; the old folder is removed only after the new one is there."""
    if out.exists():
        aside = Path(tempfile.mkdtemp(prefix=f".{out.name}-replaced-", dir=out.parent))
        out.rename(aside / out.name)
    partial.rename(out)
    for old in _set_aside(out):
        shutil.rmtree(old, ignore_errors=True)


def recover(out: Path) -> None:
    """Move the old folder back where a kill came between its removal and the arrival of the new one."""
    if out.exists():
        return
    for aside in _set_aside(out):
        if (aside / out.name).is_dir():
            (aside / out.name).rename(out)
            aside.rmdir()
            return


def restore(out: Path) -> None:
    """`recover` for a reader: nothing is moved where nothing was left aside, or while another process writes.

    Raises:
        FolderBusyError: Another process is replacing the folder at this moment.
    """
    if not out.exists() and _set_aside(out):
        with locked(out, f"another process is writing {out}: try again when it has ended"):
            recover(out)


def _set_aside(out: Path) -> list[Path]:
    return sorted(out.parent.glob(f"{glob.escape(f'.{out.name}')}-replaced-*"))
