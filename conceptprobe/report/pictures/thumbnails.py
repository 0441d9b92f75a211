"""The images of a report as small sheets of tiles, shared by all its cards.

Sheets rather than files of their own, because ten thousand tiny files are slow to copy, serve and delete. Small sheets
in the order of the labels, because a page of top lists draws images from all over the source: of a large sheet the
browser would decode hundreds of tiles to show one, while here its neighbours are the images of the same stack.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from conceptprobe.display.progress import tracked
from conceptprobe.errors import ConceptProbeError
from conceptprobe.images import ImageSource
from conceptprobe.indexing.pictures import open_source
from conceptprobe.report.pictures.gallery import Gallery

GRID = 4
"""Tiles in a row and rows in a sheet."""
LARGE_TILE, SMALL_TILE = 160, 96
MOST_LARGE = 20_000
WHOLE_SIDE = 255
MOST_THREADS = 8


@dataclass(frozen=True, eq=False)
class OpenSources:
    """The sources of a gallery, where they can still be opened.

    Attributes:
        sources: One for each of the gallery's; None where it cannot be opened.
        rows: The row of each image of the gallery in its source, int64 [n]; -1 where it has none.
        reasons: What went wrong, in words for the overview.
    """

    sources: tuple[ImageSource | None, ...]
    rows: np.ndarray
    reasons: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """What became of the images.

    Attributes:
        shown_nd: Width and height that each takes of its tile, int64 0 to 255 [n,2]; 0 where it has no tile: the
            placeholder stands for it.
        reasons: What went wrong in each source, in words for the overview.
    """

    shown_nd: np.ndarray
    reasons: tuple[str, ...]


def sheet_path(sheet: int) -> str:
    """Where the report keeps gallery numbers from `sheet * GRID**2` on, relative to its root."""
    return f"thumbs/{sheet}.webp"


def open_sources(gallery: Gallery) -> OpenSources:
    """Open the sources of all images; one that is gone or has changed is reported, not raised."""
    sources, reasons = [], []
    for key in gallery.sources:
        source, reason = open_source(key)
        sources.append(source)
        reasons += [reason] if reason else []
    rows = np.full(len(gallery.frame), -1)
    for number, source in enumerate(sources):
        own = np.flatnonzero(gallery.frame["source"].to_numpy() == number)
        if source is not None and len(own):
            ids = pa.array(gallery.frame["id"].to_numpy()[own], source.table["id"].type)
            rows[own] = pc.fill_null(pc.index_in(ids, source.table["id"].combine_chunks()), -1).to_numpy()
    return OpenSources(tuple(sources), rows, tuple(reasons))


def write_thumbnails(gallery: Gallery, opened: OpenSources, out: Path, progress: bool = False) -> Thumbnails:
    """Write the sheets of all images of the gallery; an image that cannot be had is reported, not raised."""
    count = len(gallery.frame)
    largest = LARGE_TILE if count <= MOST_LARGE else SMALL_TILE
    shown_nd = np.zeros((count, 2), np.int64)
    bad: dict[int, str] = {}
    lock = threading.Lock()
    positions, ids = gallery.frame["source"].to_numpy(), gallery.frame["id"].to_numpy()
    (out / "thumbs").mkdir()

    def make_sheet(first: int) -> None:
        tiles: dict[int, Image.Image] = {}
        for number in range(first, min(first + GRID**2, count)):
            position = int(positions[number])
            source, row = opened.sources[position], int(opened.rows[number])
            if source is None:
                continue
            try:
                tiles[number - first] = shrink(load(source, row, str(ids[number]), largest), largest)
            except ConceptProbeError as error:
                with lock:
                    bad.setdefault(position, f"{ids[number]} ({error})")
        side = write_sheet(tiles, out / sheet_path(first // GRID**2))
        for place, tile in tiles.items():
            shown_nd[first + place] = [max(1, round(WHOLE_SIDE * own / side)) for own in tile.size]

    firsts = range(0, count, GRID**2)
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        for _ in tracked(pool.map(make_sheet, firsts), "thumbnails", len(firsts), show=progress):
            pass
    reasons = [
        f"{gallery.sources[position].spec}: some images cannot be read any more, for example {example}"
        for position, example in sorted(bad.items())
    ]
    return Thumbnails(shown_nd, (*opened.reasons, *reasons))


def load(source: ImageSource, row: int, id_: str, least: int) -> Image.Image:
    """An image by its row, which is -1 where the source has none of the id."""
    row = source.row_of(id_) if row < 0 else row  # raises, and says what is near
    return source.load(row, least=least).image


def shrink(image: Image.Image, largest: int) -> Image.Image:
    """The image in RGB, no side of it longer than `largest`."""
    tile = image.convert("RGB")
    tile.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    return tile


def write_sheet(tiles: Mapping[int, Image.Image], path: Path) -> int:
    """Write images, centred in square tiles as large as the largest of them; unfilled places are clear.

    Returns:
        The side of a tile, in pixels.
    """
    side = max((max(image.size) for image in tiles.values()), default=1)
    sheet = Image.new("RGBA", (GRID * side, GRID * side))
    for place, tile in tiles.items():
        row, column = divmod(place, GRID)
        sheet.paste(tile, (column * side + (side - tile.width) // 2, row * side + (side - tile.height) // 2))
    sheet.save(path, "WEBP", quality=84, method=4)
    return side


def numbered_rows(
    gallery: Gallery, opened: OpenSources, chosen_n: np.ndarray
) -> Iterator[tuple[int, ImageSource, int]]:
    """The chosen images that their sources still have: number, source, row."""
    positions = gallery.frame["source"].to_numpy()
    for number in np.flatnonzero(chosen_n & (opened.rows >= 0)).tolist():
        source = opened.sources[int(positions[number])]
        if source is not None:
            yield number, source, int(opened.rows[number])
