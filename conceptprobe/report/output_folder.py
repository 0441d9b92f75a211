"""Which folders are reports."""

from pathlib import Path

from conceptprobe.report.errors import ReportError

MARKER = "conceptprobe-report.json"


def is_report(folder: Path) -> bool:
    """Whether a folder is a report."""
    return (folder / MARKER).is_file()


def check_report(folder: Path) -> None:
    """Raise an error for a folder that is no report."""
    if not is_report(folder):
        raise ReportError(f"{folder} exists and is not a report of conceptprobe: choose another folder, or remove it")
