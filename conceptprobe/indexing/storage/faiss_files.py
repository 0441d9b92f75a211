"""FAISS files: one inner-product index over images and one over features for each layer; both flat unless asked for."""

import os
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from conceptprobe.indexing.errors import IndexingError, MissingFaissError
from conceptprobe.indexing.storage.factory import CODEBOOK, Factory
from conceptprobe.indexing.storage.rowfile import map_rows


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
    rows, then the rows as float32.
    """

    def __init__(self, path: Path, width: int, rows: int = 0) -> None:
        """Begin a file, or resume one after its first `rows` rows.

        Raises:
            MissingFaissError: FAISS is not installed.
            IndexingError: This version of FAISS lays out its files in another way.
        """
        _check_flat_layout(width)
        self.path, self._width, self._rows = path, width, rows
        header = _flat_header(width, 0)
        self._file = path.open("r+b" if rows else "w+b")
        if not rows:
            self._file.write(header)
        self._file.truncate(len(header) + 4 * width * rows)
        self._file.seek(0, os.SEEK_END)

    def add(self, values_nf: np.ndarray) -> None:
        """Append rows."""
        assert values_nf.shape[1] == self._width, (values_nf.shape, self._width)
        self._file.write(np.ascontiguousarray(values_nf, dtype="<f4").tobytes())
        self._rows += len(values_nf)

    def flush(self) -> int:
        """Bring everything to the disk; returns the number of rows."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._rows

    def rows(self) -> np.ndarray:
        """All rows that were added, float32 [n,d], mapped from the disk."""
        return map_rows(self.path, self._width, np.float32, self.flush())

    def close(self) -> None:
        """Write the number of rows into the header, and close the file."""
        self._file.seek(0)
        self._file.write(_flat_header(self._width, self._rows))
        self._file.close()


def write_flat(path: Path, vectors_nd: np.ndarray) -> None:
    """Write vectors that fit in memory as an `IndexFlatIP`."""
    writer = FlatIndexWriter(path, vectors_nd.shape[1])
    writer.add(vectors_nd)
    writer.close()


def map_flat(path: Path, width: int, rows: int) -> np.ndarray:
    """The vectors of an `IndexFlatIP`, float32 [n,d], mapped from the disk.

    Raises:
        IndexingError: The file is not an `IndexFlatIP` of so many vectors.
    """
    header = _flat_header(width, rows)
    with path.open("rb") as file:
        start = file.read(len(header))
    if start != header or path.stat().st_size != len(header) + 4 * width * rows:
        raise IndexingError(f"{path} is damaged: it is no flat FAISS index of {rows} vectors; build the index again")
    return map_rows(path, width, np.float32, rows)


def _flat_header(width: int, rows: int) -> bytes:
    """What precedes the vectors in the file of an `IndexFlatIP`."""
    faiss = require_faiss("writing image vectors")
    header = bytearray(faiss.serialize_index(faiss.IndexFlatIP(width)).tobytes())
    # The header is a kind of 4 letters, int32 width and int64 rows; the last 8 bytes count the floats after it.
    struct.pack_into("<q", header, 8, rows)
    struct.pack_into("<q", header, len(header) - 8, rows * width)
    return bytes(header)


def _check_flat_layout(width: int) -> None:
    faiss = require_faiss("writing image vectors")
    rows_nd = np.arange(2 * width, dtype="<f4").reshape(2, width)
    index = faiss.IndexFlatIP(width)
    index.add(rows_nd)
    if faiss.serialize_index(index).tobytes() != _flat_header(width, 2) + rows_nd.tobytes():
        raise _unknown_layout()


def _unknown_layout() -> IndexingError:
    version = require_faiss("writing an index").__version__
    return IndexingError(
        f"FAISS {version} lays out its files in a way that conceptprobe cannot write: install one of the versions that "
        "the extras of conceptprobe allow, such as pip install 'conceptprobe[cpu]'; or build without vectors"
    )


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


def search_parameters(index: Any, nprobe: int | None) -> Any:
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


TRAIN_PER_CENTROID = 64  # FAISS asks for 39 at least
LISTS_PER_PROBE = 16
BLOCK_BYTES = 1 << 26
LAYOUT_ROWS = 4  # vectors that the layout is compared on


def write_factory(path: Path, vectors_nd: np.ndarray, factory: Factory) -> None:
    """Write the index of some vectors.

    Of an index with inverted lists, a search looks into a sixteenth of them unless it is told otherwise.

    Args:
        path: The file.
        factory: The kind of index.
        vectors_nd: float32 [n,d]; mapped from a file, it is never read as a whole.
    """
    index = trained(vectors_nd, factory)
    _check_layout(index, vectors_nd[: max(LAYOUT_ROWS, factory.lists)])
    with path.open("w+b") as file:
        if factory.lists:
            _write_lists(file, index, vectors_nd, _assign(index, vectors_nd))
        else:
            _write_codes(file, index, vectors_nd)


def _check_layout(index: Any, vectors_nd: np.ndarray) -> None:
    """Refuse a version of FAISS that writes some vectors to other bytes than this module.

    Every inverted list gets a vector, since FAISS writes the lengths of lists that are mostly empty in another way.
    """
    faiss = require_faiss("writing an index")
    vectors_nd = np.ascontiguousarray(vectors_nd, np.float32)
    filled = faiss.clone_index(index)
    with tempfile.TemporaryFile() as file:
        if hasattr(index, "nlist"):
            rows_n = np.arange(len(vectors_nd))
            lists_n = rows_n % index.nlist
            filled.add_core(len(rows_n), *(faiss.swig_ptr(array) for array in (vectors_nd, rows_n, lists_n)))
            _write_lists(file, index, vectors_nd, lists_n)
        else:
            filled.add(vectors_nd)
            _write_codes(file, index, vectors_nd)
        file.seek(0)
        if file.read() != faiss.serialize_index(filled).tobytes():
            raise _unknown_layout()


def trained(vectors_nd: np.ndarray, factory: Factory) -> Any:
    """An empty FAISS index, trained on a sample of the vectors that depends on their number only."""
    faiss = require_faiss("training an index")
    index = faiss.index_factory(vectors_nd.shape[1], factory.text, faiss.METRIC_INNER_PRODUCT)
    if factory.lists:
        index.nprobe = max(1, factory.lists // LISTS_PER_PROBE)
        index.cp.min_points_per_centroid = 1  # or FAISS prints what `check` has said
    if factory.parts:
        index.pq.cp.min_points_per_centroid = 1
        index.do_polysemous_training = False  # for comparing codes by Hamming distance, which nothing here does
    count = min(len(vectors_nd), TRAIN_PER_CENTROID * max(CODEBOOK, factory.lists))
    rows = np.sort(np.random.default_rng(0).choice(len(vectors_nd), count, replace=False))
    index.train(np.ascontiguousarray(vectors_nd[rows], np.float32))
    return index


def blocks(vectors_nd: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Vectors a bounded number at once, each time with the row of the first."""
    step = max(1, BLOCK_BYTES // (4 * vectors_nd.shape[1]))
    for start in range(0, len(vectors_nd), step):
        yield start, np.ascontiguousarray(vectors_nd[start : start + step], np.float32)


def _header(index: Any, rows: int) -> tuple[bytearray, Any]:
    """The file of an empty index as if it had so many rows, and the index as what it is."""
    faiss = require_faiss("writing an index")
    empty = bytearray(faiss.serialize_index(index).tobytes())
    struct.pack_into("<q", empty, 8, rows)  # after the kind, 4 letters, and the width, an int32
    return empty, faiss.downcast_index(index)


def _write_codes(file: BinaryIO, index: Any, vectors_nd: np.ndarray) -> None:
    """An index that is codes in the order of the rows: header, number of bytes, codes, and settings of a PQ."""
    empty, index = _header(index, len(vectors_nd))
    settings = 9 if hasattr(index, "pq") else 0  # an int32, a bool and an int32
    at = len(empty) - settings
    struct.pack_into("<q", empty, at - 8, len(vectors_nd) * index.sa_code_size())
    file.write(empty[:at])
    for _, block in blocks(vectors_nd):
        file.write(index.sa_encode(block).data)
    file.write(empty[at:])


def _assign(index: Any, vectors_nd: np.ndarray) -> np.ndarray:
    """The number of the inverted list of each vector, int64 [n]."""
    quantizer = require_faiss("writing an index").downcast_index(index).quantizer
    return np.concatenate([quantizer.assign(block, 1)[:, 0] for _, block in blocks(vectors_nd)])


def _write_lists(file: BinaryIO, index: Any, vectors_nd: np.ndarray, lists_n: np.ndarray) -> None:
    """An index of inverted lists: header, length of every list, then list by list the codes and the row numbers.

    Args:
        file: Open for writing and reading.
        index: Trained and empty.
        vectors_nd: float32 [n,d].
        lists_n: Number of the list of each vector, int64 [n].
    """
    faiss = require_faiss("writing an index")
    empty, index = _header(index, len(vectors_nd))
    lengths = np.bincount(lists_n, minlength=index.nlist)
    file.write(empty[:-12])  # of no lists: 4 letters that say how their lengths are written, and the number of lengths
    file.write(b"full" + struct.pack("<q", index.nlist) + lengths.astype("<i8").tobytes())
    size, head = index.code_size, file.tell()
    ends = np.cumsum(lengths * (size + 8))
    file.truncate(head + int(ends[-1]))
    target = np.memmap(file, np.uint8, "r+", offset=head)
    codes_at = ends - lengths * (size + 8)
    rows_at = ends - lengths * 8
    for start, block in blocks(vectors_nd):
        lists_b = lists_n[start : start + len(block)]
        codes_bs = np.empty((len(block), size), np.uint8)
        index.encode_vectors(len(block), faiss.swig_ptr(block), faiss.swig_ptr(lists_b), faiss.swig_ptr(codes_bs))
        order = np.argsort(lists_b, kind="stable")
        found, firsts = np.unique(lists_b[order], return_index=True)
        for number, places in zip(found, np.split(order, firsts[1:]), strict=True):
            for at, data in ((codes_at, codes_bs[places]), (rows_at, (start + places).astype("<i8"))):
                flat = data.view(np.uint8).reshape(-1)
                target[at[number] : at[number] + len(flat)] = flat
                at[number] += len(flat)
    target.flush()
