"""Where an index keeps its files, and how they are opened."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from conceptprobe.errors import ConceptProbeError
from conceptprobe.indexing.errors import IndexingError

if TYPE_CHECKING:
    pass


def layer_folder(root: Path, layer: str) -> Path:
    """Where an index keeps a layer; names that are no file names are percent-encoded."""
    return root / "layers" / quote(layer, safe="")


@contextmanager
def reading(path: Path) -> Iterator[Path]:
    """What goes wrong in reading a file of an index becomes one clear error."""
    try:
        yield path
    except ConceptProbeError:
        raise
    except Exception as error:
        raise IndexingError(f"{path} is damaged ({type(error).__name__}): rebuild the index") from error
