"""Where the raw bytes of an image lie. Readers hold arrow and numpy arrays only, and pickle for loader workers."""

import os
import re
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from conceptprobe.images.errors import UnreadableImageError

SLICE = 1024  # rows of a data set that are looked at together


class Reader(Protocol):
    """The images of a source's rows, in the rows' order."""

    def read(self, row: int) -> bytes | Image.Image:
        """The raw bytes; or an opened image, where no bytes exist."""

    def take(self, rows: np.ndarray) -> "Reader":
        """The reader of these rows."""

    def identity(self) -> bytes:
        """What tells cheaply, without reading an image, that some image was replaced."""


@dataclass(frozen=True, eq=False)
class FileReader:
    """One file an image. Paths are bytes, since a file's name need not be text; relative ones start at `root`."""

    root: str
    paths: pa.ChunkedArray  # binary

    def read(self, row: int) -> bytes:
        with open(self._path(row), "rb") as file:
            return file.read()

    def take(self, rows: np.ndarray) -> "FileReader":
        return FileReader(self.root, self.paths.take(pa.array(rows)))

    def identity(self) -> bytes:
        sizes = np.empty(len(self.paths), "<i8")
        for row in range(len(sizes)):
            try:
                sizes[row] = os.stat(self._path(row)).st_size
            except OSError:
                sizes[row] = -1
        return sizes.tobytes()

    def _path(self, row: int) -> bytes:
        return os.path.join(os.fsencode(self.root), self.paths[row].as_py())


@dataclass(frozen=True, eq=False)
class TarReader:
    """Images inside uncompressed tar shards, read in place."""

    shards: tuple[str, ...]
    shard: np.ndarray  # int32, position in `shards`
    offset: np.ndarray  # int64
    size: np.ndarray  # int64

    def read(self, row: int) -> bytes:
        with open(self.shards[self.shard[row]], "rb") as file:
            file.seek(self.offset[row])
            return file.read(self.size[row])

    def take(self, rows: np.ndarray) -> "TarReader":
        return TarReader(self.shards, self.shard[rows], self.offset[rows], self.size[rows])

    def identity(self) -> bytes:
        return self.size.astype("<i8").tobytes()


@dataclass(frozen=True, eq=False)
class DatasetReader:
    """Items of a torch map-style dataset: PIL images, alone or first in a tuple."""

    dataset: Any
    positions: np.ndarray  # int64

    def read(self, row: int) -> Image.Image:
        item = read_item(self.dataset, int(self.positions[row]))
        image = item[0] if isinstance(item, tuple | list) else item
        if not isinstance(image, Image.Image):
            raise UnreadableImageError(f"dataset: {type(image).__name__} instead of a PIL image")
        return image

    def take(self, rows: np.ndarray) -> "DatasetReader":
        return DatasetReader(self.dataset, self.positions[rows])

    def identity(self) -> bytes:
        return b""


@dataclass(frozen=True, eq=False)
class DatasetsReader:
    """Images of a `datasets.Dataset` that gives them undecoded."""

    dataset: Any
    column: str
    positions: np.ndarray  # int64

    def read(self, row: int) -> bytes:
        value = read_item(self.dataset, int(self.positions[row]))[self.column]
        data, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if data is None and path:
            with open(path, "rb") as file:
                return file.read()
        if data is None:
            raise UnreadableImageError("no image in this row")
        return data

    def take(self, rows: np.ndarray) -> "DatasetsReader":
        return DatasetsReader(self.dataset, self.column, self.positions[rows])

    def identity(self) -> bytes:
        images = self.dataset.with_format("arrow")
        sizes = np.empty(len(images), "<i8")
        for start in range(0, len(images), SLICE):
            column = images[start : start + SLICE][self.column]
            data = pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
            sizes[start : start + SLICE] = pc.fill_null(pc.binary_length(data), -1).to_numpy()
        return sizes[self.positions].tobytes()


def read_item(dataset: Any, position: int) -> Any:
    """An item of somebody else's dataset.

    Raises:
        UnreadableImageError: Its code raises anything; the other images still count.
    """
    try:
        return dataset[position]
    except MemoryError:
        raise
    except Exception as error:
        text = re.sub(r" at 0x[0-9a-fA-F]+", "", f"dataset: {type(error).__name__}: {error}")  # the same on every run
        raise UnreadableImageError(text[:160]) from error
