"""Whether images are still the ones that were indexed: their content hashes, compared."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

from conceptprobe.images import ImageSource, UnreadableImageError


def changed_images(images: ImageSource, rows: Iterable[int], hashes: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Find images whose content is not what it was. Images are read, not decoded.

    Args:
        images: The source of the images.
        rows: Rows of the source.
        hashes: The content hash that each of these images had.

    Yields:
        The position of a changed image in `rows`, and its content hash now, or the reason why it cannot be read.
    """
    with ThreadPoolExecutor() as pool:
        now = pool.map(lambda row: content_hash(images, row), rows)
        for position, (before, after) in enumerate(zip(hashes, now, strict=True)):
            if after != before:
                yield position, after


def content_hash(images: ImageSource, row: int, *, decode: bool = False) -> str:
    """The content hash of an image, or the reason why it cannot be read.

    Args:
        images: The source of the image.
        row: Its row in the source.
        decode: Whether an image counts as read only if it can be decoded.
    """
    try:
        data = images.read(row)
        if isinstance(data, bytes) and not decode:
            return hashlib.sha256(data).hexdigest()
        return images.decode(data).content_hash
    except UnreadableImageError as error:
        return str(error)


def is_hash(text: str) -> bool:
    """Whether `content_hash` could read the image."""
    return re.fullmatch("[0-9a-f]{64}", text) is not None
