"""The whole images beside the tiles, copied into the report or linked to where they lie."""

import io
import os
from pathlib import Path
from typing import Literal

from PIL import Image

from conceptprobe.errors import ConceptProbeError
from conceptprobe.images.readers import FileReader
from conceptprobe.report.errors import ReportError
from conceptprobe.report.pictures.gallery import Gallery
from conceptprobe.report.pictures.thumbnails import OpenSources, numbered_rows

Images = Literal["thumbs", "copy", "link"]
CHOICES: tuple[Images, ...] = ("thumbs", "copy", "link")
SHOWN_BY_BROWSERS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}


def bring_whole_images(gallery: Gallery, opened: OpenSources, folder: Path, images: Images) -> list[str | None] | None:
    """Copy or link the images that are on a list of top images.

    Returns:
        The address of each image of the gallery from the report's pages; None for one that has none, or where only
        tiles are asked for.

    Raises:
        ReportError: Links are asked for, and a source is not of files.
    """
    if images == "thumbs":
        return None
    if images == "link":
        for key, source in zip(gallery.sources, opened.sources, strict=True):
            if source is not None and not isinstance(source.reader, FileReader):
                raise ReportError(f"the images of {key.spec} are no files that could be linked to: use --images copy")
    files: list[str | None] = [None] * len(gallery.frame)
    (folder / "images").mkdir(exist_ok=True)
    for number, source, row in numbered_rows(gallery, opened, gallery.frame["top"].to_numpy(bool)):
        if isinstance(source.reader, FileReader) and images == "link":
            path = Path(os.fsdecode(os.path.join(os.fsencode(source.reader.root), source.reader.paths[row].as_py())))
            files[number] = path.resolve().as_uri() if path.is_file() else None
            continue
        try:
            data = source.read(row)
            image = source.decode(data).image
        except ConceptProbeError:
            continue  # that it cannot be read is said where its tile is missing
        files[number] = copy_image(data if isinstance(data, bytes) else None, image, folder, number)
    return files


def copy_image(data: bytes | None, image: Image.Image, folder: Path, number: int) -> str:
    """Write an image as it is where a browser shows it, else as WebP; returns its address."""
    ending = None if data is None else SHOWN_BY_BROWSERS.get(Image.open(io.BytesIO(data)).format or "")
    address = f"images/{number}.{ending or 'webp'}"
    if ending and data is not None:
        (folder / address).write_bytes(data)
    else:
        image.convert("RGB").save(folder / address, "WEBP", quality=90)
    return address


def choose(images: str) -> Images:
    """The choice that a text means.

    Raises:
        ReportError: None.
    """
    found = next((choice for choice in CHOICES if images == choice), None)
    if found is None:
        raise ReportError(f"images is {images!r}: use {', '.join(CHOICES)}")
    return found
