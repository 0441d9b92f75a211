"""Readers of raw image bytes. They hold only arrow and numpy arrays, so loader workers can unpickle them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from conceptprobe.images.errors import UnreadableImageError

SLICE = 1024  # rows of a dataset that are read at once


class Reader(Protocol):
    """Reads the images of a source's rows."""

    def read(self, row: int) -> bytes | Image.Image:
        """The raw bytes of a row's image, or an opened image if there are no bytes."""

    def take(self, rows: np.ndarray) -> "Reader":
        """The reader of these rows."""

    def identity(self) -> bytes:
        """Bytes that change if an image is replaced, computed without reading any image."""


@dataclass(frozen=True, eq=False)
class FileReader:
    """One file for each image. Paths are bytes because file names need not be text, and may be relative to `root`."""

    root: str
    paths: pa.ChunkedArray  # binary

    def read(self, row: int) -> bytes:
        """The bytes of a row's file."""
        return self._path(row).read_bytes()

    def take(self, rows: np.ndarray) -> "FileReader":
        """The reader of these rows."""
        return FileReader(self.root, self.paths.take(pa.array(rows)))

    def identity(self) -> bytes:
        """The size of each file."""
        sizes = np.empty(len(self.paths), "<i8")
        for row in range(len(sizes)):
            try:
                sizes[row] = self._path(row).stat().st_size
            except OSError:
                sizes[row] = -1
        return sizes.tobytes()

    def _path(self, row: int) -> Path:
        return Path(self.root, os.fsdecode(self.paths[row].as_py()))


@dataclass(frozen=True, eq=False)
class TarReader:
    """Images inside uncompressed tar shards, read in place."""

    shards: tuple[str, ...]
    shard: np.ndarray  # int32, position in `shards`
    offset: np.ndarray  # int64
    size: np.ndarray  # int64

    def read(self, row: int) -> bytes:
        """The bytes of a row's member."""
        with Path(self.shards[self.shard[row]]).open("rb") as file:
            file.seek(self.offset[row])
            return file.read(self.size[row])

    def take(self, rows: np.ndarray) -> "TarReader":
        """The reader of these rows."""
        return TarReader(self.shards, self.shard[rows], self.offset[rows], self.size[rows])

    def identity(self) -> bytes:
        """The size of each member."""
        sizes: bytes = self.size.astype("<i8").tobytes()
        return sizes


@dataclass(frozen=True, eq=False)
class DatasetReader:
    """Items of a torch map-style dataset: PIL images, or tuples that start with one."""

    dataset: Any
    positions: np.ndarray  # int64

    def read(self, row: int) -> Image.Image:
        """The image of a row's item."""
        item = read_item(self.dataset, int(self.positions[row]))
        image = item[0] if isinstance(item, tuple | list) else item
        if not isinstance(image, Image.Image):
            raise UnreadableImageError(f"dataset: {type(image).__name__} instead of a PIL image")
        return image

    def take(self, rows: np.ndarray) -> "DatasetReader":
        """The reader of these rows."""
        return DatasetReader(self.dataset, self.positions[rows])

    def identity(self) -> bytes:
        """Nothing, because a dataset must read its images."""
        return b""


@dataclass(frozen=True, eq=False)
class DatasetsReader:
    """Undecoded images of a `datasets.Dataset`."""

    dataset: Any
    column: str
    positions: np.ndarray  # int64

    def read(self, row: int) -> bytes:
        """The bytes of a row's image, or of the file that the row names."""
        value = read_item(self.dataset, int(self.positions[row]))[self.column]
        data: bytes | None = value.get("bytes") if isinstance(value, dict) else value
        path = value.get("path") if isinstance(value, dict) else None
        if data is None and path:
            return Path(path).read_bytes()
        if data is None:
            raise UnreadableImageError("no image in this row")
        return data

    def take(self, rows: np.ndarray) -> "DatasetsReader":
        """The reader of these rows."""
        return DatasetsReader(self.dataset, self.column, self.positions[rows])

    def identity(self) -> bytes:
        """The size of each image."""
        images = self.dataset.with_format("arrow")
        sizes = np.empty(len(images), "<i8")
        for start in range(0, len(images), SLICE):
            column = images[start : start + SLICE][self.column]
            data = pc.struct_field(column, "bytes") if pa.types.is_struct(column.type) else column
            sizes[start : start + SLICE] = pc.fill_null(pc.binary_length(data), -1).to_numpy()
        chosen: bytes = sizes[self.positions].tobytes()
        return chosen


def read_item(dataset: Any, position: int) -> Any:
    """An item of a user's dataset.

    Raises:
        UnreadableImageError: The dataset raises an error for this item; its other items can still be read.
    """
    try:
        return dataset[position]
    except MemoryError:
        raise
    except Exception as error:
        text = re.sub(r" at 0x[0-9a-fA-F]+", "", f"dataset: {type(error).__name__}: {error}")  # the same on every run
        raise UnreadableImageError(text[:160]) from error
