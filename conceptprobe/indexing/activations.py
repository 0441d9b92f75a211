"""The activations that an index keeps of every image, pooled by its first pooling: what `images.faiss` holds."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.index import Index
from conceptprobe.indexing.reducers.sample import sampled_rows
from conceptprobe.indexing.storage.faiss_files import read_faiss, require_faiss
from conceptprobe.indexing.storage.layout import layer_folder, reading

ROWS_READ = 4096


def activations_of(index: Index, layer: str) -> Iterator[np.ndarray]:
    """The activations of successive images, float32 [b,f]. They are exact unless the index was built with another
    `faiss` than `Flat`; what is not finite is 0.

    Raises:
        IndexingError: The index has no such layer, or was built without vectors.
        MissingFaissError: FAISS is not installed.
    """
    stored = _stored(index, layer)
    for start in range(0, stored.ntotal, ROWS_READ):
        yield stored.reconstruct_n(start, min(ROWS_READ, stored.ntotal - start))


def image_vectors(index: Index, layer: str, rows: np.ndarray) -> np.ndarray:
    """The activations of some images, float32 [n,f]; otherwise as `activations_of`.

    Args:
        rows: Rows of `Index.images`, ascending.
    """
    stored = _stored(index, layer)
    if isinstance(stored, require_faiss("reading image vectors").IndexFlat):
        return stored.reconstruct_batch(rows)
    parts = []  # of other kinds, only runs of rows can be read
    for number, block in enumerate(activations_of(index, layer)):
        inside = rows[(rows >= number * ROWS_READ) & (rows < (number + 1) * ROWS_READ)]
        parts.append(block[inside - number * ROWS_READ])
    return np.concatenate(parts)


def _stored(index: Index, layer: str) -> Any:
    if layer not in index.layers:
        raise IndexingError(f"{index.path} has no layer {layer!r}; it has {', '.join(index.layers)}")
    with reading(layer_folder(index.path, layer) / "images.faiss") as path:
        return read_faiss(path)


def chosen_rows(index: Index, images: int) -> np.ndarray:
    """At most so many rows of an index, the same for all that hold the same images, ascending."""
    return sampled_rows(pa.chunked_array([pa.array(index.images["id"], pa.string())]), images)
