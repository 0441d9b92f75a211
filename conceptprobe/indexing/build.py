"""Build an index: stream the images through the model once and keep what the reducers keep."""

import importlib.metadata
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from conceptprobe.images import ImageSource
from conceptprobe.indexing import checkpoint
from conceptprobe.indexing.checkpoint import Ledger, load_checkpoint, save_checkpoint
from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.index import Index, layer_folder, open_index
from conceptprobe.indexing.loader import default_workers, load_batches
from conceptprobe.indexing.manifest import LOCK, Manifest, hash_files
from conceptprobe.indexing.place import check_place, claimed, is_finished, publish
from conceptprobe.indexing.pooling import check_pooling
from conceptprobe.indexing.reducer import LayerReducer
from conceptprobe.indexing.sample import sampled_rows
from conceptprobe.indexing.vectors import require_faiss
from conceptprobe.models import Layer, VisionModel

MAX_K = 10_000
MAX_BATCH = 65_536
MAX_WORKERS = 256


def build_index(
    model: VisionModel,
    images: ImageSource,
    layers: str | Iterable[str],
    out: str | os.PathLike[str],
    *,
    pooling: Sequence[str] | None = None,
    k: int = 100,
    batch_size: int = 64,
    workers: int | None = None,
    vectors: bool = True,
    overwrite: bool = False,
    progress: bool = False,
) -> Index:
    """Index the top images and statistics of every feature of some layers in one pass over a source.

    A build that was killed goes on from its last checkpoint (`<out>.partial`) when it is called again in the same way,
    and ends with the same bytes as one that was not.

    Args:
        model: What `load_model` gives.
        images: What `load_images` gives.
        layers: Names, globs and slices, as `VisionModel.resolve` takes them.
        out: The directory to make. It appears there when it is complete, never before.
        pooling: One or more of `mean`, `max`, `cls`; FAISS vectors are made of the first. By default mean and max,
            or mean alone where one of the layers is a vector.
        k: Length of the top lists, at most 10,000; they are shorter where there are fewer images.
        batch_size: Images that the model sees at once. The same size gives the same bytes.
        workers: Processes that decode images; by default half the processors. Does not change the result.
        vectors: Whether to write `images.faiss` (4 bytes x width x images a layer) and `features.faiss`.
        overwrite: Replace an index that is already there; anything else is never replaced.
        progress: Show a bar on stderr.

    Raises:
        IndexingError: `out` is taken, or a setting is not possible for these layers.
        UnknownLayerError: A layer does not exist.
        MissingFaissError: `vectors` without FAISS.
    """
    out = Path(out).resolve()
    chosen = model.resolve(layers)
    workers = default_workers() if workers is None else workers
    if pooling is None:
        pooling = ("mean",) if any(layer.kind == "vector" for layer in chosen) else ("mean", "max")
    check_settings(images, chosen, pooling, k=k, batch_size=batch_size, workers=workers)
    check_place(out, overwrite)
    if vectors:
        require_faiss("writing images.faiss and features.faiss (vectors=False leaves them out)")
    partial = out.with_name(out.name + ".partial")
    manifest = describe(model, images, chosen, tuple(pooling), k, batch_size, vectors)
    # Nothing tells one attached function from another, so what was left of such a build is never gone on with.
    derived = any(layer.name in model.derived_layers for layer in chosen)
    plan = json.dumps([asdict(manifest), model.device.type, str(uuid.uuid4()) if derived else ""])
    with claimed(partial, out, manifest):
        check_place(out, overwrite)  # another process may have finished it before this one got its claim
        if derived or not is_finished(partial, manifest):
            stream(model, images, chosen, partial, manifest, plan, workers=workers, progress=progress)
        check_place(out, overwrite)  # or something else may have come there meanwhile
        (partial / LOCK).unlink()
        publish(partial, out)
    return open_index(out)


def check_settings(
    images: ImageSource, layers: Sequence[Layer], pooling: Sequence[str], *, k: int, batch_size: int, workers: int
) -> None:
    """Refuse what cannot work before any image is read."""
    if not len(images) or not layers:
        raise IndexingError(f"nothing to index: {len(images)} images, {len(layers)} layers")
    if isinstance(pooling, str) or not pooling or len(set(pooling)) != len(pooling):
        raise IndexingError(f"pooling is {pooling!r}: give a tuple of different names, such as ('mean', 'max')")
    for layer in layers:
        for name in pooling:
            check_pooling(layer, name)
    for name, value, least, most in (
        ("k", k, 1, MAX_K), ("batch_size", batch_size, 1, MAX_BATCH), ("workers", workers, 0, MAX_WORKERS)
    ):  # fmt: skip
        if not isinstance(value, int) or not least <= value <= most:
            raise IndexingError(f"{name} is {value!r}: it must be a whole number from {least} to {most:,}")


def describe(
    model: VisionModel, images: ImageSource, layers: list[Layer], pooling: tuple[str, ...], k: int, batch_size: int,
    vectors: bool,
) -> Manifest:  # fmt: skip
    """The manifest of a build before it has begun: everything that decides the result."""
    return Manifest(
        model={"spec": model.spec, "fingerprint": model.fingerprint, "preprocessing": model.preprocessing},
        source={"spec": images.spec, "fingerprint": images.fingerprint, "background": images.background},
        layers={layer.name: {key: value for key, value in asdict(layer).items() if key != "name"} for layer in layers},
        pooling=pooling,
        k=k,
        batch_size=batch_size,
        vectors=vectors,
        versions={name: importlib.metadata.version(name) for name in ("conceptprobe", "torch", "numpy", "pillow")},
    )


def stream(
    model: VisionModel, images: ImageSource, layers: list[Layer], folder: Path, manifest: Manifest, plan: str, *,
    workers: int, progress: bool,
) -> None:  # fmt: skip
    """Run every image through the model and write the index into `folder`, from the plan's last checkpoint if any."""
    stored = load_checkpoint(folder, plan)
    if stored is None:
        empty_folder(folder)
    ledger, state = stored or (Ledger(), {})
    rows = sampled_rows(images.table["id"].to_pylist())
    reducers = {}
    for layer in layers:
        prefix = f"{layer.name}/"
        own = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
        reducers[layer.name] = LayerReducer(
            layer, manifest.pooling, manifest.k, rows, layer_folder(folder, layer.name), vectors=manifest.vectors,
            device=model.device, state=own or None,
        )  # fmt: skip
    batches = load_batches(
        images, model.preprocess, size=manifest.batch_size, shape=model.image_size, workers=workers,
        pin=model.device.type == "cuda", first=ledger.batches,
    )  # fmt: skip
    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("images"), TimeElapsedColumn(),
        TimeRemainingColumn(), console=Console(stderr=True), disable=not progress,
    )  # fmt: skip
    saved = time.monotonic()
    with bar, torch.inference_mode():
        done = min(ledger.batches * manifest.batch_size, len(images))
        task = bar.add_task(f"{model.spec} on {images.spec}", total=len(images), completed=done)
        for batch in batches:
            acts = model.capture(batch.pixels_bchw.to(model.device, model.dtype, non_blocking=True), list(reducers))
            good = batch.rows[batch.good]
            for name, reducer in reducers.items() if len(good) else ():
                reducer.add(acts[name], batch, good)
            ledger.add(batch.hashes, batch.bad)
            if time.monotonic() - saved >= checkpoint.INTERVAL:
                states = {name: reducer.state_dict() for name, reducer in reducers.items()}
                flat = {f"{name}/{key}": tensor for name, own in states.items() for key, tensor in own.items()}
                files = [path for reducer in reducers.values() for path in reducer.files]
                save_checkpoint(folder, plan, ledger, flat, files)
                saved = time.monotonic()
                if progress and not bar.console.is_terminal:
                    bar.console.print(f"{model.spec} on {images.spec}: {batch.rows[-1] + 1} of {len(images)} images")
            bar.advance(task, len(batch.rows))
    finish(images, folder, manifest, ledger, list(reducers.values()))


def empty_folder(folder: Path) -> None:
    """Remove what another build left, but not the lock that is held."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def finish(images: ImageSource, folder: Path, manifest: Manifest, ledger: Ledger, reducers: list[LayerReducer]) -> None:
    """Write every file of the index, the manifest last."""
    is_good = np.ones(len(images), bool)
    is_good[[row for row, _ in ledger.bad]] = False
    indexed = np.flatnonzero(is_good)
    if not len(indexed):
        raise IndexingError(
            f"none of the {len(images)} images of {images.spec} could be read; the first: {ledger.bad[0][1]}"
        )
    new_row = np.where(is_good, np.cumsum(is_good) - 1, -1)
    for reducer in reducers:
        reducer.write(new_row)
    hashes = pa.array((row.tobytes().hex() for row in ledger.all_hashes()), pa.string())
    table = images.table.take(pa.array(indexed)).append_column("content_hash", hashes)
    pq.write_table(table, folder / "images.parquet", compression="zstd")
    ids = images.table["id"].take(pa.array([row for row, _ in ledger.bad], pa.int64()))
    reasons = pa.array([reason for _, reason in ledger.bad], pa.string())
    pq.write_table(pa.table({"id": ids, "reason": reasons}), folder / "skipped.parquet", compression="zstd")
    (folder / checkpoint.NAME).unlink(missing_ok=True)  # first: the rest is of no use without the samples
    for reducer in reducers:
        reducer.discard_samples()
    counts = {"listed": len(images), "indexed": len(indexed), "skipped": len(ledger.bad)}
    replace(manifest, counts=counts, files=hash_files(folder)).write(folder)
