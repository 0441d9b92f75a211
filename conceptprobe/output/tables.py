"""Results as folders: a parquet file for each table, and a JSON file with what they were made of. No dates, so that
equal results have equal bytes."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from conceptprobe.errors import OutputError

SCHEMA_VERSION = 1


def save_tables(
    folder: str | os.PathLike[str], name: str, tables: Mapping[str, pd.DataFrame], about: Mapping[str, Any]
) -> Path:
    """Write `<table>.parquet` for each table, and `<name>.json`, last."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for table, frame in tables.items():
        frame.to_parquet(folder / f"{table}.parquet", index=False)
    text = json.dumps({"schema_version": SCHEMA_VERSION, **about}, indent=1, ensure_ascii=False)
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    return folder


def load_tables(
    folder: str | os.PathLike[str], name: str, tables: Sequence[str], *, command: str
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Read what `save_tables` wrote.

    Args:
        command: What makes it again, for the errors.

    Raises:
        OutputError: The folder holds no such result, or it is damaged or of another version.
    """
    folder = Path(folder)
    path = folder / f"{name}.json"
    if not path.is_file():
        raise OutputError(f"{folder} holds no {path.name}: make it with `{command} --out {folder}`")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        version = about.pop("schema_version")
        if version == SCHEMA_VERSION:
            return {table: pd.read_parquet(folder / f"{table}.parquet") for table in tables}, about
    except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise OutputError(f"{folder} is damaged ({type(error).__name__}): run `{command}` again") from error
    raise OutputError(
        f"{folder} has schema version {version}, this conceptprobe reads {SCHEMA_VERSION}: run `{command}` again"
    )
