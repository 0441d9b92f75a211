"""The command line: one thin command a verb."""

from conceptprobe.cli.main import main

__all__ = ["main"]
