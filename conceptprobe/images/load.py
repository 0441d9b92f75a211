"""Load an image source by its spec."""

import difflib
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from conceptprobe.images.dataset import list_dataset
from conceptprobe.images.emoji import list_emoji
from conceptprobe.images.errors import SourceError
from conceptprobe.images.folder import list_folder
from conceptprobe.images.hf import is_datasets, list_datasets, list_hf
from conceptprobe.images.metadata import conform
from conceptprobe.images.readers import Reader
from conceptprobe.images.shards import list_shards
from conceptprobe.images.source import ImageSource
from conceptprobe.images.table import list_table

FAMILIES: dict[str, Callable[[str], tuple[pa.Table, Reader]]] = {
    "mini": list_emoji,
    "folder": list_folder,
    "wds": list_shards,
    "hf": list_hf,
    "table": list_table,
}
GRAMMAR = "mini:emoji, folder:PATH, wds:PATTERN, hf:PATH#SPLIT or table:FILE"

ImagesLike = ImageSource | str
"""An image source, or the spec of one."""


def load_images(spec: str | Any, *, background: str = "white", fast_decode: bool = False) -> ImageSource:
    """List the images of a source without reading any.

    Args:
        spec: `mini:emoji`; `folder:PATH`, a folder or a zip file; `wds:PATTERN`, tar shards; `hf:PATH#SPLIT`, parquet
            files or a Hugging Face dataset; `table:FILE`; or a torch map-style dataset or a `datasets.Dataset`.
        background: The colour, by name or in hex, on which transparent images are blended.
        fast_decode: Let an index decode JPEGs at 1/2, 1/4 or 1/8 of their size if the model needs no more, or on the
            model's GPU, and scale images with torch instead of PIL. Pixels change slightly, so it is part of the
            fingerprint; `ImageSource.load` always returns the exact image.

    Raises:
        SourceError: The source does not exist, it is empty, or its metadata is wrong.
    """
    if not isinstance(spec, str):
        table, dataset = list_datasets(spec) if is_datasets(spec) else list_dataset(spec)
        return ImageSource(f"dataset:{type(spec).__name__}", conform(table), dataset, background, fast_decode)
    family, colon, rest = spec.partition(":")
    if family not in FAMILIES or not rest:
        near = difflib.get_close_matches(family, FAMILIES, n=1)
        if family in FAMILIES:
            hint = f"nothing follows {family!r}"
        elif near and colon:
            hint = f"did you mean {near[0]}:{rest}"
        else:
            hint = f"a folder is written folder:{spec}"
        raise SourceError(f"{spec!r} is not an image source ({hint}); use {GRAMMAR}")
    table, reader = FAMILIES[family](rest)
    return ImageSource(spec, conform(table), reader, background, fast_decode)


def as_images(images: ImagesLike) -> ImageSource:
    """The images themselves, or those that `load_images` opens for a spec."""
    return load_images(images) if isinstance(images, str) else images
