"""A uniform sample of the images with all their values: quantiles and feature neighbours are computed on it.

Which images are in it is decided by a hash of their ids, so it is the same for any order, shards and workers, and the
sample of a union is the best of the samples of its parts.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

SAMPLE_SIZE = 4096
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def sampled_rows(ids: Iterable[str], size: int = SAMPLE_SIZE) -> np.ndarray:
    """Rows of the `size` ids with the smallest hash, int64, ascending."""
    digests = np.fromiter(
        (int.from_bytes(hashlib.sha256(id_.encode()).digest()[:8], "big") for id_ in ids), dtype=np.uint64
    )
    if len(digests) <= size:
        return np.arange(len(digests))
    return np.sort(np.argsort(digests, kind="stable")[:size])


def new_file(path: Path, shape: tuple[int, int]) -> np.memmap:
    return np.lib.format.open_memmap(path, "w+", np.float32, shape)


class Sample:
    """Values of the sampled images, float32 [n,f]; a row stays NaN until its image is added.

    Args:
        rows: The sampled rows, ascending.
        features: Number of features f.
        path: Where the values lie; a file that is there is gone on with. In memory where it is None.
    """

    def __init__(self, rows: np.ndarray, features: int, path: Path | None = None) -> None:
        self.rows, self._path = rows, path
        shape = (len(rows), features)
        self.values_nf: np.ndarray
        if path is not None and path.exists():
            self.values_nf = np.lib.format.open_memmap(path, "r+")
            assert self.values_nf.shape == shape, (path, self.values_nf.shape, shape)
            return
        self.values_nf = np.empty(shape, np.float32) if path is None else new_file(path, shape)
        self.values_nf.fill(np.nan)

    def flush(self) -> None:
        """Bring what lies in a file to the disk."""
        if isinstance(self.values_nf, np.memmap):
            self.values_nf.flush()

    def discard(self) -> None:
        """Remove the file."""
        if self._path is not None:
            self._path.unlink()

    def add(self, values_bf: torch.Tensor, rows_b: np.ndarray) -> None:
        """Take in a batch: values float32 [b,f] of image rows int64 [b]; keeps those that are in the sample."""
        places = np.searchsorted(self.rows, rows_b)
        hit = (places < len(self.rows)) & (self.rows[np.minimum(places, len(self.rows) - 1)] == rows_b)
        if hit.any():
            chosen = torch.from_numpy(np.flatnonzero(hit)).to(values_bf.device)
            self.values_nf[places[hit]] = values_bf[chosen].cpu().numpy()

    def merge(self, other: "Sample") -> None:
        """Take in what another reducer over the same sample has seen."""
        assert np.array_equal(self.rows, other.rows), "samples of different sources"
        np.copyto(self.values_nf, other.values_nf, where=np.isnan(self.values_nf))

    def quantiles(self) -> np.ndarray:
        """QUANTILES of every feature's finite values, float32 [q,f]; exact up to SAMPLE_SIZE images, above it with a
        standard error of at most 0.8 % in rank."""
        finite = np.where(np.isfinite(self.values_nf), self.values_nf, np.nan)
        out = np.full((len(QUANTILES), finite.shape[1]), np.nan, np.float32)
        some = ~np.isnan(finite).all(0)
        if some.any():
            out[:, some] = np.nanquantile(finite[:, some], QUANTILES, axis=0)
        return out
