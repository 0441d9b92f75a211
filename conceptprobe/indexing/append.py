"""Append images to an index: run the new images, and join their reduction with that of the old ones."""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from conceptprobe.images import ImagesLike, ImageSource, as_images
from conceptprobe.indexing.build import finish
from conceptprobe.indexing.contents import changed_images, content_hash, is_hash
from conceptprobe.indexing.describe import describe_model, describe_source, versions
from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.index import Index, open_index
from conceptprobe.indexing.merge import join
from conceptprobe.indexing.model import model_of
from conceptprobe.indexing.reducers.sample import sampled_rows
from conceptprobe.indexing.settings import run_settings
from conceptprobe.indexing.storage.directory import check_output_path, is_finished, recover, staged_index
from conceptprobe.indexing.storage.manifest import (
    AppendEntry,
    Counts,
    Manifest,
    damaged_files,
    differences,
    entry_differences,
)
from conceptprobe.indexing.storage.shard import Shard, read_shard
from conceptprobe.indexing.streaming.progress import Meter, metered
from conceptprobe.indexing.streaming.stream import Workload, empty_folder, stream
from conceptprobe.models import ModelLike, as_model

NEW = "new"  # where the new images are reduced meanwhile
_HASHED_AT_ONCE = 1024


def append_index(
    path: str | os.PathLike[str],
    images: ImagesLike,
    *,
    model: ModelLike | None = None,
    workers: int | None = None,
    max_skipped: int | str | None = None,
    progress: bool = False,
    log: str | os.PathLike[str] | None = None,
) -> Index:
    """Add the images of a source that an index does not have yet.

    Only the new images are run through the model; the old ones are read to check that they did not change.

    If every new id sorts after all old ones, and the old images fill their last batch, the result has the bytes of a
    fresh build of all images. Otherwise batches are cut differently, so that the last bits of values and sums may
    differ from a fresh build; then `Manifest.appended` says so and why. Lists, counts and the sample are exact either
    way.

    The old index stays until the new one replaces it; a call that was killed resumes.

    Args:
        path: An index that was built with `growable`.
        images: The source with all images, old and new.
        model: The model of the index; by default it is loaded by the spec in the manifest.
        workers: As of `build_index`.
        max_skipped: As of `build_index`, of the new images.
        progress: As of `build_index`.
        log: As of `build_index`.

    Raises:
        IndexingError: The index cannot grow; the model or the way of decoding differs; or an image of the index is not
            in the source any more, has changed, or could not be read and now can.
    """
    images = as_images(images)
    model = None if model is None else as_model(model)
    settings = run_settings(workers=workers, max_skipped=max_skipped, progress=progress, log=log)
    path = Path(path).resolve()
    recover(path)
    index = open_index(path)
    old = index.manifest
    if not old.growable:
        raise IndexingError(f"{path} was not built to grow: build it again with growable=True (--growable)")
    check_output_path(path, overwrite=True)
    if model is None:
        model = model_of(index, device=old.model.device or "auto")
    layers = model.resolve(list(old.layers))
    manifest = replace(
        old, model=describe_model(model), source=describe_source(images, model), versions=versions(), counts=Counts(),
        layers={layer.name: layer for layer in layers}, files={},
    )  # fmt: skip
    may_differ = ("source.spec:", "source.fingerprint:", "versions.")
    unlike = [text for text in differences(old, manifest) if not text.startswith(may_differ)]
    if unlike:
        raise IndexingError(f"{path} and what is to be appended differ in {'; '.join(unlike)}")
    shard = read_shard(path)
    new_rows = rows_in_source(index, images)
    fresh = np.setdiff1d(np.arange(len(images)), new_rows)
    if not len(fresh):
        return index
    if damaged := damaged_files(path, old):
        raise IndexingError(f"{path} is damaged: {', '.join(damaged[:3])}; build it again")
    with metered(f"images of {path}, still the same", len(shard.rows), show=progress, log=None) as meter:
        check_contents(index, images, shard.renumbered(new_rows, np.empty(0, np.int64)), meter)
    first = shard.state.batches[-1][1]
    work = Workload(fresh, first)
    if why := why_different(old, manifest, new_rows):
        note = AppendEntry(len(fresh), (first, first + work.batches(old.batch_size)), why)
        manifest = replace(manifest, appended=(*old.appended, note))
    with staged_index(path, manifest, overwrite=True) as partial:
        if Manifest.read(path) != old:
            raise IndexingError(f"{path} was changed by another process meanwhile: run the same again")
        if not is_finished(partial, manifest):
            empty_folder(partial, keep=[NEW])
            (partial / NEW).mkdir(exist_ok=True)
            plan = json.dumps([manifest.to_json(), old.to_json()["counts"]])
            added, reducers = stream(model, images, layers, partial / NEW, manifest, plan, work, settings)
            for reducer in reducers.values():
                reducer.close()
            shards = [shard.renumbered(new_rows, sampled_rows(images.table["id"])), added]
            finish(partial, manifest, *join(shards, partial, manifest, images.table), (partial / NEW).rglob("*"))
    return open_index(path)


def rows_in_source(index: Index, images: ImageSource) -> np.ndarray:
    """For every row of an index's listing the row that has its id in a source, int64.

    Raises:
        IndexingError: An image is not there any more.
    """
    ids = [pq.read_table(index.path / name, columns=["id"])["id"] for name in ("images.parquet", "skipped.parquet")]
    listing = pa.chunked_array([chunk for column in ids for chunk in column.chunks], images.table["id"].type)
    listing = listing.take(pc.sort_indices(listing))
    rows = pc.index_in(listing, value_set=images.table["id"])
    if rows.null_count:
        lost = listing.filter(pc.is_null(rows))
        raise IndexingError(
            f"{images.spec} lacks {len(lost)} images of {index.path}, such as {lost[0].as_py()!r}: append takes the "
            "source with all images, old and new; build an index of what is left instead"
        )
    result: np.ndarray = rows.to_numpy().astype(np.int64)
    return result


def check_contents(index: Index, images: ImageSource, shard: Shard, meter: Meter) -> None:
    """Refuse a source in which an image of the index is another by now. Images are read, not decoded."""
    column = pq.read_table(index.path / "images.parquet", columns=["id", "content_hash"])
    for start in range(0, len(shard.rows), _HASHED_AT_ONCE):
        rows = shard.rows[start : start + _HASHED_AT_ONCE].tolist()
        ids, hashes = column.slice(start, len(rows)).to_pydict().values()
        for position, now in changed_images(images, rows, hashes):
            raise IndexingError(
                f"{ids[position]!r} is not the image that {index.path} holds any more ({now}): build the index again"
            )
        meter.advance(len(rows), [])
    for row in shard.skipped.tolist():
        if is_hash(content_hash(images, row, decode=True)):
            id_ = images.table["id"][row].as_py()
            raise IndexingError(f"{id_!r}, which {index.path} skipped, can be read by now: build the index again")


def why_different(old: Manifest, new: Manifest, new_rows: Sequence[int] | np.ndarray) -> str:
    """Why appending may not give the bytes of a fresh build; empty where it does."""
    reasons = []
    if old.appended:
        reasons.append("it was so before")
    if not np.array_equal(new_rows, np.arange(len(new_rows))):
        reasons.append("new ids sort before old ones, so a fresh build would cut other batches")
    elif old.listed % old.batch_size:
        reasons.append(
            f"the last batch of the {old.listed} old images is not full, so a fresh build would fill it with new ones"
        )
    reasons += entry_differences("versions", old.versions, new.versions)
    return "values and sums may differ in the last bits: " + "; ".join(reasons) if reasons else ""
