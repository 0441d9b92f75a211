"""How a folder is recognised as a report."""

from pathlib import Path

from conceptprobe.report.errors import ReportError

MARKER = "conceptprobe-report.json"


def is_report(folder: Path) -> bool:
    """Whether a folder holds a report."""
    return (folder / MARKER).is_file()


def check_report(folder: Path) -> None:
    """Refuse a folder that is not a report.

    Raises:
        ReportError: The folder is not a report.
    """
    if not is_report(folder):
        raise ReportError(f"{folder} exists and is not a report of conceptprobe: choose another folder, or remove it")
