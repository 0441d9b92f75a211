"""The thumbnails of a report, as small sheets of tiles that all pages share.

Ten thousand tiny files are slow to copy, serve and delete, so tiles share sheets. The sheets are small and in the order
of the labels, because a top list draws images from the whole source: a browser would decode hundreds of tiles of a
large sheet to show one, while the neighbours in a small sheet are images of the same stack.
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
from conceptprobe.display.sheets import CLEAR, draw_grid
from conceptprobe.errors import ConceptProbeError
from conceptprobe.images import ImageSource
from conceptprobe.indexing.pictures import open_source
from conceptprobe.report.pictures.gallery import Gallery

GRID = 4
"""The number of tiles in a row, and of rows in a sheet."""
LARGE_TILE, SMALL_TILE = 160, 96
MOST_LARGE = 20_000
WHOLE_SIDE = 255
MOST_THREADS = 8


@dataclass(frozen=True, eq=False)
class OpenSources:
    """The opened sources of a gallery.

    Attributes:
        sources: The sources, in the order of the gallery; None for a source that cannot be opened.
        rows: The row of each image of the gallery in its source, int64 [n]; -1 if the source lacks it.
        reasons: What went wrong, in words for the overview.
    """

    sources: tuple[ImageSource | None, ...]
    rows: np.ndarray
    reasons: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """The thumbnails that were written.

    Attributes:
        shown_nd: The width and height that each image takes of its tile, int64 0 to 255 [n,2]; 0 for an image without
            a tile, for which pages show a placeholder.
        reasons: What went wrong in each source, in words for the overview.
    """

    shown_nd: np.ndarray
    reasons: tuple[str, ...]


def sheet_path(sheet: int) -> str:
    """The file of a sheet, relative to the report: it holds the images from number `sheet * GRID**2` on."""
    return f"thumbs/{sheet}.webp"


def open_sources(gallery: Gallery) -> OpenSources:
    """Open the sources of all images; a source that is gone or has changed is noted in `reasons`."""
    sources, reasons = [], []
    for key in gallery.sources:
        source, reason = open_source(key)
        sources.append(source)
        reasons += [reason] if reason else []
    rows = np.full(len(gallery.frame), -1)
    for number, source in enumerate(sources):
        members = np.flatnonzero(gallery.frame["source"].to_numpy() == number)
        if source is not None and len(members):
            ids = pa.array(gallery.frame["id"].to_numpy()[members], source.table["id"].type)
            rows[members] = pc.fill_null(pc.index_in(ids, source.table["id"].combine_chunks()), -1).to_numpy()
    return OpenSources(tuple(sources), rows, tuple(reasons))


def write_thumbnails(gallery: Gallery, opened: OpenSources, out: Path, progress: bool = False) -> Thumbnails:
    """Write the sheets of all images of the gallery; an image that cannot be read is noted in `reasons`."""
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
        for at, tile in tiles.items():
            shown_nd[first + at] = [max(1, round(WHOLE_SIDE * length / side)) for length in tile.size]

    firsts = range(0, count, GRID**2)
    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        for _ in tracked(pool.map(make_sheet, firsts), "thumbnails", len(firsts), show=progress):
            pass
    reasons = [
        f"{gallery.sources[position].spec}: some images can no longer be read, for example {example}"
        for position, example in sorted(bad.items())
    ]
    return Thumbnails(shown_nd, (*opened.reasons, *reasons))


def load(source: ImageSource, row: int, id_: str, least: int) -> Image.Image:
    """Load an image by its row; a row of -1 raises the error that names ids like it."""
    row = source.row_of(id_) if row < 0 else row
    return source.load(row, least=least).image


def shrink(image: Image.Image, largest: int) -> Image.Image:
    """Convert an image to RGB and shrink it until no side is longer than `largest`."""
    tile = image.convert("RGB")
    tile.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    return tile


def write_sheet(tiles: Mapping[int, Image.Image], path: Path) -> int:
    """Write images, centred in square tiles as large as the largest of them, on a transparent sheet.

    Args:
        tiles: The images by their position in the sheet.
        path: The file to write.

    Returns:
        The side of a tile, in pixels.
    """
    sheet = draw_grid([tiles.get(place) for place in range(GRID**2)], GRID, square=True, background=CLEAR)
    sheet.save(path, "WEBP", quality=84, method=4)
    return sheet.width // GRID


def numbered_rows(
    gallery: Gallery, opened: OpenSources, chosen_n: np.ndarray
) -> Iterator[tuple[int, ImageSource, int]]:
    """The chosen images that their sources still have, as number, source and row."""
    positions = gallery.frame["source"].to_numpy()
    for number in np.flatnonzero(chosen_n & (opened.rows >= 0)).tolist():
        source = opened.sources[int(positions[number])]
        if source is not None:
            yield number, source, int(opened.rows[number])
