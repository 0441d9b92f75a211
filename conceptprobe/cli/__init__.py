"""The command line: a thin command for each verb."""

from conceptprobe.cli.main import main

__all__ = ["main"]
