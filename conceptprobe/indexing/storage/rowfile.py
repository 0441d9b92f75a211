"""Rows of numbers in a file, added one after the other and read in blocks, so that memory does not grow with them."""

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
        rows: How many rows of a file that is there to go on after; 0 begins anew.
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
        return np.array(mapped(self.path, self.width, self.dtype, self.rows)[rows])

    def close(self) -> None:
        self._file.close()


def mapped(path: Path, width: int, dtype: DTypeLike, rows: int) -> np.ndarray:
    """The last `rows` rows of a file, read from the disk when they are asked for; what is before them is a header."""
    kind = np.dtype(dtype).newbyteorder("<")
    size = rows * width * kind.itemsize
    if not rows:
        return np.empty((0, width), kind)
    return np.memmap(path, kind, "r", offset=path.stat().st_size - size, shape=(rows, width))


@dataclass(frozen=True)
class Rows:
    """Rows of an array, whose numbers say where they belong among those of others.

    Attributes:
        numbers: int64 [n], ascending.
        places: Which rows of the array, int64 [n]; the first n where it is None.
    """

    array: np.ndarray
    numbers: np.ndarray
    places: np.ndarray | None = None


def gathered(parts: Sequence[Rows]) -> Iterator[np.ndarray]:
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
