"""The images of a list, small, from where its index says that they are: for notebooks and figures."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import Image

from conceptprobe.errors import ConceptProbeError
from conceptprobe.images import ImageSource
from conceptprobe.indexing import open_index
from conceptprobe.report.errors import ReportError
from conceptprobe.report.gallery import SourceKey
from conceptprobe.report.thumbnails import open_source


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images by id.

    Attributes:
        images: RGB, no side longer than was asked for; None for one that cannot be had.
        reason: Why some are missing, empty where none is.
    """

    images: tuple[Image.Image | None, ...]
    reason: str


def find_pictures(origin: Path | None, ids: Sequence[str], side: int) -> Pictures:
    """The images of some ids; whatever goes wrong is said in `reason`, not raised.

    Args:
        origin: The index that the ids are of.
        ids: Image ids.
        side: The longest side of an image, in pixels.
    """
    if origin is None:
        return Pictures((None,) * len(ids), "the list does not say which index it is of")
    try:
        source = _open(SourceKey.of(open_index(origin)))
    except ConceptProbeError as error:
        return Pictures((None,) * len(ids), str(error))
    images: list[Image.Image | None] = []
    reason = ""
    for id_ in ids:
        try:
            image = source.load(source.row_of(id_), least=side).image.convert("RGB")
            image.thumbnail((side, side), Image.Resampling.LANCZOS)
            images.append(image)
        except ConceptProbeError as error:
            images.append(None)
            reason = reason or f"{id_}: {error}"
    return Pictures(tuple(images), reason)


@lru_cache(maxsize=4)
def _open(key: SourceKey) -> ImageSource:
    """Opening a source may read all its ids; a source that cannot be opened is tried again the next time."""
    source, reason = open_source(key)
    if source is None:
        raise ReportError(reason)
    return source
