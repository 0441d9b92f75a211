"""Files that are written whole or not at all, even if the process is killed."""

import os
from pathlib import Path

TEMPORARY = ".tmp"  # how the names of files end that are not complete yet


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file as a whole; a kill leaves the old content."""
    temporary = path.with_name(path.name + TEMPORARY)
    with temporary.open("wb") as file:  # open to be read by all, as libraries' own writers are not always
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
