"""An index of activations that were computed elsewhere, such as an SAE's: the same files and tools."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from conceptprobe.images import ImageSource
from conceptprobe.images.metadata import HASH
from conceptprobe.indexing.build import check_inputs, finish
from conceptprobe.indexing.describe import describe_source, versions
from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.index import Index, open_index
from conceptprobe.indexing.reducers.layer import BatchRows, LayerReducer
from conceptprobe.indexing.reducers.pooling import pool_each
from conceptprobe.indexing.reducers.sample import sampled_rows
from conceptprobe.indexing.settings import build_settings, index_settings
from conceptprobe.indexing.storage.checkpoint import State
from conceptprobe.indexing.storage.directory import check_output_path, staged_index
from conceptprobe.indexing.storage.factory import EXACT
from conceptprobe.indexing.storage.layout import layer_folder
from conceptprobe.indexing.storage.manifest import Manifest, ModelEntry, SourceEntry
from conceptprobe.indexing.storage.shard import as_shard
from conceptprobe.indexing.streaming.stream import empty_folder, write_tables
from conceptprobe.models import Layer

BATCH = 1024
POOLING = "mean"  # which takes a vector as it is


def index_activations(
    values: Any,
    images: ImageSource | Sequence[str],
    out: str | os.PathLike[str],
    *,
    layer: str = "activations",
    model: str = "external",
    k: int = 100,
    bottom: int = 0,
    vectors: bool = True,
    faiss: str = EXACT,
    overwrite: bool = False,
) -> Index:
    """Index one value an image and feature that something else computed.

    Args:
        values: An array or tensor [n,f], which may be mapped from a file; or an iterable of such pieces, each read
            once.
        images: The source whose rows they are of, in its order; or their ids. Ids that come with an array may be in
            any order, those that come with pieces must ascend.
        out: The folder to make. It appears only when the index is complete.
        layer: The layer's name in the index.
        model: What to call the model.
        k: As of `build_index`.
        bottom: As of `build_index`.
        vectors: As of `build_index`.
        faiss: As of `build_index`.
        overwrite: As of `build_index`.

    Raises:
        IndexingError: `out` is taken; a setting is not possible; or the values are not of so many images, or of
            features whose number changes.
    """
    settings = build_settings(
        pooling=POOLING, k=k, bottom=bottom, batch_size=BATCH, vectors=vectors, faiss=faiss, overwrite=overwrite
    )
    out = Path(out).resolve()
    check_output_path(out, overwrite)
    table, order, source = _listing(images)
    pieces = _pieces(values, len(table), order)
    first = next(pieces, np.empty((0, 0), np.float32))
    about = Layer(layer, first.shape[1], "vector")
    check_inputs(range(len(table) if len(first) else 0), [about][: about.width], settings)
    manifest = Manifest(
        **index_settings(settings),
        model=ModelEntry(model, "", {}, external=True),
        source=source,
        layers={layer: about},
        versions=versions(),
    )
    with staged_index(out, manifest, overwrite=overwrite) as partial:
        empty_folder(partial)
        reducer = LayerReducer(about, manifest, layer_folder(partial, layer), device=torch.device("cpu"))
        fingerprint = _reduce(_joined(first, pieces), reducer, sampled_rows(table["id"]), len(table))
        manifest = replace(manifest, model=replace(manifest.model, fingerprint=fingerprint))
        state = State([(0, -(-len(table) // BATCH))], sampled=sampled_rows(table["id"]))
        write_tables(
            partial,
            table.append_column(HASH, pa.nulls(len(table), pa.string())),
            pa.table({"id": pa.array([], table["id"].type), "reason": pa.array([], pa.string())}),
        )
        finish(partial, manifest, as_shard(partial, manifest, state, np.arange(len(table))), {layer: reducer})
    return open_index(out)


def _listing(images: ImageSource | Sequence[str]) -> tuple[pa.Table, np.ndarray | None, SourceEntry]:
    """A row an image in ascending order of ids, the row of each in the values, and the manifest's entry of the source.

    The rows are None where the order of the values is that of the ids.
    """
    if isinstance(images, ImageSource):
        return images.table, None, describe_source(images)
    ids = [str(id_) for id_ in images]
    order = np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)
    table = pa.table({"id": pa.array([ids[row] for row in order], pa.string())})
    if len(set(ids)) < len(ids):
        raise IndexingError(f"{len(ids) - len(set(ids))} ids are there more than once: ids must be unique")
    fingerprint = hashlib.sha256("\0".join(table["id"].to_pylist()).encode()).hexdigest()
    entry = SourceEntry("ids", fingerprint, "white")
    return table, None if (np.diff(order) == 1).all() else order, entry


def _pieces(values: Any, images: int, order: np.ndarray | None) -> Iterator[np.ndarray]:
    """float32 [b,f] in the order of the listing, a bounded number at once."""
    if not hasattr(values, "shape"):
        if order is not None:
            raise IndexingError("ids that come with pieces of values must ascend: sort both, or give one array")
        for piece in values:
            yield from _pieces(piece, len(piece), None)
        return
    if len(values.shape) != 2:
        raise IndexingError(f"values must be [images, features], not of shape {list(values.shape)}")
    if len(values) != images:
        raise IndexingError(f"there are values of {len(values)} images, and {images} images")
    for start in range(0, images, BATCH):
        piece = values[start : start + BATCH] if order is None else values[order[start : start + BATCH]]
        yield np.asarray(piece.detach().float().cpu() if isinstance(piece, torch.Tensor) else piece, np.float32)


def _joined(first: np.ndarray, pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Batches of BATCH rows, but for the last, whatever the pieces' sizes."""
    waiting, count = [first], len(first)
    for piece in pieces:
        if piece.shape[1] != first.shape[1]:
            raise IndexingError(f"some values are of {first.shape[1]} features, others of {piece.shape[1]}")
        waiting.append(piece)
        count += len(piece)
        while count >= 2 * BATCH:
            joined = np.concatenate(waiting)
            yield joined[:BATCH]
            waiting, count = [joined[BATCH:]], count - BATCH
    joined = np.concatenate(waiting)
    for start in range(0, len(joined), BATCH):
        yield joined[start : start + BATCH]


def _reduce(batches: Iterable[np.ndarray], reducer: LayerReducer, sample: np.ndarray, images: int) -> str:
    """Take in all batches; gives a fingerprint of the values."""
    sha = hashlib.sha256()
    done = 0
    for number, batch in enumerate(batches):
        rows = np.arange(done, done + len(batch))
        done += len(batch)
        if done > images:
            break
        sha.update(np.ascontiguousarray(batch, "<f4").data)
        chosen = np.flatnonzero(np.isin(rows, sample, assume_unique=True))
        pooled = pool_each(torch.from_numpy(batch), reducer.layer, reducer.plan.pooling)
        reducer.add(pooled, BatchRows(number, rows, np.arange(len(batch)), chosen))
    if done != images:
        raise IndexingError(f"there are values of {'more' if done > images else done} images, and {images} images")
    return sha.hexdigest()
