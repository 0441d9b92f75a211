"""Results as HTML for notebooks: plain markup with styles of its own, every text escaped, images inside as data.

The classes' `_repr_html_` call these functions.
"""

import base64
import io
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from PIL import Image

from conceptprobe.report.pictures import find_pictures
from conceptprobe.report.scripts import shorten

if TYPE_CHECKING:
    from conceptprobe.concepts.contrast import Contrast
    from conceptprobe.concepts.scores import FeatureScores
    from conceptprobe.indexing.index import TopImages
    from conceptprobe.visualization.visualizations import Visualizations

SIDE, LARGE_SIDE = 96, 160
MOST_IMAGES, MOST_VISUALIZATIONS = 40, 24
EXAMPLES = 5
VERDICTS = ("object", "conceptual", "polysemantic", "unresolved", "dead", "untested")
MEASURES = ("object", "conceptual", "polysemantic", "unresolved", "abstraction")
QUALITY = 88
LONGEST_LINE = 2000


def top_images_html(top: "TopImages") -> str:
    """The images of a list with what they are ordered by, best first; an id in place of an image that is gone."""
    ids = top.ids[:MOST_IMAGES]
    found = find_pictures(top.origin, ids, SIDE)
    figures = []
    for place, (id_, value, image) in enumerate(zip(ids, top.values.tolist(), found.images, strict=False)):
        where = "" if top.positions is None else f", patch {int(top.positions[place])}"
        figures.append(_figure(image, SIDE, shorten(id_), f"{value:.4g}{where}"))
    notes = [f"{len(top) - len(ids):,} more are not shown"] if len(top) > len(ids) else []
    notes += [f"Some images cannot be shown. {shorten(found.reason)}"] if found.reason else []
    return _block(f"{_count(len(top), 'image')}, best first", _flow(figures), notes)


def scores_html(scores: "FeatureScores") -> str:
    """Verdicts by layer, and the features with the most evidence for a concept and for an object."""
    settings, summary = scores.settings, scores.summary()
    rows = []
    for layer, part in summary.groupby("layer", sort=False):
        of = part.set_index("verdict")
        cells = [f"{of['count'][name]:,} ({_percent(of['share'][name])})" for name in VERDICTS]
        rows.append([str(layer), *cells])
    parts = [_table(["layer", *VERDICTS], rows)]
    for verdict, words in (("conceptual", "Most conceptual"), ("object", "Most object-like")):
        best = scores.frame[scores.frame["verdict"] == verdict].nlargest(EXAMPLES, "llr")
        if len(best):
            parts += [f"<p><b>{words}</b></p>", _table(*_examples(best))]
    title = f"{settings['model']}: scores at k {settings['k']}, q ≤ {settings['q']:g}"
    note = "Shares of the first four verdicts are of the tested features, of the last two of all."
    return _block(title, "".join(parts), [note])


def contrast_html(contrast: "Contrast") -> str:
    """The findings in words, and all differences with their 95 % intervals in a table."""
    words = "<br>".join(
        f"<span{_style('padding-left: 1.5em') if line.startswith('  ') else ''}>{escape(line[:LONGEST_LINE])}</span>"
        for line in contrast.summary().splitlines()
    )
    rows = []
    for row in contrast.differences.itertuples():
        unit = 1 if row.measure == "abstraction" else 100
        numbers = (row.a, row.b, row.difference, row.low, row.high)
        rows.append(
            [
                f"{row.model_a} against {row.model_b}", row.place, row.measure,
                *(_number(unit * value) for value in numbers), _number(row.p), _number(row.q),
            ]
        )  # fmt: skip
    heads = ["models", "place", "measure", "first", "second", "difference", "95 % low", "95 % high", "p", "q"]
    table = f"<details><summary>{_count(len(rows), 'difference')}</summary>{_table(heads, rows)}</details>"
    note = "Shares and their differences are in percent and percentage points; abstraction is from 0 to 1."
    return _block(" against ".join(contrast.settings["models"]), f"<p>{words}</p>{table}", [note])


def visualizations_html(visualizations: "Visualizations") -> str:
    """The images with their targets, and how their activations lie among those of natural images."""
    from conceptprobe.visualization.sheets import caption

    figures: list[str] = []
    for pixels_hwc, record in zip(visualizations.images_nhwc, visualizations.records, strict=True):
        if len(figures) == MOST_VISUALIZATIONS:
            break
        target, said = caption(record)
        figures.append(_figure(_shrink(pixels_hwc), LARGE_SIDE, shorten(target), said))
    left = len(visualizations) - len(figures)
    return _block(repr(visualizations), _flow(figures), [f"{left:,} more are not shown"] if left else [])


def _examples(best: pd.DataFrame) -> tuple[list[str], list[list[str]]]:
    heads = ["feature", "concept", "images of it", "LLR", "q", "abstraction"]
    rows = [
        [
            f"{row.layer}:{row.feature}", str(row.concept), f"{row.hits} of {row.k}", _number(row.llr), _number(row.q),
            _number(row.abstraction),
        ]
        for row in best.itertuples()
    ]  # fmt: skip
    return heads, rows


def _block(title: str, body: str, notes: Iterable[str] = ()) -> str:
    small = _style("font-size: 12px; opacity: 0.75; margin: 4px 0")
    said = "".join(f"<p{small}>{escape(note)}</p>" for note in notes)
    return f"<div><p><b>{escape(shorten(title))}</b></p>{body}{said}</div>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(shorten(text))}</th>' for text in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(shorten(text))}</td>' for text in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _flow(figures: Sequence[str]) -> str:
    return f"<div{_style('display: flex; flex-wrap: wrap; gap: 10px')}>{''.join(figures)}</div>"


def _figure(image: Image.Image | None, side: int, name: str, said: str) -> str:
    """An image with two lines below it; an empty square where there is no image."""
    box = f"width: {side}px; height: {side}px; object-fit: contain; border-radius: 4px; background: #8881"
    if image is None:
        picture = f'<div role="img" aria-label="no image"{_style(box)}></div>'
    else:
        picture = f'<img src="{_data_uri(image)}" alt="{escape(name)}"{_style(box)}>'
    text = _style(f"width: {side}px; font-size: 11px; line-height: 1.3; max-height: 5.2em; overflow: hidden; "
                  "overflow-wrap: anywhere")  # fmt: skip
    return (
        f"<figure{_style('margin: 0')}>{picture}<figcaption{text}><b>{escape(said)}</b><br>"
        f"<bdi>{escape(name)}</bdi></figcaption></figure>"
    )


def _style(rules: str) -> str:
    return f' style="{rules}"'


def _data_uri(image: Image.Image) -> str:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode('ascii')}"


def _shrink(pixels_hwc: np.ndarray) -> Image.Image:
    image = Image.fromarray(pixels_hwc)
    image.thumbnail((LARGE_SIDE, LARGE_SIDE), Image.Resampling.LANCZOS)
    return image


def _number(value: float) -> str:
    return "–" if value is None or math.isnan(value) else f"{value:.3g}"


def _percent(share: float) -> str:
    return "–" if math.isnan(share) else f"{100 * share:.1f} %"


def _count(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
