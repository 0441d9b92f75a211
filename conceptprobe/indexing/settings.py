"""What a build is asked for: checked once, before any image is read, and described in a manifest."""

from collections.abc import Sequence, Sized

from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.reducers.pooling import check_pooling
from conceptprobe.models import Layer

MAX_K = 10_000
MAX_IMAGES = 2**32 - 1  # a row has 32 bits in a list's keys
MAX_BATCH = 65_536
MAX_WORKERS = 256


def check_settings(
    images: Sized, layers: Sequence[Layer], pooling: Sequence[str], *, k: int, bottom: int, batch_size: int,
    workers: int,
) -> None:  # fmt: skip
    """Refuse what cannot work before any image is read."""
    if not len(images) or not layers:
        raise IndexingError(f"nothing to index: {len(images)} images, {len(layers)} layers")
    if len(images) > MAX_IMAGES:
        raise IndexingError(
            f"{len(images):,} images are more than the {MAX_IMAGES:,} of an index: cut the source in two"
        )
    check_poolings(layers, pooling)
    for name, value, least, most in (
        ("k", k, 1, MAX_K), ("bottom", bottom, 0, MAX_K), ("batch_size", batch_size, 1, MAX_BATCH),
        ("workers", workers, 0, MAX_WORKERS),
    ):  # fmt: skip
        if type(value) is not int or not least <= value <= most:
            raise IndexingError(f"{name} is {value!r}: it must be a whole number from {least} to {most:,}")


def check_poolings(layers: Sequence[Layer], pooling: Sequence[str]) -> None:
    """Refuse poolings that some layer cannot have."""
    if isinstance(pooling, str) or not pooling or len(set(pooling)) != len(pooling):
        raise IndexingError(f"pooling is {pooling!r}: give a tuple of different names, such as ('mean', 'max')")
    for layer in layers:
        for name in pooling:
            check_pooling(layer, name)


def batch_share(shard: tuple[int, int] | None, batches: int) -> tuple[int, int]:
    """First batch of a shard, and the first after it; of all batches where there are no shards."""
    number, count = (0, 1) if shard is None else shard
    if not 0 <= number < count:
        raise IndexingError(f"shard is {number}/{count}: of n shards the first is 0/n and the last n-1/n")
    return batches * number // count, batches * (number + 1) // count


def parse_limit(max_skipped: int | str | None, images: int) -> int | None:
    """How many images may be skipped."""
    if max_skipped is None:
        return None
    text = str(max_skipped).strip()
    try:
        limit = float(text[:-1]) / 100 * images if text.endswith("%") else int(text)
    except ValueError:
        limit = -1
    if not 0 <= limit < float("inf"):
        raise IndexingError(f"max_skipped is {max_skipped!r}: give a number of images, or a share such as 5%")
    return int(limit)
