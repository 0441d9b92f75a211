"""The files of a finished index, opened when they are first needed and cached."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
import pandas as pd
from cachetools import LRUCache, cached
from safetensors.numpy import load_file

from conceptprobe.errors import ConceptProbeError
from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.storage.faiss_files import on_gpu, read_faiss
from conceptprobe.indexing.storage.layout import layer_folder

CACHED_BYTES = 2 << 30  # of arrays
CACHED_ON_GPU = 4  # layers

Arrays = dict[str, np.ndarray]


class IndexFiles:
    """Reads the files of an index. The least recently used arrays leave the cache when it is full."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.table = cache(self._read_table)
        self.arrays = cached(LRUCache(CACHED_BYTES, _cached_bytes), lock=RLock())(self._read_arrays)
        self.faiss = cache(self._open_faiss)
        self.searchable = cached(LRUCache(CACHED_ON_GPU), lock=RLock())(self._move_to_gpu)

    def _read_table(self, name: str) -> pd.DataFrame:
        """`images` or `skipped`."""
        with reading(self._path / f"{name}.parquet") as path:
            return pd.read_parquet(path)

    def _read_arrays(self, layer: str, kind: str) -> Arrays:
        """`top`, `bottom`, `stats` or `strips` of a layer, read-only."""
        with reading(layer_folder(self._path, layer) / f"{kind}.safetensors") as path:
            arrays = load_file(path)
        for array in arrays.values():
            array.flags.writeable = False  # callers get views of the cache
        return arrays

    def _open_faiss(self, layer: str, kind: str) -> Any:
        """The FAISS index over the `images` or `features` of a layer, mapped from the disk."""
        with reading(layer_folder(self._path, layer) / f"{kind}.faiss") as path:
            return read_faiss(path)

    def _move_to_gpu(self, layer: str) -> Any:
        """The FAISS index over images, on the first GPU where that is possible."""
        return on_gpu(self.faiss(layer, "images"))


@contextmanager
def reading(path: Path) -> Iterator[Path]:
    """Any error while a file of an index is read becomes one clear error."""
    try:
        yield path
    except ConceptProbeError:
        raise
    except Exception as error:
        raise IndexingError(f"{path} is damaged ({type(error).__name__}): rebuild the index") from error


def _cached_bytes(arrays: Arrays) -> int:
    return min(sum(array.nbytes for array in arrays.values()), CACHED_BYTES)  # the largest arrays are cached, too
