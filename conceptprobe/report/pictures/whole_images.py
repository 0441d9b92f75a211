"""The whole images beside the tiles: copies in the report, or links to their files."""

import io
import os
from pathlib import Path

from PIL import Image

from conceptprobe.errors import ConceptProbeError
from conceptprobe.images.readers import FileReader
from conceptprobe.report.errors import ReportError
from conceptprobe.report.pictures.gallery import Gallery
from conceptprobe.report.pictures.thumbnails import OpenSources, numbered_rows
from conceptprobe.report.settings import ReportSettings

SHOWN_BY_BROWSERS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif"}


def write_whole_images(
    gallery: Gallery, opened: OpenSources, folder: Path, settings: ReportSettings
) -> list[str | None] | None:
    """Copy or link the images that are on a list of top images.

    Returns:
        The address of each image of the gallery as its pages link to it, None for an image without one; None if the
        settings ask for tiles only.

    Raises:
        ReportError: The settings ask for links, but a source does not consist of files.
    """
    if settings.images == "thumbs":
        return None
    if settings.images == "link":
        for key, source in zip(gallery.sources, opened.sources, strict=True):
            if source is not None and not isinstance(source.reader, FileReader):
                raise ReportError(
                    f"the images of {key.spec} are not files that a page could link to: use --images copy"
                )
    files: list[str | None] = [None] * len(gallery.frame)
    (folder / "images").mkdir(exist_ok=True)
    for number, source, row in numbered_rows(gallery, opened, gallery.frame["top"].to_numpy(bool)):
        if isinstance(source.reader, FileReader) and settings.images == "link":
            path = Path(source.reader.root) / os.fsdecode(source.reader.paths[row].as_py())
            files[number] = path.resolve().as_uri() if path.is_file() else None
            continue
        try:
            data = source.read(row)
            image = source.decode(data).image
        except ConceptProbeError:
            continue  # its thumbnail has noted that it cannot be read
        files[number] = copy_image(data if isinstance(data, bytes) else None, image, folder, number)
    return files


def copy_image(data: bytes | None, image: Image.Image, folder: Path, number: int) -> str:
    """Copy the file of an image if browsers can show it, else write it as WebP; returns its address."""
    ending = None if data is None else SHOWN_BY_BROWSERS.get(Image.open(io.BytesIO(data)).format or "")
    address = f"images/{number}.{ending or 'webp'}"
    if ending and data is not None:
        (folder / address).write_bytes(data)
    else:
        image.convert("RGB").save(folder / address, "WEBP", quality=90)
    return address
