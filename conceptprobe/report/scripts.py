"""Data for the browser as script files: a page opened from file:// may load scripts, but may not fetch."""

import json
import math
import re
from pathlib import Path

from conceptprobe.report.gallery import Gallery
from conceptprobe.report.pages import Column, LayerPage
from conceptprobe.report.thumbnails import Missing

LONGEST_TEXT = 200
_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]+")


def write_script(path: Path, name: str, value: object) -> None:
    """Write `conceptprobe.<name> = value`, ASCII only, without a character that could end or open markup."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    path.write_text(f"window.conceptprobe = window.conceptprobe || {{}};\nconceptprobe.{name} = {text};\n")


def shorten(text: str) -> str:
    """One line of at most `LONGEST_TEXT` characters."""
    line = _SPACE.sub(" ", text).strip()
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 1] + "…"


def number(value: float) -> float | None:
    """Six significant digits; None for what JSON has no word for."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def gallery_data(gallery: Gallery, missing: Missing) -> dict[str, object]:
    """Column by column; names, styles and tag lists are stored once and referred to by position."""
    names, styles, tags, tag_lists = Interner(), Interner(), Interner(), Interner()
    rows = list(gallery.frame[["id", "name", "style", "tags"]].itertuples(index=False))
    return {
        "id": [shorten(row.id) for row in rows],
        "name": [names.position(shorten(row.name)) for row in rows],
        "style": [-1 if row.style is None else styles.position(shorten(row.style)) for row in rows],
        "tags": [tag_lists.position(tuple(tags.position(shorten(tag)) for tag in row.tags)) for row in rows],
        "names": names.values,
        "styles": styles.values,
        "tagNames": tags.values,
        "tagLists": tag_lists.values,
        "missing": missing.numbers,
    }


class Interner:
    """Values in the order of their first appearance, and where each stands."""

    def __init__(self) -> None:
        self._positions: dict[object, int] = {}

    def position(self, value: object) -> int:
        return self._positions.setdefault(value, len(self._positions))

    @property
    def values(self) -> list[object]:
        return list(self._positions)


def layer_data(page: LayerPage) -> dict[str, object]:
    return {"layer": page.layer, "file": page.file, "columns": [column_data(column) for column in page.columns]}


def column_data(column: Column) -> dict[str, object]:
    return {
        "key": column.key,
        "dead": list(column.dead),
        "features": [
            {
                "feature": card.feature,
                "max": number(card.max),
                "firing": number(card.firing_rate),
                "tags": [
                    [shorten(tag.tag), tag.count, tag.of, number(tag.rate), number(tag.bits)] for tag in card.tags
                ],
                "stacks": [[list(stack.images), [number(value) for value in stack.values]] for stack in card.stacks],
            }
            for card in column.cards
        ],
    }
