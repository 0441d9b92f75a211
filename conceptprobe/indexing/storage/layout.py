"""Where an index keeps its files."""

from pathlib import Path
from urllib.parse import quote


def layer_folder(root: Path, layer: str) -> Path:
    """Where an index keeps a layer; characters that a file name cannot have are percent-encoded."""
    return root / "layers" / quote(layer, safe="")
