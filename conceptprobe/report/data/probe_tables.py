"""The tables of a probe's result, as data of its page and as CSV files."""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from conceptprobe.display.text import shorten
from conceptprobe.probes.framework.result import TABLES, ProbeResult
from conceptprobe.report.scripts import Interner, Json, plain

EXTREMES = 8
LARGEST_PLAIN = 1_000_000
LARGEST_ROWS = 4_000_000
FORMULA = ("=", "+", "-", "@", "\t", "\r")
KINDS = {"first": "model", "second": "model"}
FEATURE_KEYS = ("model", "layer", "series", "x")


class Texts:
    """The distinct texts of a result's tables; the data of a page refers to them by position."""

    def __init__(self, **known: Sequence[str]) -> None:
        names = ("model", "metric", "series", "layer", "verdict", "measure")
        self._of = {name: Interner(known.get(name, ())) for name in names}

    def position(self, column: str, value: object) -> int:
        """The position of a text of a column; -1 for a missing value."""
        missing = value is None or (isinstance(value, float) and np.isnan(value))
        return self._of[KINDS.get(column, column)].position(None if missing else str(value))

    def holds(self, column: str) -> bool:
        """Whether a column is stored by position."""
        return KINDS.get(column, column) in self._of

    def values(self, column: str) -> list[str]:
        """The distinct texts of a column, in order."""
        return self._of[column].values

    def find(self, column: str, value: str) -> int:
        """The position of a text; -1 if the column does not have it."""
        return self.values(column).index(value) if value in self.values(column) else -1

    def shown(self) -> Json:
        """The texts of each column, as pages show them."""
        return {name: [shorten(text) for text in texts.values] for name, texts in self._of.items() if name != "model"}


def tabulate(frame: pd.DataFrame, columns: Sequence[str], texts: Texts) -> list[list[Any]]:
    """The rows of a table, with the cells in the order of `columns`; a column that the table lacks is empty."""
    table = frame.reindex(columns=list(columns))
    cells = [
        [texts.position(name, value) for value in table[name]]
        if texts.holds(name)
        else [plain(value) for value in table[name].tolist()]
        for name in columns
    ]
    return [list(row) for row in zip(*cells, strict=True)]


def find_extremes(features: pd.DataFrame, texts: Texts) -> list[Json]:
    """Find the features that survive most and least under each condition, by each measure.

    Ties are broken by the other measures, then by the lower number. Features without a value, whose activations never
    varied, are not counted.
    """
    return list(_extremes(features, texts))


def _extremes(features: pd.DataFrame, texts: Texts) -> Iterator[Json]:
    if features.empty or "feature" not in features:
        return
    keys = [name for name in FEATURE_KEYS if name in features]
    measures = [
        name
        for name in features.select_dtypes("number").columns
        if name not in (*FEATURE_KEYS, "feature") and name != "verdict"
    ]
    for key, group in features.groupby(keys, sort=False):
        condition = dict(zip(keys, key, strict=True))
        for measure in measures:
            known = group[group[measure].notna()]
            order = [measure, *(name for name in measures if name != measure), "feature"]
            about = {name: texts.position(name, condition.get(name)) for name in ("model", "layer", "series")}
            yield {
                **about,
                "x": plain(condition.get("x")),
                "measure": texts.position("measure", measure),
                "features": len(known),
                **{
                    name: [
                        [int(row.feature), plain(row.value), texts.position("verdict", row.verdict)]
                        for row in _ranked(known, order, lowest).head(EXTREMES).itertuples()
                    ]
                    for name, lowest in (("most", False), ("least", True))
                },
            }


def _ranked(rows: pd.DataFrame, order: Sequence[str], lowest: bool) -> pd.DataFrame:
    ascending = [lowest] * (len(order) - 1) + [True]
    ranked = rows.sort_values(list(order), ascending=ascending, kind="stable")
    return pd.DataFrame(
        {"feature": ranked["feature"], "value": ranked[order[0]], "verdict": ranked.get("verdict", None)}
    )


def write_csv(result: ProbeResult, folder: Path) -> list[Json]:
    """Write each table that is not empty, exact to the last bit.

    Large tables are packed by gzip. The rows of images are left out if they are too large even so.

    Returns:
        The name, file, number of rows and bytes of each table; the file is None for rows that were left out.
    """
    written: list[Json] = []
    for name in sorted(TABLES, key=lambda table: table == "rows"):
        frame = getattr(result, TABLES[name])
        if frame.empty:
            continue
        data = csv_text(frame).encode()
        path = folder / f"{name}.csv"
        if len(data) > LARGEST_PLAIN:
            data, path = packed_bytes(data), folder / f"{name}.csv.gz"
        about: Json = {
            "name": name,
            "rows": len(frame),
            "bytes": len(data),
            "file": f"probes/{folder.name}/{path.name}",
        }
        if name == "rows" and len(data) > LARGEST_ROWS:
            about["file"] = None
        else:
            path.write_bytes(data)
        written.append(about)
    return written


def csv_text(frame: pd.DataFrame) -> str:
    """A table as CSV (RFC 4180); a text that a spreadsheet would take for a formula gets an apostrophe."""
    texts = frame.select_dtypes(exclude="number").columns
    escaped = frame.assign(**{name: frame[name].map(escape_formula) for name in texts})
    return str(escaped.to_csv(index=False, lineterminator="\r\n"))


def escape_formula(value: Any) -> Any:
    """Put an apostrophe before a text that a spreadsheet would take for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def packed_bytes(data: bytes) -> bytes:
    """Compress by gzip without a date, so that equal tables have equal bytes."""
    return gzip.compress(data, mtime=0)
