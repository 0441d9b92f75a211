"""The images of a list, small, for notebooks and figures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from PIL import Image

from conceptprobe.errors import ConceptProbeError
from conceptprobe.images import ImageSource, load_images
from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.storage.manifest import Manifest


@dataclass(frozen=True)
class SourceKey:
    """A source, however its spec is written: the fingerprint decides the pixels of an image id."""

    fingerprint: str
    spec: str = field(compare=False)
    background: str = field(compare=False)
    fast_decode: bool = field(compare=False, default=False)

    @classmethod
    def of(cls, manifest: Manifest) -> "SourceKey":
        """The source of an index."""
        source = manifest.source
        return cls(source.fingerprint, source.spec, source.background, source.fast_decode is not None)


def open_source(key: SourceKey) -> tuple[ImageSource | None, str]:
    """The image source of an index, or None; and what is wrong with it, empty where nothing is."""
    try:
        source = load_images(key.spec, background=key.background, fast_decode=key.fast_decode)
    except (ConceptProbeError, OSError) as error:
        return None, f"{key.spec}: the images cannot be opened ({error})"
    if source.fingerprint != key.fingerprint:
        return source, f"{key.spec}: has changed since it was indexed; the tiles show the images as they are now"
    return source, ""


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
        source = _open(SourceKey.of(Manifest.read(origin)))
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
        raise IndexingError(reason)
    return source
