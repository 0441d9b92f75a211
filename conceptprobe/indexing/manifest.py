"""`manifest.json`: what an index is of, how it was made, and the hash of every file. Written last."""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from conceptprobe.indexing.errors import IndexingError

SCHEMA_VERSION = 1
NAME = "manifest.json"
LOCK = "lock"


@dataclass(frozen=True)
class Manifest:
    """What can be read of an index without opening its arrays.

    Attributes:
        model: spec, fingerprint, preprocessing.
        source: spec, fingerprint, background.
        layers: For each layer name width, kind, prefix, cls, grid.
        vectors: Whether there are FAISS files.
        counts: listed, indexed and skipped images; listed = indexed + skipped.
        files: sha256 of every other file, by its path inside the index.
    """

    model: dict[str, Any]
    source: dict[str, Any]
    layers: dict[str, dict[str, Any]]
    pooling: tuple[str, ...]
    k: int
    batch_size: int
    vectors: bool
    versions: dict[str, str]
    counts: dict[str, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    def write(self, folder: Path) -> None:
        path = folder / NAME
        with path.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())

    @classmethod
    def read(cls, folder: Path) -> "Manifest":
        """Read the manifest of a finished index.

        Raises:
            IndexingError: The folder is missing, is not a finished index, or is of another schema version.
        """
        path = folder / NAME
        if not path.is_file():
            what = "does not exist" if not folder.exists() else f"holds no {NAME}, so it is not a finished index"
            raise IndexingError(f"{folder} {what}. Make one with `conceptprobe index build`.")
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            version = stored["schema_version"]
        except (ValueError, KeyError, TypeError) as error:
            raise IndexingError(f"{path} is not readable as a manifest ({error}); rebuild the index") from error
        if version != SCHEMA_VERSION:
            raise IndexingError(
                f"{folder} has schema version {version}, this conceptprobe reads {SCHEMA_VERSION}; rebuild it"
            )
        try:
            return cls(**{**stored, "pooling": tuple(stored["pooling"])})
        except (KeyError, TypeError) as error:
            raise IndexingError(f"{path} lacks or has too many entries ({error}); rebuild the index") from error


def hash_files(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder but the manifest, each flushed to disk; keys are POSIX paths, sorted."""
    hashes = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (NAME, LOCK)):
        with path.open("rb") as file:
            hashes[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
    return hashes
