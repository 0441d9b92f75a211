"""A shard of an index: the reduction of some of its batches in one folder, which `merge_indices` joins."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.storage.checkpoint import STATE, State, load_state
from conceptprobe.indexing.storage.layout import layer_folder
from conceptprobe.indexing.storage.manifest import Manifest


@dataclass(frozen=True)
class Shard:
    """Images that were reduced together. Rows count the listing that all shards share.

    Attributes:
        path: The folder.
        manifest: The manifest of the shard.
        state: Its reduction.
        rows: Rows of the images that were read, int64, ascending.
        skipped: Rows of the images that could not be read, in the order of skipped.parquet.
        sampled: Rows of the images whose values are all kept, int64, ascending.
        kept: Positions in `sampled` of the images that stay in the sample of the whole index.
        new_rows: The new number of each row in the state, int64, if the listing has grown since; else None.
    """

    path: Path
    manifest: Manifest
    state: State
    rows: np.ndarray
    skipped: np.ndarray
    sampled: np.ndarray
    kept: np.ndarray
    new_rows: torch.Tensor | None = None

    def folder(self, layer: str) -> Path:
        """The folder of a layer."""
        return layer_folder(self.path, layer)

    def renumbered(self, new_rows: np.ndarray, sample: np.ndarray) -> "Shard":
        """The shard in a longer listing: row n becomes new_rows[n], and only the rows `sample` stay in the sample."""
        sampled = new_rows[self.sampled]
        return replace(
            self, rows=new_rows[self.rows], skipped=new_rows[self.skipped], sampled=sampled,
            kept=np.flatnonzero(np.isin(sampled, sample)), new_rows=torch.from_numpy(new_rows),
        )  # fmt: skip


def read_shard(path: Path) -> Shard:
    """Open a shard or a growable index.

    Raises:
        IndexingError: It is neither, or its state is damaged.
    """
    manifest = Manifest.read(path)
    if manifest.part is None and not manifest.growable:
        raise IndexingError(f"{path} is a whole index that was not built to grow: nothing can be joined with it")
    state = load_state(path / STATE)
    if state is None:
        raise IndexingError(f"{path} is damaged: its state cannot be read; build it again")
    return as_shard(path, manifest, state)


def as_shard(path: Path, manifest: Manifest, state: State, rows: np.ndarray | None = None) -> Shard:
    """The shard with a state.

    Args:
        path: The folder.
        manifest: The manifest.
        state: The reduction.
        rows: Rows of the listing that were read or skipped; by default those of the state's batches.
    """
    if rows is None:
        rows = batch_rows(state.batches, manifest.batch_size, manifest.listed)
    skipped = np.array([row for row, _ in state.bad], np.int64)
    good = np.setdiff1d(rows, skipped)
    return Shard(path, manifest, state, good, skipped, state.sampled, np.arange(len(state.sampled)))


def batch_rows(batches: Sequence[tuple[int, int]], size: int, listed: int) -> np.ndarray:
    """Rows of the listing that are in runs of batches."""
    runs = [np.arange(first * size, min(last * size, listed)) for first, last in batches]
    return np.concatenate([np.empty(0, np.int64), *runs])


def join_runs(runs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sort runs of numbers that do not overlap, and join those that touch."""
    joined: list[tuple[int, int]] = []
    for first, last in sorted(run for run in runs if run[0] < run[1]):
        if joined and joined[-1][1] == first:
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined
