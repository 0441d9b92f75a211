"""`manifest.json`: what an index is of, how it was made, and the hash of every file. Written last."""

import hashlib
import json
import os
from collections.abc import Collection, Iterator
from dataclasses import asdict, field, fields
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.settings import IndexSettings, Pooling
from conceptprobe.models import Layer
from conceptprobe.output.atomic import TEMPORARY, replace_file
from conceptprobe.validation import first_fault

SCHEMA_VERSION = 2
NAME = "manifest.json"
MARK = "unfinished"  # an empty file in a folder in which an index is being built
_FIRST = (
    *("model", "source", "layers", "pooling", "k", "batch_size"),
    *("vectors", "versions", "faiss", "bottom", "growable"),
)  # the first keys of the JSON file, in this order
_DECISIVE = ("model", "source", "layers", *(setting.name for setting in fields(IndexSettings)), "versions")
_SHOWN = 40  # characters of a value in a message
_STORED = ConfigDict(strict=True, extra="forbid")
_LEFT_OUT = (
    "device",
    "dtype",
    "intervened",
    "external",
    "fast_decode",
)  # keys that the JSON lacks where they have no value


@dataclass(frozen=True, config=_STORED)
class ModelEntry:
    """The model that an index is of.

    Attributes:
        spec: As `load_model` takes it, or what the caller of `index_activations` calls the model.
        device: The type of device that it ran on; None where the activations came from elsewhere.
        dtype: Of its weights, such as "float32"; None where the activations came from elsewhere.
        intervened: Whether a hook may have changed its activations.
        external: Whether the activations came from elsewhere.
    """

    spec: str
    fingerprint: str
    preprocessing: dict[str, Any]
    device: str | None = None
    dtype: str | None = None
    intervened: bool = False
    external: bool = False

    @property
    def is_reproducible(self) -> bool:
        """Whether the model alone gives the indexed activations."""
        return not self.external and not self.intervened


@dataclass(frozen=True, config=_STORED)
class SourceEntry:
    """The image source that an index is of.

    Attributes:
        fast_decode: How images were decoded where that was fast and not exact: "nvjpeg" or "scaled".
    """

    spec: str
    fingerprint: str
    background: str
    fast_decode: str | None = None


@dataclass(frozen=True, config=_STORED)
class ShardEntry:
    """Which batches a shard holds.

    Attributes:
        batches: Runs of batches, each from a first number up to but without a last.
        images: Number of images of the whole index.
    """

    batches: tuple[tuple[int, int], ...]
    images: int


@dataclass(frozen=True, config=_STORED)
class AppendEntry:
    """An append whose result may differ from a fresh build.

    Attributes:
        images: How many were new.
        batches: The first of their batches, and the first after them.
        why: What may differ, and the reasons.
    """

    images: int
    batches: tuple[int, int]
    why: str


@dataclass(frozen=True, config=_STORED)
class Counts:
    """Numbers of images; `listed` is the sum of the others."""

    listed: int = 0
    indexed: int = 0
    skipped: int = 0


@dataclass(frozen=True, kw_only=True, config=_STORED)
class Manifest(IndexSettings):
    """What can be read of an index without opening its arrays, with the settings that it was built with.

    Attributes:
        layers: By their names, in the order of the model.
        part: Of a shard, which batches it holds; None for a whole index.
        files: sha256 of every other file, by its path inside the index.
    """

    model: ModelEntry
    source: SourceEntry
    layers: dict[str, Layer]
    pooling: Pooling
    versions: dict[str, str]
    part: ShardEntry | None = None
    appended: tuple[AppendEntry, ...] = ()
    counts: Counts = Counts()
    files: dict[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def listed(self) -> int:
        """Number of images in the listing, of which a shard may hold a part."""
        return self.counts.listed if self.part is None else self.part.images

    def to_json(self) -> dict[str, Any]:
        """The content of the JSON file."""
        stored = asdict(self, dict_factory=lambda entry: {k: v for k, v in entry if v or k not in _LEFT_OUT})
        for layer in stored["layers"].values():
            del layer["name"]
        return dict.fromkeys(_FIRST) | stored

    def write(self, folder: Path) -> None:
        """Write the manifest into a folder, whole or not at all."""
        replace_file(folder / NAME, json.dumps(self.to_json(), indent=1, ensure_ascii=False).encode())

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
        stored = _stored(path)
        version = stored["schema_version"]
        if version != SCHEMA_VERSION:
            raise IndexingError(
                f"{folder} has schema version {version}, this conceptprobe reads {SCHEMA_VERSION}; rebuild it"
            )
        layers = stored.get("layers")
        if isinstance(layers, dict):
            stored["layers"] = {
                name: {**about, "name": name} if isinstance(about, dict) else about for name, about in layers.items()
            }
        try:
            return TypeAdapter(cls).validate_json(json.dumps(stored))
        except ValidationError as error:
            raise IndexingError(f"{path} is not as it should be ({first_fault(error)}): rebuild the index") from error

    @classmethod
    def other_files(cls, folder: Path) -> list[str]:
        """Files below an index, of any schema version, that its manifest does not list.

        Raises:
            IndexingError: The folder holds no manifest, or one that lists no files.
        """
        if not (folder / NAME).is_file():
            raise IndexingError(f"{folder} holds no {NAME}, so it is not a finished index: choose another directory")
        files = _stored(folder / NAME).get("files")
        if not isinstance(files, dict):
            raise IndexingError(f"{folder / NAME} does not list the index's files: remove {folder} by hand")
        listed = {NAME, *files}
        names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
        return sorted(name for name in names if name not in listed)


def _stored(path: Path) -> dict[str, Any]:
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        stored["schema_version"]
    except (ValueError, KeyError, TypeError) as error:
        raise IndexingError(
            f"{path} is not readable as a manifest ({error}): remove {path.parent} and build the index again"
        ) from error
    entries: dict[str, Any] = stored
    return entries


def differences(a: Manifest, b: Manifest) -> list[str]:
    """The entries that decide a result and differ between two manifests, each as `name: one / other`."""
    one, other = a.to_json(), b.to_json()
    return [text for key in _DECISIVE for text in entry_differences(key, one[key], other[key])]


def entry_differences(name: str, one: Any, other: Any) -> list[str]:
    """`differences` of one entry."""
    return [f"{key}: {_shown(a)} / {_shown(b)}" for key, a, b in _different(name, one, other)]


def _different(name: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in {**one, **other}:
            yield from _different(f"{name}.{key}", one.get(key), other.get(key))
    elif json.dumps(one) != json.dumps(other):
        yield name, one, other


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def hash_files(folder: Path, excluded: Collection[Path] = ()) -> dict[str, str]:
    """sha256 of every file below a folder by its POSIX path, sorted; every file is flushed to the disk.

    The manifest, excluded files and files that a kill left half-written are left out.
    """
    hashes = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (NAME, MARK)):
        if path not in excluded and path.suffix != TEMPORARY:
            hashes[path.relative_to(folder).as_posix()] = _hash_file(path)
            with path.open("rb") as file:
                os.fsync(file.fileno())
    return hashes


def damaged_files(folder: Path, manifest: Manifest) -> list[str]:
    """Files that are missing or changed, each as `name is missing` or `name has changed`."""
    states = {name: folder / name for name in manifest.files}
    return [
        f"{name} {'has changed' if path.is_file() else 'is missing'}"
        for name, path in states.items()
        if not path.is_file() or _hash_file(path) != manifest.files[name]
    ]


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
