"""Tables of image metadata, read from csv, jsonl or parquet and converted to one form."""

import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from conceptprobe.images.errors import SourceError

TAKEN = 65_536  # rows per call of Table.take
HASH = "content_hash"  # a column that an index adds
TEXT = ("id", "path", "image", "file_name", "label", "caption", "text", "tags")  # read as text: label 007 is not 7


def read_table(path: Path | zipfile.Path) -> pa.Table:
    """Read a table by its extension; an empty cell of a csv is null.

    Raises:
        SourceError: The file does not exist, is of another kind, or cannot be parsed.
    """
    if not path.is_file():
        raise SourceError(f"{path} is not a file: give a .csv, .jsonl or .parquet file")
    try:
        with path.open("rb") as file:
            match path.suffix.lower():
                case ".csv":
                    return pyarrow.csv.read_csv(
                        file,
                        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
                        convert_options=pyarrow.csv.ConvertOptions(
                            column_types=dict.fromkeys(TEXT, pa.string()), null_values=[""], strings_can_be_null=True
                        ),
                    )
                case ".jsonl":
                    return pyarrow.json.read_json(file, pyarrow.json.ReadOptions(block_size=1 << 24))
                case ".parquet":
                    return pyarrow.parquet.read_table(file)
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} cannot be read as a table: {error}") from error
    raise SourceError(f"{path} is not a table: give a .csv, .jsonl or .parquet file")


def conform(table: pa.Table) -> pa.Table:
    """Convert the columns of a table to their standard types, so that rows do not depend on the rows around them.

    `id`, `label` and `caption` become strings, `tags` lists of strings, and categories of any column the values that
    they stand for. Tags in one string are split at `|`; an image without tags has an empty list. A column
    `content_hash`, which the image table of an index has, is dropped because hashes come from the images themselves.

    Raises:
        SourceError: A column cannot be converted, two columns have the same name, or an id is missing.
    """
    if again := [name for name, count in Counter(table.column_names).items() if count > 1]:
        raise SourceError(f"several columns are named {', '.join(map(repr, again))}: give each a different name")
    if HASH in table.column_names:
        table = table.drop_columns([HASH])
    for at, name in enumerate(table.column_names):
        column = table[name]
        try:
            if name == "tags":
                column = pa.chunked_array([pa.array(map(_tags, column.to_pylist()), pa.list_(pa.string()))])
            elif name in ("id", "label", "caption"):
                column = column.cast(pa.string())
            elif pa.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
        except (pa.ArrowException, TypeError) as error:
            raise SourceError(f"the column {name!r} of type {column.type} cannot be read as text: {error}") from error
        table = table.set_column(at, name, column)
    if missing := table["id"].null_count:
        first = pc.index(pc.is_null(table["id"]), True).as_py()
        raise SourceError(f"{missing} rows have no id, the first is row {first}: give every image an id")
    return table


def take_rows(table: pa.Table, rows: np.ndarray) -> pa.Table:
    """Some rows in any order, taken in chunks because Arrow takes no more than 2 GiB of text at once."""
    starts = range(0, max(len(rows), 1), TAKEN)
    return pa.concat_tables([table.take(pa.array(rows[start : start + TAKEN], pa.int64())) for start in starts])


def _tags(value: str | list[object] | None) -> list[str]:
    parts = value.split("|") if isinstance(value, str) else value or []
    return [text for part in parts if part is not None and (text := str(part).strip())]
