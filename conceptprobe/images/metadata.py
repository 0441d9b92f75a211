"""Tables of what is known about images, read from csv, jsonl or parquet and brought to one form."""

import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet

from conceptprobe.images.errors import SourceError

TEXT = ("id", "path", "image", "file_name", "label", "caption", "text", "tags")  # never numbers: label 007 is not 7


def read_table(path: Path | zipfile.Path) -> pa.Table:
    """Read a table by its extension; an empty cell of a csv is null.

    Raises:
        SourceError: It does not exist, is of another kind, or cannot be parsed.
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
    raise SourceError(f"{path} is no table that can be read here: give a .csv, .jsonl or .parquet file")


def conform(table: pa.Table) -> pa.Table:
    """Make `id`, `label` and `caption` strings and `tags` lists of strings.

    Tags in one string are split at `|`; an image without tags has the empty list.

    Raises:
        SourceError: A column cannot be read so, or an id is missing.
    """
    for at, name in enumerate(table.column_names):
        column = table[name]
        try:
            if name == "tags":
                column = pa.chunked_array([pa.array(map(_tags, column.to_pylist()), pa.list_(pa.string()))])
            elif name in ("id", "label", "caption"):
                column = column.cast(pa.string())
        except (pa.ArrowException, TypeError) as error:
            raise SourceError(f"the column {name!r} of type {column.type} cannot be read as text: {error}") from error
        table = table.set_column(at, name, column)
    if missing := table["id"].null_count:
        first = pc.index(pc.is_null(table["id"]), True).as_py()
        raise SourceError(f"{missing} rows have no id, the first is row {first}: give every image an id")
    return table


def _tags(value: str | list[object] | None) -> list[str]:
    parts = value.split("|") if isinstance(value, str) else value or []
    return [text for part in parts if part is not None and (text := str(part).strip())]
