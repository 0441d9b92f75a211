"""The vectors of an open FAISS index, read back."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from conceptprobe.indexing.storage.faiss_files import require_faiss

ROWS_READ = 4096


def read_blocks(stored: Any) -> Iterator[np.ndarray]:
    """All vectors of a FAISS index in order, float32 [b,d], a bounded number at once."""
    for start in range(0, stored.ntotal, ROWS_READ):
        yield stored.reconstruct_n(start, min(ROWS_READ, stored.ntotal - start))


def read_rows(stored: Any, rows: np.ndarray) -> np.ndarray:
    """Some vectors of a FAISS index, float32 [n,d].

    Args:
        stored: The FAISS index.
        rows: Ascending.
    """
    if isinstance(stored, require_faiss("reading activations").IndexFlat):
        result: np.ndarray = stored.reconstruct_batch(rows)
        return result
    chosen = []  # of other kinds, only runs of rows can be read
    for number, block in enumerate(read_blocks(stored)):
        inside = rows[(rows >= number * ROWS_READ) & (rows < (number + 1) * ROWS_READ)]
        chosen.append(block[inside - number * ROWS_READ])
    return np.concatenate(chosen)
