"""Results as folders: a parquet file for each table, and a JSON file with the settings.

No dates are written, so that equal results have equal bytes.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from conceptprobe.errors import OutputError
from conceptprobe.output.folder import check_replaceable, restore, staged

SCHEMA_VERSION = 1
_OTHER = "choose another folder"


def save_tables(
    folder: str | os.PathLike[str],
    name: str,
    tables: Mapping[str, pd.DataFrame],
    about: Mapping[str, Any],
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Write `<table>.parquet` for each table, `<name>.json` and further files, all of them or none.

    Args:
        folder: Missing, empty, or an earlier result of the same name, which is replaced.
        name: Of the JSON file.
        tables: Tables by name.
        about: What the JSON file holds.
        files: Contents of further files by file name.

    Raises:
        OutputError: The folder holds something else, or cannot be written.
    """
    files = files or {}
    known = {f"{name}.json", *(f"{table}.parquet" for table in tables), *files}

    def check(out: Path) -> None:
        _check_marked(out, name)
        if others := sorted(path.name for path in out.iterdir() if path.name not in known):
            raise OutputError(f"{out} holds files that are no earlier {name}, such as {others[0]}: {_OTHER}")

    with staged(folder, check) as partial:
        for table, frame in tables.items():
            frame.to_parquet(partial / f"{table}.parquet", index=False)
        for file, content in files.items():
            (partial / file).write_bytes(content)
        text = json.dumps({"schema_version": SCHEMA_VERSION, **about}, indent=1, ensure_ascii=False)
        (partial / f"{name}.json").write_text(text, encoding="utf-8")
    return Path(folder)


def check_output(folder: str | os.PathLike[str] | None, name: str) -> None:
    """Refuse, before any work, a folder that a result of this name could not be saved to; None is never refused.

    Raises:
        OutputError: The folder is a file or a link, or holds something else than such a result.
    """
    if folder is not None:
        check_replaceable(Path(folder), lambda out: _check_marked(out, name))


def _check_marked(out: Path, name: str) -> None:
    if not (out / f"{name}.json").is_file():
        some = min(path.name for path in out.iterdir())
        raise OutputError(f"{out} holds files that are no earlier {name}, such as {some}: {_OTHER}")


def load_tables(
    folder: str | os.PathLike[str], name: str, tables: Sequence[str], *, command: str
) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    """Read what `save_tables` wrote.

    Args:
        folder: The result.
        name: Of its JSON file.
        tables: Names of its tables.
        command: The command that makes it again, for errors; `{folder}` stands for the folder.

    Raises:
        FolderBusyError: Another process is replacing the result at this moment.
        OutputError: The folder holds no such result, or it is damaged or of another version.
    """
    folder = Path(folder)
    restore(folder)
    path = folder / f"{name}.json"
    command = command.replace("{folder}", str(folder))
    if not path.is_file():
        raise OutputError(f"{folder} holds no {path.name}: make it with `{command}`")
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
