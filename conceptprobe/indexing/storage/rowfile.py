"""Files of rows of numbers that are appended and read in blocks, so that memory does not grow with their number."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike

BLOCK_BYTES = 16 << 20


class RowFile:
    """A file of `width` little-endian numbers a row, without a header.

    Args:
        rows: Number of rows of an existing file to resume after; 0 begins a new file.
    """

    def __init__(self, path: Path, width: int, dtype: DTypeLike, rows: int = 0) -> None:
        self.path, self.width, self.rows = path, width, rows
        self.dtype = np.dtype(dtype).newbyteorder("<")
        self._file = path.open("r+b" if rows else "w+b")
        self._file.truncate(rows * self._row_bytes)
        self._file.seek(0, os.SEEK_END)

    @property
    def _row_bytes(self) -> int:
        return self.width * self.dtype.itemsize

    def add(self, values_nw: np.ndarray) -> None:
        """Append rows."""
        assert values_nw.shape[1] == self.width, (values_nw.shape, self.width)
        self._file.write(np.ascontiguousarray(values_nw, self.dtype).data)
        self.rows += len(values_nw)

    def flush(self) -> None:
        """Bring everything to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def blocks(self) -> Iterator[np.ndarray]:
        """All rows in order, a bounded number at once."""
        self._file.flush()
        step = max(1, BLOCK_BYTES // self._row_bytes)
        for start in range(0, self.rows, step):
            count = min(step, self.rows - start) * self.width
            block = np.fromfile(self.path, self.dtype, count, offset=start * self._row_bytes)
            yield block.reshape(-1, self.width)

    def columns(self, first: int, stop: int) -> np.ndarray:
        """Some columns of all rows, [n,stop-first]."""
        self._file.flush()
        out = np.empty((self.rows, stop - first), self.dtype)
        step = max(1, BLOCK_BYTES // self._row_bytes)
        for start in range(0, self.rows, step):  # mapped, so that of wide rows only some pages are read
            count = min(step, self.rows - start)
            offset = start * self._row_bytes
            block = np.memmap(self.path, self.dtype, "r", offset, (count, self.width))
            out[start : start + count] = block[:, first:stop]
        return out

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Some rows."""
        self._file.flush()
        return np.array(map_rows(self.path, self.width, self.dtype, self.rows)[rows])

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def map_rows(path: Path, width: int, dtype: DTypeLike, rows: int) -> np.ndarray:
    """The last `rows` rows of a file, mapped from the disk; everything before them is a header."""
    kind = np.dtype(dtype).newbyteorder("<")
    size = rows * width * kind.itemsize
    if not rows:
        return np.empty((0, width), kind)
    return np.memmap(path, kind, "r", offset=path.stat().st_size - size, shape=(rows, width))


@dataclass(frozen=True)
class Rows:
    """Rows of an array with their numbers, which order them among the rows of other arrays.

    Attributes:
        numbers: int64 [n], ascending.
        places: Positions of the rows in the array, int64 [n]; by default the first n.
    """

    array: np.ndarray
    numbers: np.ndarray
    places: np.ndarray | None = None


def merged_blocks(parts: Sequence[Rows]) -> Iterator[np.ndarray]:
    """The rows of several arrays as one sequence, ascending by their numbers, a bounded number at once."""
    owner = np.repeat(np.arange(len(parts)), [len(part.numbers) for part in parts])
    place = np.concatenate([np.arange(len(p.numbers)) if p.places is None else p.places for p in parts])
    order = np.argsort(np.concatenate([part.numbers for part in parts]), kind="stable")
    width, kind = parts[0].array.shape[1], parts[0].array.dtype
    step = max(1, BLOCK_BYTES // (width * kind.itemsize))
    for start in range(0, len(order), step):
        now = order[start : start + step]
        block = np.empty((len(now), width), kind)
        for number in np.unique(owner[now]):
            mine = owner[now] == number
            block[mine] = parts[number].array[place[now][mine]]
        yield block
