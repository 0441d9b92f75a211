"""Images inside parquet files, as Hugging Face writes its data sets: read in place, a few megabytes at a time."""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from conceptprobe.images.errors import SourceError, UnreadableImageError

STEP = 64 << 20  # bytes of images that are unpacked at once; a row group of fewer is one step
BUFFER = 1 << 20
IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes")


class _Cursor:
    """Where in a row group this process is. A copy in another process, sent there or forked, starts anew; threads take
    turns."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._turn = threading.Lock()
        self._place: tuple[str, int] | None = None
        self._steps: Iterator[pa.RecordBatch] = iter(())
        self._images: pa.Array = pa.array([], pa.binary())
        self._start = 0

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return _Cursor, ()

    def read(self, path: str, group: int, column: str, row: int) -> bytes | None:
        """Row `row` of a row group; rows that follow it cost little, those before it start the row group anew."""
        if self._process != os.getpid():  # what another thread held when it was forked, nobody would let go
            self.__init__()  # type: ignore[misc]
        with self._turn:
            return self._read(path, group, column, row)

    def _read(self, path: str, group: int, column: str, row: int) -> bytes | None:
        if self._place != (path, group) or row < self._start:
            self._place = None
            with open(path, "rb"):  # what stands against it is said as for any other file
                pass
            file = pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False)
            about = file.metadata.row_group(group)
            rows = max(1, STEP * about.num_rows // max(about.total_byte_size, 1))
            self._steps = file.iter_batches(rows, row_groups=[group], columns=[column], use_threads=False)
            self._images, self._start = pa.array([], pa.binary()), 0
            self._place = (path, group)
        try:
            while row >= self._start + len(self._images):
                self._start += len(self._images)
                images = next(self._steps).column(0)
                self._images = pc.struct_field(images, "bytes") if pa.types.is_struct(images.type) else images
        except BaseException:
            self._place = None
            raise
        return self._images[row - self._start].as_py()


@dataclass(frozen=True, eq=False)
class ParquetReader:
    """Images in a column of parquet files. Rows in the files' own order are read once; any other order is slow."""

    files: tuple[str, ...]
    column: str
    groups: np.ndarray  # int64 [g,3]: position in `files`, number of the row group there, its bytes of images
    group: np.ndarray  # int32, position in `groups`
    offset: np.ndarray  # int32, row inside the row group
    _cursor: _Cursor = field(default_factory=_Cursor)

    def read(self, row: int) -> bytes:
        file, number, _ = self.groups[self.group[row]].tolist()
        try:
            data = self._cursor.read(self.files[file], number, self.column, int(self.offset[row]))
        except (pa.ArrowException, OSError, StopIteration) as error:
            if isinstance(error, OSError) and error.errno:
                raise
            raise UnreadableImageError(f"parquet: {' '.join(str(error).split()) or 'too few rows'}"[:160]) from error
        if data is None:
            raise UnreadableImageError("no image in this row")
        return data

    def take(self, rows: np.ndarray) -> "ParquetReader":
        return ParquetReader(self.files, self.column, self.groups, self.group[rows], self.offset[rows])

    def identity(self) -> bytes:
        return self.groups[self.group, 2].astype("<i8").tobytes()


def list_parquet(files: Sequence[str]) -> tuple[pa.Table, ParquetReader]:
    """List the images in these files, a row an image; only what is known about them is read.

    Ids are those of a column `id`, else `FILE:ROW`, the file relative to the folder that all have in common.

    Raises:
        SourceError: A file is no parquet, or holds no images, or they differ in their columns.
    """
    root = os.path.commonpath([os.path.dirname(file) for file in files])
    tables, groups, counts = [], [], []
    features: dict[str, Any] = {}
    column = ""
    for number, path in enumerate(files):
        try:
            file = pq.ParquetFile(path)
            if not number:
                features = read_features(file.schema_arrow)
                column = image_column(file.schema_arrow, features, path)
            leaf = find_leaf(file.metadata, column, path)
            table = file.read([field.name for field in file.schema_arrow if tells(field)])
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{path} cannot be read as parquet: {error}") from error
        rows = [file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups)]
        groups += [(number, g, file.metadata.row_group(g).column(leaf).total_compressed_size) for g in range(len(rows))]
        counts += rows
        if "id" not in table.column_names:
            name = os.path.relpath(path, root)
            table = table.append_column("id", pa.array((f"{name}:{row:09d}" for row in range(sum(rows))), pa.string()))
        tables.append(table)
    try:
        table = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise SourceError(f"the parquet files under {root} differ in their columns: {error}") from error
    if not len(table):
        raise SourceError(f"no row in {len(files)} parquet files such as {files[0]}")
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    reader = ParquetReader(
        tuple(files),
        column,
        np.array(groups, np.int64),
        np.repeat(np.arange(len(counts), dtype=np.int32), counts),
        (np.arange(len(table)) - starts).astype(np.int32),
    )
    return describe(table, features), reader


def read_features(schema: pa.Schema) -> dict[str, Any]:
    """What Hugging Face notes about each column; empty where it wrote nothing."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def image_column(schema: pa.Schema, features: dict[str, Any], where: str) -> str:
    """The column of images: one that is noted to be, else a struct with bytes, else bytes of a usual name."""
    noted = [name for name in schema.names if (features.get(name) or {}).get("_type") == "Image"]
    structs = [f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    binary = [f.name for f in schema if _is_binary(f.type) and f.name.lower() in IMAGE_NAMES]
    for names in (noted, structs, binary):
        if names:
            name = "image" if "image" in names else names[0]
            return f"{name}.bytes" if pa.types.is_struct(schema.field(name).type) else name
    raise SourceError(
        f"{where} has no column of images, only {', '.join(schema.names)}: it must hold encoded files, as a struct of "
        f"bytes and path or as bytes named {IMAGE_NAMES[0]}; for paths of files use table:{where}"
    )


def find_leaf(metadata: pq.FileMetaData, column: str, path: str) -> int:
    """The position of a column of bytes among the columns of a file's row groups."""
    for position in range(metadata.num_columns):
        if metadata.schema.column(position).path == column:
            return position
    raise SourceError(f"{path} has no column {column!r}, as the files before it have: leave it out")


def tells(field: pa.Field) -> bool:
    """Whether a column says something about an image, and is not the image or another blob."""
    kind = field.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return not (pa.types.is_nested(kind) or _is_binary(kind))


def describe(table: pa.Table, features: dict[str, Any]) -> pa.Table:
    """Name numbered classes; `label` is the first of them, and `caption` is `text`, where there is none by the name."""
    labels = {name: about for name, about in features.items() if (about or {}).get("_type") == "ClassLabel"}
    classes = {name: about["names"] for name, about in labels.items() if about.get("names")}
    for at, name in enumerate(table.column_names):
        column = table[name]
        if name in classes:
            known = pc.and_(pc.greater_equal(column, 0), pc.less(column, len(classes[name])))  # -1 is withheld
            numbers = pc.if_else(known, column, None)
            table = table.set_column(at, name, pa.chunked_array([pa.array(classes[name], pa.string())]).take(numbers))
        elif name in ("caption", "text") and pa.types.is_list(column.type):
            table = table.set_column(at, name, pc.binary_join(column.cast(pa.list_(pa.string())), "\n"))
    first = next((name for name in table.column_names if name in classes), None)
    for old, new in ((first, "label"), ("text", "caption")):
        if old in table.column_names and new not in table.column_names:
            table = table.rename_columns([new if name == old else name for name in table.column_names])
    return table


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
