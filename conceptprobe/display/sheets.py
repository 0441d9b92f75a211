"""Sheets of images: plain grids, and contact sheets with a caption below each image."""

import math
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

GAP = 12
LINE = 15
INK, PALE, PAPER = (25, 25, 25), (110, 110, 110), (255, 255, 255)
CLEAR = (0, 0, 0, 0)


def draw_grid(
    images: Sequence[Image.Image | None],
    columns: int,
    *,
    rows: int | None = None,
    gap: int = 0,
    square: bool = False,
    background: tuple[int, ...] = PAPER,
) -> Image.Image:
    """Images in rows, each in the middle of a cell; all cells have the size of the largest image.

    Args:
        images: None leaves a cell empty.
        columns: Cells in a row.
        rows: By default as many as the images need.
        gap: Pixels between the cells.
        square: Make the cells square.
        background: RGB, or RGBA for an image with transparency.
    """
    present = [image for image in images if image is not None]
    width = max((image.width for image in present), default=1)
    height = max((image.height for image in present), default=1)
    if square:
        width = height = max(width, height)
    rows = -(-len(images) // columns) if rows is None else rows
    mode = "RGB" if len(background) == 3 else "RGBA"
    grid = Image.new(mode, (columns * (width + gap) - gap, rows * (height + gap) - gap), background)
    for number, image in enumerate(images):
        if image is not None:
            row, column = divmod(number, columns)
            left, top = column * (width + gap), row * (height + gap)
            grid.paste(image, (left + (width - image.width) // 2, top + (height - image.height) // 2))
    return grid


def draw_contact_sheet(
    images: Sequence[Image.Image], captions: Sequence[tuple[str, str]], columns: int | None = None
) -> Image.Image:
    """Images of one size, each with a caption of two lines below it.

    Args:
        images: All of the same size.
        captions: For each image a line, and a paler line.
        columns: By default the number that makes the sheet nearly square.
    """
    width, height = images[0].size if images else (1, 1)
    font = ImageFont.load_default(size=LINE - 3)
    cells = []
    for image, lines in zip(images, captions, strict=True):
        cell = Image.new("RGB", (width, height + 2 * LINE + 4), PAPER)
        cell.paste(image, (0, 0))
        draw = ImageDraw.Draw(cell)
        for number, (text, ink) in enumerate(zip(lines, (INK, PALE), strict=True)):
            draw.text((0, height + 3 + number * LINE), _cut(text, font, width), fill=ink, font=font)
        cells.append(cell)
    if columns is None:
        tall, wide = height + 2 * LINE + 4 + GAP, width + GAP
        columns = max(1, round(math.sqrt(len(cells) * tall / wide)))
    grid = draw_grid(cells, columns, rows=max(1, -(-len(cells) // columns)), gap=GAP)
    sheet = Image.new("RGB", (grid.width + 2 * GAP, grid.height + 2 * GAP), PAPER)
    sheet.paste(grid, (GAP, GAP))
    return sheet


def fit_square(image: Image.Image, side: int) -> Image.Image:
    """An image scaled into a square, in the middle of it."""
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    square = Image.new("RGB", (side, side), PAPER)
    scaled = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
    square.paste(scaled, ((side - size[0]) // 2, (side - size[1]) // 2))
    return square


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """As much of the end of a text as fits, since the names of layers and features differ at their end."""
    if font.getlength(text) <= width:
        return text
    while len(text) > 1 and font.getlength("…" + text) > width:
        text = text[1:]
    return "…" + text
