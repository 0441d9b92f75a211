"""Where a report is put: whole or not at all, and never over something that is no report."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conceptprobe.report.errors import ReportError

MARKER = "conceptprobe-report.json"


def is_report(folder: Path) -> bool:
    """Whether a folder is a report."""
    return (folder / MARKER).is_file()


def refuse_foreign_folder(out: Path) -> None:
    """Raise unless `out` is free, empty or a report."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ReportError(f"{out} exists and is not a folder: choose another --out")
    if out.is_dir() and any(out.iterdir()) and not is_report(out):
        raise ReportError(f"{out} exists and is not a report of conceptprobe: choose another folder, or remove it")


@contextmanager
def putting(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place when the block ends well, and goes away when it does not."""
    refuse_foreign_folder(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.resolve().parent))
    try:
        yield partial
        partial.chmod(0o755)
        replace_folder(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def replace_folder(partial: Path, out: Path) -> None:
    """Rename `partial` to `out`; what was there before goes away only after the new report is in place."""
    if not out.exists():
        partial.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=partial.parent))
    out.rename(old / out.name)
    partial.rename(out)
    shutil.rmtree(old, ignore_errors=True)
