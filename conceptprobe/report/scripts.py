"""Data for the browser as script files: a page opened from file:// may load scripts, but may not fetch."""

import base64
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from conceptprobe.display.text import shorten

LONGEST_ID = 1000
_ESCAPES = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&"})
_CODES = {"u1": np.uint8, "u2": np.uint16, "u4": np.uint32, "i4": np.int32, "f4": np.float32}

Json = dict[str, Any]


def write_data(folder: Path, key: str, value: object) -> None:
    """Write `conceptprobe.data[key] = value` as `<key>.js` below `folder`.

    The file is ASCII and holds no character that could end or open markup.
    """
    path = folder / f"{key}.js"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)
    path.write_text(
        "window.conceptprobe = window.conceptprobe || {};\n"
        "conceptprobe.data = conceptprobe.data || {};\n"
        f"conceptprobe.data[{json.dumps(key)}] = {text};\n",
        encoding="ascii",
    )


def shorten_id(text: str) -> str:
    """Cut an id to `LONGEST_ID` characters."""
    return text if len(text) <= LONGEST_ID else text[: LONGEST_ID - 1] + "…"


def number(value: float) -> float | None:
    """Round to six significant digits; None for NaN and infinities, which JSON cannot hold."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def plain(value: Any) -> Any:
    """Convert a cell of a table to a JSON type: numbers by `number`, texts by `shorten`, missing values to None."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return shorten(value)
    if isinstance(value, np.bool_ | np.integer):
        return value.item()
    if isinstance(value, float | np.floating):
        return number(float(value))
    return None if np.ndim(value) == 0 else [plain(entry) for entry in value]


def floats(values: Any) -> Json:
    """Pack values as float32; see `packed`."""
    return packed(values, "f4")


def packed(values: Any, code: str) -> Json:
    """Pack an array as base64 of its little-endian bytes, row by row: {"t": code, "s": shape, "d": base64}."""
    array = np.ascontiguousarray(np.asarray(values, dtype=np.dtype(_CODES[code]).newbyteorder("<")))
    return {"t": code, "s": list(array.shape), "d": base64.b64encode(array.tobytes()).decode("ascii")}


def integers(values: Any) -> Json:
    """Pack integers of at least -1 in the shortest code that holds them.

    -1 marks a missing value. If there is one, `none` of the result is the number that stands for it.
    """
    array = np.asarray(values, np.int64)
    largest, missing = int(array.max(initial=0)), bool((array < 0).any())
    for code, limit in (("u1", 255), ("u2", 65_535)):
        if largest < limit:
            result = packed(np.where(array < 0, limit, array), code)
            return result | {"none": limit} if missing else result
    result = packed(array, "i4")
    return result | {"none": -1} if missing else result


class Interner:
    """Distinct values in the order of their first appearance, and the position of each; None has position -1."""

    def __init__(self, values: Iterable[object] = ()) -> None:
        self._positions: dict[object, int] = {value: at for at, value in enumerate(dict.fromkeys(values))}

    def position(self, value: object) -> int:
        """The position of a value, which is appended if it is new."""
        return -1 if value is None else self._positions.setdefault(value, len(self._positions))

    def positions(self, values: Sequence[object]) -> np.ndarray:
        """The positions of several values, int64 [n]."""
        return np.fromiter((self.position(value) for value in values), np.int64, len(values))

    @property
    def values(self) -> list[Any]:
        """The distinct values, in order."""
        return list(self._positions)
