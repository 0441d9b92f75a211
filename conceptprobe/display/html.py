"""HTML for notebooks: plain markup with inline styles, in which every text is escaped and images are embedded.

A result's `_repr_html_` builds its rows and calls these functions.
"""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from PIL import Image

from conceptprobe.display.text import shorten

SIDE, LARGE_SIDE = 96, 160
QUALITY = 88
LONGEST_LINE = 2000


@dataclass(frozen=True, eq=False)
class Tile:
    """An image with its texts.

    Attributes:
        image: The image; None leaves an empty square.
        name: Name of the image, below the caption.
        caption: Text in bold below the image.
    """

    image: Image.Image | None
    name: str
    caption: str


def block(title: str, body: str, notes: Iterable[str] = ()) -> str:
    """A titled block of markup with small notes below it."""
    small = _style("font-size: 12px; opacity: 0.75; margin: 4px 0")
    paragraphs = "".join(f"<p{small}>{escape(note)}</p>" for note in notes)
    return f"<div><p><b>{escape(shorten(title))}</b></p>{body}{paragraphs}</div>"


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; every cell is escaped and shortened."""
    head = "".join(f'<th scope="col">{escape(shorten(text))}</th>' for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(shorten(text))}</td>' for text in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def tiles(images: Sequence[Tile], side: int) -> str:
    """Images beside each other, each in a square of `side` pixels, with its caption and name below it."""
    figures = "".join(_figure(tile.image, side, shorten(tile.name), tile.caption) for tile in images)
    return f"<div{_style('display: flex; flex-wrap: wrap; gap: 10px')}>{figures}</div>"


def heading(text: str) -> str:
    """A line in bold."""
    return f"<p><b>{escape(text)}</b></p>"


def lines(text: str) -> str:
    """A paragraph that keeps the lines of a text; lines that start with two spaces are indented."""
    indented = _style("padding-left: 1.5em")
    return "<p>{}</p>".format(
        "<br>".join(
            f"<span{indented if line.startswith('  ') else ''}>{escape(line[:LONGEST_LINE])}</span>"
            for line in text.splitlines()
        )
    )


def folded(summary: str, body: str) -> str:
    """Markup that is hidden until the reader opens its summary."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def _figure(image: Image.Image | None, side: int, name: str, caption: str) -> str:
    """An image, or an empty square, with two lines below it."""
    box = f"width: {side}px; height: {side}px; object-fit: contain; border-radius: 4px; background: #8881"
    if image is None:
        picture = f'<div role="img" aria-label="no image"{_style(box)}></div>'
    else:
        picture = f'<img src="{_data_uri(image)}" alt="{escape(name)}"{_style(box)}>'
    text = _style(f"width: {side}px; font-size: 11px; line-height: 1.3; max-height: 5.2em; overflow: hidden; "
                  "overflow-wrap: anywhere")  # fmt: skip
    return (
        f"<figure{_style('margin: 0')}>{picture}<figcaption{text}><b>{escape(caption)}</b><br>"
        f"<bdi>{escape(name)}</bdi></figcaption></figure>"
    )


def _style(rules: str) -> str:
    return f' style="{rules}"'


def _data_uri(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode('ascii')}"


def number(value: float) -> str:
    """A number with three significant digits; a dash if it is missing."""
    return "–" if value is None or math.isnan(value) else f"{value:.3g}"


def percent(share: float) -> str:
    """A share from 0 to 1 in percent; a dash if it is missing."""
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def count_of(count: int, word: str) -> str:
    """A number with its noun, such as `3 images`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"
