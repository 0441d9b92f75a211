"""The images of a report as small sheets of tiles, shared by all its cards.

Sheets rather than files of their own, because ten thousand tiny files are slow to copy, serve and delete. Small sheets
in the order of the labels, because a page of top lists draws images from all over the source: of a large sheet the
browser would decode hundreds of tiles to show one, while here its neighbours are the images of the same stack.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.progress import track

from conceptprobe.errors import ConceptProbeError
from conceptprobe.images import ImageSource, load_images
from conceptprobe.report.gallery import Gallery, SourceKey

GRID = 4
"""Tiles in a row and rows in a sheet; cards.js has the same number."""
LARGEST_TILE = 96


@dataclass
class Missing:
    """Images that have no thumbnail: the placeholder stands for them.

    Attributes:
        numbers: Gallery numbers.
        reasons: What went wrong in each source, in words for the overview.
    """

    numbers: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def sheet_path(sheet: int) -> str:
    """Where the report keeps gallery numbers from `sheet * GRID**2` on, relative to its root."""
    return f"thumbs/{sheet}.webp"


def write_thumbnails(gallery: Gallery, out: Path, progress: bool = False) -> Missing:
    """Write the sheets of all images of the gallery; one that cannot be had is reported, not raised."""
    missing = Missing()
    sources = [open_source(key, missing) for key in gallery.sources]
    bad: dict[int, str] = {}
    (out / "thumbs").mkdir()
    sheets = gallery.frame.groupby(gallery.frame.index // GRID**2)
    for sheet, rows in track(sheets, "thumbnails", len(sheets), console=Console(stderr=True), disable=not progress):
        tiles: dict[int, Image.Image] = {}
        for number, position, image_id in zip(rows.index, rows["source"], rows["id"], strict=True):
            source = sources[position]
            try:
                if source is None:
                    missing.numbers.append(number)
                else:
                    tiles[number % GRID**2] = source.load(source.row_of(image_id)).image
            except ConceptProbeError as error:
                missing.numbers.append(number)
                bad.setdefault(position, f"{image_id} ({error})")
        write_sheet(tiles, out / sheet_path(int(sheet)))
    missing.reasons += [
        f"{gallery.sources[position].spec}: some images cannot be read any more, for example {example}"
        for position, example in bad.items()
    ]
    return missing


def open_source(key: SourceKey, missing: Missing) -> ImageSource | None:
    """The image source of an index, or None with a reason where it is gone."""
    try:
        source = load_images(key.spec, background=key.background, fast_decode=key.fast_decode)
    except (ConceptProbeError, OSError) as error:
        missing.reasons.append(f"{key.spec}: the images cannot be opened ({error})")
        return None
    if source.fingerprint != key.fingerprint:
        missing.reasons.append(
            f"{key.spec}: has changed since it was indexed; the tiles show the images as they are now"
        )
    return source


def write_sheet(tiles: Mapping[int, Image.Image], path: Path) -> None:
    """Write whole images, centred in square tiles no larger than the largest of them; unfilled places are clear."""
    side = min(LARGEST_TILE, max((max(image.size) for image in tiles.values()), default=1))
    sheet = Image.new("RGBA", (GRID * side, GRID * side))
    for place, image in tiles.items():
        tile = image.convert("RGB")
        tile.thumbnail((side, side), Image.Resampling.LANCZOS)
        row, column = divmod(place, GRID)
        sheet.paste(tile, (column * side + (side - tile.width) // 2, row * side + (side - tile.height) // 2))
    sheet.save(path, "WEBP", quality=84, method=4)
