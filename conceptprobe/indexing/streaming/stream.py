"""One pass over images: every batch through the model, and into the reducers, from the last checkpoint on."""

import shutil
import time
from collections.abc import Collection, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from conceptprobe.images import ImageSource
from conceptprobe.images.metadata import HASH
from conceptprobe.indexing.contents import changed_images, content_hash, is_hash
from conceptprobe.indexing.errors import IndexingError, TooManySkippedError
from conceptprobe.indexing.reducers.layer import BatchRows, LayerReducer
from conceptprobe.indexing.reducers.sample import sampled_rows
from conceptprobe.indexing.settings import RunSettings
from conceptprobe.indexing.storage import checkpoint
from conceptprobe.indexing.storage.checkpoint import State, load_state, save_state
from conceptprobe.indexing.storage.layout import layer_folder
from conceptprobe.indexing.storage.manifest import MARK, NAME, Manifest
from conceptprobe.indexing.storage.rowfile import RowFile
from conceptprobe.indexing.storage.shard import Shard, as_shard
from conceptprobe.indexing.streaming.forwards import pooled_batches
from conceptprobe.indexing.streaming.loader import load_batches
from conceptprobe.indexing.streaming.progress import metered
from conceptprobe.models import Layer, VisionModel

HASHES = "hashes.bin"
HASH_BYTES = 32
ROW_GROUP = 1 << 17  # rows of a table that are written at once
SPOT_CHECKS = 64  # images that are read again before a build resumes


@dataclass(frozen=True)
class Workload:
    """The images that a pass runs through the model.

    Attributes:
        rows: Rows of the listing, int64, ascending; cut into batches in that order.
        first: Number of the first batch.
    """

    rows: np.ndarray
    first: int = 0

    def batches(self, size: int) -> int:
        """Number of batches of some size."""
        return -(-len(self.rows) // size)


def stream(
    model: VisionModel, images: ImageSource, layers: Sequence[Layer], folder: Path, manifest: Manifest, plan: str,
    work: Workload, run: RunSettings,
) -> tuple[Shard, dict[str, LayerReducer]]:  # fmt: skip
    """Run images through the model and reduce them into `folder`, from the plan's last checkpoint if any.

    Raises:
        TooManySkippedError: More images could not be read than are allowed; the last checkpoint stays.
        IndexingError: An image that was read before the last checkpoint cannot be read any more; it stays, too.
    """
    whole = len(work.rows) == len(images)
    todo = images if whole else images.subset(work.rows)
    sample = sampled_rows(images.table["id"])
    limit = run.limit(len(work.rows))
    state = _stored(folder, manifest, plan, images, work)
    if state is None:
        empty_folder(folder)
        state = State([(work.first, work.first)])
    size, done = manifest.batch_size, state.batches[0][1] - work.first
    shard = as_shard(folder, manifest, state, work.rows[: done * size])
    reducers = {
        layer.name: LayerReducer(
            layer, manifest, layer_folder(folder, layer.name), device=model.device, state=state.layers.get(layer.name)
        )
        for layer in layers
    }
    hashes = RowFile(folder / HASHES, HASH_BYTES, np.uint8, len(shard.rows))
    batches = load_batches(
        todo, model.preprocess, size=size, shape=model.image_size, workers=run.workers,
        pin=model.device.type == "cuda", first=done, device=model.device,
    )  # fmt: skip
    title = f"{model.spec} on {images.spec}"
    metering = metered(
        title, len(todo), done=min(done * size, len(todo)), skipped=len(state.bad), show=run.progress,
        log=run.log,
    )  # fmt: skip
    saved = time.monotonic()
    forwards = closing(pooled_batches(model, layers, manifest.pooling, batches))
    with metering as meter, torch.inference_mode(), forwards as pooled:
        for batch, acts in pooled:
            rows = work.rows[batch.rows[batch.good]]
            chosen = np.flatnonzero(sample[np.minimum(np.searchsorted(sample, rows), len(sample) - 1)] == rows)
            arrival = BatchRows(work.first + batch.number, rows, batch.good, chosen)
            for name, reducer in reducers.items():
                if acts:
                    reducer.add(acts[name], arrival)
                else:
                    reducer.skip_batch(arrival.batch)
            hashes.add(np.frombuffer(bytes.fromhex("".join(batch.hashes)), np.uint8).reshape(-1, HASH_BYTES))
            bad = [(int(work.rows[row]), reason) for row, reason in batch.bad]
            state.bad += bad
            state.batches = [(work.first, work.first + batch.number + 1)]
            meter.advance(len(batch.rows), [(images.table["id"][row].as_py(), reason) for row, reason in bad])
            if limit is not None and len(state.bad) > limit:
                raise TooManySkippedError(len(state.bad), int(batch.rows[-1]) + 1, limit, state.bad[-1][1])
            if time.monotonic() - saved >= checkpoint.INTERVAL:
                hashes.flush()
                _update_state(state, reducers, sample, work.rows[: (batch.number + 1) * size])
                files = [hashes.path, *(path for reducer in reducers.values() for path in reducer.files)]
                save_state(folder / checkpoint.NAME, state, plan=plan, files=files)
                saved = time.monotonic()
                meter.checkpoint()
    _update_state(state, reducers, sample, work.rows)
    shard = as_shard(folder, manifest, state, work.rows)
    write_images(folder, images, shard.rows, hashes, state.bad)
    hashes.close()
    return shard, reducers


def _update_state(state: State, reducers: dict[str, LayerReducer], sample: np.ndarray, rows: np.ndarray) -> None:
    """Bring a state up to date with reducers that have seen these rows of the listing."""
    state.layers = {name: reducer.state_dict() for name, reducer in reducers.items()}
    bad = np.array([row for row, _ in state.bad], np.int64)
    state.sampled = np.setdiff1d(np.intersect1d(sample, rows, assume_unique=True), bad)


def _stored(folder: Path, manifest: Manifest, plan: str, images: ImageSource, work: Workload) -> State | None:
    """The last checkpoint, or None if the images changed since.

    Images changed if one that was unreadable can be read, or if one of SPOT_CHECKS images, spread over all that were
    read, has another content hash.
    """
    state = load_state(folder / checkpoint.NAME, plan=plan)
    if state is None or any(is_hash(content_hash(images, row, decode=True)) for row, _ in state.bad):
        return None
    done = (state.batches[0][1] - work.first) * manifest.batch_size
    rows = as_shard(folder, manifest, state, work.rows[:done]).rows
    hashes = RowFile(folder / HASHES, HASH_BYTES, np.uint8, len(rows))
    places = np.unique(np.linspace(0, len(rows) - 1, SPOT_CHECKS).astype(int)) if len(rows) else np.arange(0)
    stored = [row.tobytes().hex() for row in hashes.take(places)]
    hashes.close()
    for position, now in changed_images(images, rows[places].tolist(), stored):
        if not is_hash(now):
            id_ = images.table["id"][int(rows[places][position])].as_py()
            raise IndexingError(f"{id_!r} was read before and cannot be now ({now}): mend that, and run the same again")
        return None
    return state


def empty_folder(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove the files of another build, the manifest first, except for the mark and the names in `keep`."""
    (folder / NAME).unlink(missing_ok=True)
    for path in folder.iterdir():
        if path.name in (MARK, *keep):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def write_images(
    folder: Path, images: ImageSource, rows: np.ndarray, hashes: RowFile, bad: Sequence[tuple[int, str]]
) -> None:
    """Write which images were read, with their content hashes, and which were not, with the reasons."""
    texts = pa.chunked_array(
        (pa.array([row.tobytes().hex() for row in block], pa.string()) for block in hashes.blocks()), pa.string()
    )
    good = np.zeros(len(images), bool)
    good[rows] = True
    read = images.table.filter(pa.array(good)).append_column(HASH, texts)
    ids = images.table["id"].take(pa.array([row for row, _ in bad], pa.int64()))
    skipped = pa.table({"id": ids, "reason": pa.array([reason for _, reason in bad], pa.string())})
    write_tables(folder, read, skipped)


def write_tables(folder: Path, read: pa.Table, skipped: pa.Table) -> None:
    """Write both tables to the same bytes however they were put together."""
    for name, table in (("images", read), ("skipped", skipped)):
        # Arrow's own schema would tell what was read back from parquet: a list's items have another name there.
        with pq.ParquetWriter(
            folder / f"{name}.parquet", table.schema, compression="zstd", store_schema=False
        ) as writer:
            for start in range(0, len(table), ROW_GROUP):
                writer.write_table(table.slice(start, ROW_GROUP).combine_chunks(), ROW_GROUP)
