"""Visualizations drawn for people: contact sheets with captions."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from conceptprobe.images import ImageSource
from conceptprobe.indexing.index import Index
from conceptprobe.indexing.source import source_of
from conceptprobe.visualization.results.record import VisualizationRecord

TILE = 160
GAP = 12
LINE = 15
INK, PALE, PAPER = (25, 25, 25), (110, 110, 110), (255, 255, 255)


def draw_contact_sheet(
    images_nhwc: np.ndarray,
    records: Sequence[VisualizationRecord],
    index: Index | None = None,
    *,
    images: ImageSource | None = None,
    tops: int = 4,
    columns: int | None = None,
    tile: int = TILE,
) -> Image.Image:
    """All images on one sheet, under each two lines: its target, and its quantile and rank or else its activation.

    Args:
        index: Puts the top natural images beside each whose target is a feature that the index has.
        images: Where those are now, if not where the index was built from.
        tops: How many of them, in a square of their own.
        columns: By default about as many as make the sheet square.
        tile: Height and width of an image on the sheet.
    """
    source = None if index is None else source_of(index, images)
    width, height = tile * (1 if index is None else 2) + (0 if index is None else GAP // 3), tile + 2 * LINE + 4
    if columns is None:
        columns = max(1, round(math.sqrt(len(records) * (height + GAP) / (width + GAP))))
    rows = -(-len(records) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) + GAP, max(rows, 1) * (height + GAP) + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=LINE - 3)
    for place, record in enumerate(records):
        left = GAP + place % columns * (width + GAP)
        top = GAP + place // columns * (height + GAP)
        sheet.paste(fit(Image.fromarray(images_nhwc[place]), tile), (left, top))
        if index is not None and source is not None:
            beside = natural_square(record, index, source, tops, tile)
            if beside is not None:
                sheet.paste(beside, (left + tile + GAP // 3, top))
        for line, (text, ink) in enumerate(zip(caption(record), (INK, PALE), strict=True)):
            draw.text((left, top + tile + 3 + line * LINE), _cut(text, font, width), fill=ink, font=font)
    return sheet


def caption(record: VisualizationRecord) -> tuple[str, str]:
    """What a picture is of, and how well it does: two lines."""
    natural, name = record.natural, record.target
    if record.layer is not None and record.feature is not None:  # a target that is specific for it has a long key
        name = f"{record.layer}:{record.feature}" + ("" if record.pooling == "mean" else f" {record.pooling}")
    if natural is None:
        return name, f"activation {record.activation:.4g}"
    above = f"above all {natural.images:,}" if record.exceeds else f"above {natural.quantile:.1%}"
    return name, f"{above}, rank {natural.rank} of {natural.of}"


def natural_square(
    record: VisualizationRecord, index: Index, source: ImageSource, tops: int, tile: int
) -> Image.Image | None:
    """The top natural images of a record's feature in a square; None where the index does not have the feature."""
    known = record.layer in index.layers and record.pooling in index.manifest.pooling
    if not known or record.layer is None or record.feature is None or tops < 1:
        return None
    top = index.top(f"{record.layer}:{record.feature}", min(tops, index.manifest.k), record.pooling)
    side = math.ceil(math.sqrt(tops))
    each = tile // side
    square = Image.new("RGB", (tile, tile), PAPER)
    for place, id_ in enumerate(top.ids):
        square.paste(fit(source.load(source.row_of(id_)).image, each - 1), (place % side * each, place // side * each))
    return square


def fit(image: Image.Image, side: int) -> Image.Image:
    """An image scaled into a square, in the middle of it."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    scaled = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    square = Image.new("RGB", (side, side), PAPER)
    square.paste(scaled, ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """As much of a text as fits, its beginning left out where it does not: names differ at their end."""
    if font.getlength(text) <= width:
        return text
    while len(text) > 1 and font.getlength("…" + text) > width:
        text = text[1:]
    return "…" + text
