"""Files that are there as a whole or not at all, whenever the process is killed."""

import os
from pathlib import Path

TEMPORARY = ".tmp"  # how the names of files end that are not complete yet


def replace_file(path: Path, content: bytes) -> None:
    """Write a file that is there as a whole, or as it was before."""
    temporary = path.with_name(path.name + TEMPORARY)
    with temporary.open("wb") as file:  # open to be read by all, as libraries' own writers are not always
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
