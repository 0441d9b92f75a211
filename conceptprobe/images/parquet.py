"""Images inside parquet files, as in Hugging Face's datasets, read in place a few megabytes at a time."""

import json
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from conceptprobe.images.errors import SourceError, UnreadableImageError

STEP = 64 << 20  # bytes of images that are unpacked at once; a smaller row group is unpacked whole
BUFFER = 1 << 20
IMAGE_NAMES = ("image", "img", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes")


class _Cursor:
    """The position of this process in a row group.

    A copy in another process, pickled or forked, starts from the beginning. A lock serialises threads.
    """

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._group: tuple[str, int] | None = None
        self._steps: Iterator[pa.RecordBatch] = iter(())
        self._images: pa.Array = pa.array([], pa.binary())
        self._start = 0

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return _Cursor, ()

    def read(self, path: str, group: int, column: str, row: int) -> bytes | None:
        """Read row `row` of a row group; later rows are fast, and earlier rows read the group from its start again."""
        if self._process != os.getpid():  # nobody releases a lock that another thread held at the fork
            self.__init__()  # type: ignore[misc]
        with self._lock:
            return self._read(path, group, column, row)

    def _read(self, path: str, group: int, column: str, row: int) -> bytes | None:
        if self._group != (path, group) or row < self._start:
            self._group = None
            with Path(path).open("rb"):  # raises the same errors as for any other file
                pass
            file = pq.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False)
            metadata = file.metadata.row_group(group)
            rows = max(1, STEP * metadata.num_rows // max(metadata.total_byte_size, 1))
            self._steps = file.iter_batches(rows, row_groups=[group], columns=[column], use_threads=False)
            self._images, self._start = pa.array([], pa.binary()), 0
            self._group = (path, group)
        try:
            while row >= self._start + len(self._images):
                self._start += len(self._images)
                images = next(self._steps).column(0)
                self._images = pc.struct_field(images, "bytes") if pa.types.is_struct(images.type) else images
        except BaseException:
            self._group = None
            raise
        data: bytes | None = self._images[row - self._start].as_py()
        return data


@dataclass(frozen=True, eq=False)
class ParquetReader:
    """Images in a column of parquet files; rows in the order of the files are read once, any other order is slow."""

    files: tuple[str, ...]
    column: str
    groups: np.ndarray  # int64 [g,3]: position in `files`, row group in that file, its bytes of images
    group: np.ndarray  # int32, position in `groups`
    offset: np.ndarray  # int32, row inside the row group
    _cursor: _Cursor = field(default_factory=_Cursor)

    def read(self, row: int) -> bytes:
        """The raw bytes of a row's image."""
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
        """The reader of these rows."""
        return ParquetReader(self.files, self.column, self.groups, self.group[rows], self.offset[rows])

    def identity(self) -> bytes:
        """The size of each row's row group."""
        sizes: bytes = self.groups[self.group, 2].astype("<i8").tobytes()
        return sizes


def list_parquet(files: Sequence[str]) -> tuple[pa.Table, ParquetReader]:
    """List the images in these files, one row for each image; only the metadata is read.

    Ids come from a column `id` if there is one, else they are `FILE:ROW`, with the file relative to the common folder.

    Raises:
        SourceError: A file is not parquet or holds no images, or the files differ in their columns.
    """
    root = os.path.commonpath([Path(file).parent for file in files])
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
            table = file.read([field.name for field in file.schema_arrow if is_metadata(field)])
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
    return name_columns(table, features), reader


def read_features(schema: pa.Schema) -> dict[str, Any]:
    """Hugging Face's description of each column; empty if the schema has none."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}


def image_column(schema: pa.Schema, features: dict[str, Any], where: str) -> str:
    """The column of images: one declared as images, else a struct with bytes, else bytes with a usual name.

    Raises:
        SourceError: There is no such column.
    """
    declared = [name for name in schema.names if (features.get(name) or {}).get("_type") == "Image"]
    structs = [f.name for f in schema if pa.types.is_struct(f.type) and f.type.get_field_index("bytes") >= 0]
    binary = [f.name for f in schema if _is_binary(f.type) and f.name.lower() in IMAGE_NAMES]
    for names in (declared, structs, binary):
        if names:
            name = "image" if "image" in names else names[0]
            return f"{name}.bytes" if pa.types.is_struct(schema.field(name).type) else name
    raise SourceError(
        f"{where} has no column of images, only {', '.join(schema.names)}: it must hold encoded files, as a struct of "
        f"bytes and path or as bytes named {IMAGE_NAMES[0]}; for paths of files use table:{where}"
    )


def find_leaf(metadata: pq.FileMetaData, column: str, path: str) -> int:
    """The position of a column of bytes among the columns of a file's row groups.

    Raises:
        SourceError: The file has no such column.
    """
    for position in range(metadata.num_columns):
        if metadata.schema.column(position).path == column:
            return position
    raise SourceError(f"{path} has no column {column!r}, which the files before it have: leave the file out")


def is_metadata(field: pa.Field) -> bool:
    """Whether a column describes an image and is not the image or another blob."""
    kind = field.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return not (pa.types.is_nested(kind) or _is_binary(kind))


def name_columns(table: pa.Table, features: dict[str, Any]) -> pa.Table:
    """Replace class numbers by names; without `label` or `caption`, the first class column and `text` become these."""
    labels = {name: feature for name, feature in features.items() if (feature or {}).get("_type") == "ClassLabel"}
    classes = {name: feature["names"] for name, feature in labels.items() if feature.get("names")}
    for at, name in enumerate(table.column_names):
        column = table[name]
        if name in classes:
            known = pc.and_(pc.greater_equal(column, 0), pc.less(column, len(classes[name])))  # -1 is an unknown class
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
    kinds = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary)
    return any(is_kind(kind) for is_kind in kinds)
