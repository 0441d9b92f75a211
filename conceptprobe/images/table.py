"""`table:FILE`: a csv, jsonl or parquet file with one row for each image and a column of paths."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from conceptprobe.images.errors import SourceError
from conceptprobe.images.metadata import read_table
from conceptprobe.images.readers import FileReader

PATH_COLUMNS = ("path", "image", "file_name")
CHECKED_PATHS = 100


def list_table(path: str) -> tuple[pa.Table, FileReader]:
    """List the images of a table; paths are relative to its folder. Without a column `id`, the path is the id.

    Raises:
        SourceError: The table does not exist, it has no column of paths, a row has no path, or no path is a file.
    """
    file = Path(path).expanduser()
    _refuse_images(path, file)
    table = read_table(file)
    if not len(table):
        raise SourceError(f"table:{path} has no rows: it needs one for each image")
    name = next((column for column in PATH_COLUMNS if column in table.column_names), None)
    if name is None:
        raise SourceError(
            f"table:{path} has no column of paths, only {', '.join(table.column_names)}: "
            f"name it {', '.join(PATH_COLUMNS[:-1])} or {PATH_COLUMNS[-1]}"
        )
    try:
        paths = table[name].cast(pa.string())
    except pa.ArrowException as error:
        raise SourceError(
            f"table:{path}: the column {name!r} must hold paths, not {table[name].type}: "
            "write the images to files and their paths to this column"
        ) from error
    if paths.null_count:
        raise SourceError(
            f"table:{path}: {paths.null_count} rows have no {name}, the first is row "
            f"{pc.index(pc.is_null(paths), True).as_py()}: fill or remove them"
        )
    root = file.absolute().parent
    first = paths.slice(0, CHECKED_PATHS).to_pylist()
    if not any((root / relative).is_file() for relative in first):
        raise SourceError(
            f"table:{path}: no file at the first {len(first)} paths, for example {first[0]!r}: "
            f"paths must be absolute or relative to {root}"
        )
    if "id" not in table.column_names:
        table = table.set_column(table.column_names.index(name), "id", paths)
    return table, FileReader(str(root), paths.cast(pa.binary()))


def _refuse_images(path: str, file: Path) -> None:
    """Refuse a parquet file that holds images, before gigabytes are read."""
    if file.suffix.lower() != ".parquet":
        return
    try:
        schema = pq.read_schema(file)
    except (pa.ArrowException, OSError):  # read_table reports what is wrong
        return
    for name in PATH_COLUMNS:
        if name in schema.names and (pa.types.is_struct(kind := schema.field(name).type) or pa.types.is_binary(kind)):
            raise SourceError(
                f"table:{path}: the column {name!r} must hold paths, not {kind}; for images in parquet use hf:{path}"
            )
