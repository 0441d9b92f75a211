"""FAISS files: one inner-product index over images and one over features for each layer; both flat unless asked for."""

import os
import struct
from pathlib import Path
from typing import Any

import numpy as np

from conceptprobe.indexing.errors import IndexingError, MissingFaissError


def require_faiss(purpose: str) -> Any:
    """The faiss module.

    Raises:
        MissingFaissError: It is not installed; `purpose` says what needed it.
    """
    try:
        import faiss
    except ImportError as error:
        raise MissingFaissError(purpose) from error
    return faiss


def has_faiss() -> bool:
    """Whether it is installed."""
    try:
        require_faiss("")
    except MissingFaissError:
        return False
    return True


class FlatIndexWriter:
    """Writes an `IndexFlatIP` row by row, so that memory does not grow with the number of rows.

    FAISS itself can only write a flat index that lies in memory as a whole. The file is a header with the number of
    rows, then the rows as float32; the header comes from FAISS, and the test compares the bytes with FAISS's own.
    """

    def __init__(self, path: Path, width: int, rows: int = 0) -> None:
        """Begin a file, or go on with one after its first `rows` rows."""
        faiss = require_faiss("writing image vectors")
        empty = bytearray(faiss.serialize_index(faiss.IndexFlatIP(width)).tobytes())
        self.path, self._header, self._width, self._rows = path, empty, width, rows
        self._file = path.open("r+b" if rows else "w+b")
        if not rows:
            self._file.write(empty)
        self._file.truncate(len(empty) + 4 * width * rows)
        self._file.seek(0, os.SEEK_END)

    def add(self, values_nf: np.ndarray) -> None:
        assert values_nf.shape[1] == self._width, (values_nf.shape, self._width)
        self._file.write(np.ascontiguousarray(values_nf, dtype="<f4").tobytes())
        self._rows += len(values_nf)

    def flush(self) -> int:
        """Bring everything to the disk; returns the number of rows."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._rows

    def close(self) -> None:
        # fourcc, int32 width, int64 rows, ...; the last eight bytes are the number of floats that follow
        struct.pack_into("<q", self._header, 8, self._rows)
        struct.pack_into("<q", self._header, len(self._header) - 8, self._rows * self._width)
        self._file.seek(0)
        self._file.write(self._header)
        self._file.close()


def write_flat(path: Path, vectors_nd: np.ndarray) -> None:
    """Write vectors that fit in memory as an `IndexFlatIP`."""
    writer = FlatIndexWriter(path, vectors_nd.shape[1])
    writer.add(vectors_nd)
    writer.close()


def read_faiss(path: Path) -> Any:
    """Open a FAISS file without reading it into memory where the platform can map it."""
    faiss = require_faiss("searching an index")
    if not path.is_file():
        raise IndexingError(f"{path} is missing: build the index with vectors to search it")
    return faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)


def on_gpu(index: Any) -> Any:
    """The index on the first GPU, where FAISS finds one and can hold it there, else as it is."""
    faiss = require_faiss("searching an index")
    if not faiss.get_num_gpus():
        return index
    try:
        return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, index)
    except RuntimeError:  # larger than its memory, or of a kind that there is for CPUs only
        return index


def probing(index: Any, nprobe: int | None) -> Any:
    """What makes a search look into so many inverted lists; None for as many as the index says.

    Raises:
        IndexingError: It has not so many.
    """
    if nprobe is None:
        return None
    lists = getattr(index, "nlist", 0)
    if not 1 <= nprobe <= lists:
        has = f"it has {lists} inverted lists" if lists else "it has no inverted lists; see faiss in build_index"
        raise IndexingError(f"nprobe is {nprobe}, and the index cannot be searched so: {has}")
    return require_faiss("searching an index").SearchParametersIVF(nprobe=nprobe)


def unit(vectors_nd: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1; a row of zeros stays."""
    norms = np.linalg.norm(vectors_nd, axis=1, keepdims=True)
    return vectors_nd / np.where(norms > 0, norms, 1)
