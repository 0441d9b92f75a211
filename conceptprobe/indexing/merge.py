"""Join shards of an index: shards that were built anywhere, in any order and in any number of steps."""

import itertools
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from conceptprobe.images.metadata import HASH, take_rows
from conceptprobe.indexing.build import finish
from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.index import Index, open_index
from conceptprobe.indexing.reducers.layer import LayerReducer
from conceptprobe.indexing.storage.checkpoint import State
from conceptprobe.indexing.storage.directory import check_output_path, is_finished, staged_index
from conceptprobe.indexing.storage.faiss_files import require_faiss
from conceptprobe.indexing.storage.layout import layer_folder
from conceptprobe.indexing.storage.manifest import Counts, Manifest, ShardEntry, damaged_files, differences
from conceptprobe.indexing.storage.shard import Shard, as_shard, join_runs, read_shard
from conceptprobe.indexing.streaming.stream import empty_folder, write_tables


def merge_indices(
    paths: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], *, overwrite: bool = False
) -> Index:
    """Join all shards of an index, in any order, to the same bytes as one build of all its images would have given.

    Args:
        paths: Shards from `build_index`, or larger shards that `join_shards` made of them.
        out: The folder to make. It appears only when the index is complete.
        overwrite: Replace an index that is already there; anything else is never replaced.

    Raises:
        IndexingError: A shard is missing, given twice, damaged, or of another index; the message says in what.
    """
    manifest = join_shards(paths, out, complete=True, overwrite=overwrite)
    assert manifest.part is None, manifest.part
    return open_index(out)


def join_shards(
    paths: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str], *, complete: bool = False,
    overwrite: bool = False,
) -> Manifest:  # fmt: skip
    """Join some shards of an index to a larger shard, or all of them to the index itself.

    Args:
        paths: The shards.
        out: The folder to make.
        complete: Refuse to begin unless every shard of the index is there.
        overwrite: Replace an index that is already there.

    Returns:
        The manifest of what was made; its `part` is None when it is the index.
    """
    folders, out = [Path(path).resolve() for path in paths], Path(out).resolve()
    check_output_path(out, overwrite)
    manifest = joined_manifest(folders, complete=complete)
    with staged_index(out, manifest, overwrite=overwrite) as partial:
        if not is_finished(partial, manifest):
            empty_folder(partial)
            shards = [read_shard(folder) for folder in folders]
            finish(partial, manifest, *join(shards, partial, manifest))
    return Manifest.read(out)


def joined_manifest(folders: Sequence[Path], *, complete: bool) -> Manifest:
    """The manifest of what shards make together, without counts and files.

    Raises:
        IndexingError: They cannot be joined.
    """
    if not folders:
        raise IndexingError("nothing to merge: give the directories of all shards")
    manifests = {folder: Manifest.read(folder) for folder in dict.fromkeys(folders)}
    if len(manifests) < len(folders):
        again = next(folder for folder in folders if folders.count(folder) > 1)
        raise IndexingError(f"{again} is given twice: give every shard once")
    first, model = next(iter(manifests.items()))
    runs: list[tuple[int, int, Path]] = []
    for folder, manifest in manifests.items():
        if manifest.part is None:
            raise IndexingError(f"{folder} is a whole index, not a shard: there is nothing to merge it with")
        if unlike := differences(model, manifest):
            raise IndexingError(f"{first} and {folder} are not of one index: {'; '.join(unlike)}")
        runs += [(start, stop, folder) for start, stop in manifest.part.batches]
    runs = sorted(run for run in runs if run[0] < run[1])
    for (_, end, one), (start, stop, other) in itertools.pairwise(runs):
        if start < end:
            both = f"batches {start} to {min(end, stop) - 1}"
            raise IndexingError(f"{one} and {other} both hold {both}: give only one of them")
    batches = -(-model.listed // model.batch_size)
    have = join_runs([(start, stop) for start, stop, _ in runs])
    edges = [0, *itertools.chain.from_iterable(have), batches]
    missing = [f"{a} to {b - 1}" for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]
    if complete and missing:
        raise IndexingError(f"shards are missing: of {batches} batches none of these holds {', '.join(missing)}")
    for folder, manifest in manifests.items():
        if damaged := damaged_files(folder, manifest):
            raise IndexingError(f"{folder} is damaged: {', '.join(damaged[:3])}; build it again")
    shard = ShardEntry(tuple(have), model.listed) if missing else None
    return replace(model, part=shard, counts=Counts(), files={})


def join(
    shards: Sequence[Shard], folder: Path, manifest: Manifest, listing: pa.Table | None = None
) -> tuple[Shard, dict[str, LayerReducer]]:
    """Join shards into a folder. Their rows are of one listing, and no row is in two of them.

    Args:
        shards: The shards.
        folder: Where to write.
        manifest: The manifest of the result.
        listing: A row for every image of the listing; by default the rows of the shards.
    """
    if manifest.vectors:
        require_faiss("writing images.faiss and features.faiss")
    reducers = {}
    for name, layer in manifest.layers.items():
        reducers[name] = LayerReducer(layer, manifest, layer_folder(folder, name), device=torch.device("cpu"))
        reducers[name].join(shards)
    bad = [
        (int(row), reason) for shard in shards for row, (_, reason) in zip(shard.skipped, shard.state.bad, strict=True)
    ]
    state = State(
        join_runs([run for shard in shards for run in shard.state.batches]),
        sorted(bad),
        np.sort(np.concatenate([shard.sampled[shard.kept] for shard in shards])),
        {name: reducer.state_dict() for name, reducer in reducers.items()},
    )
    read = _joined_table([shard.path / "images.parquet" for shard in shards], [shard.rows for shard in shards])
    skipped = _joined_table([shard.path / "skipped.parquet" for shard in shards], [shard.skipped for shard in shards])
    rows = np.sort(np.concatenate([np.concatenate([shard.rows, shard.skipped]) for shard in shards]))
    joined = as_shard(folder, manifest, state, rows)
    if listing is not None:
        read = take_rows(listing, joined.rows).append_column(HASH, read[HASH])
    write_tables(folder, read, skipped)
    return joined, reducers


def _joined_table(paths: Sequence[Path], numbers: Sequence[np.ndarray]) -> pa.Table:
    order = np.argsort(np.concatenate(numbers), kind="stable")
    tables = [pq.read_table(path) for path in paths]
    return take_rows(pa.concat_tables(tables, promote_options="default"), order)
