"""Build an index: stream the images through the model once, and reduce their activations."""

import json
import os
import uuid
from collections.abc import Iterable, Sequence, Sized
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from conceptprobe.images import ImagesLike, ImageSource, as_images
from conceptprobe.indexing.describe import describe_model, describe_source, versions
from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.index import Index, open_index
from conceptprobe.indexing.layer_files import write_layer
from conceptprobe.indexing.reducers.layer import LayerReducer
from conceptprobe.indexing.reducers.pooling import check_pooling
from conceptprobe.indexing.settings import BuildSettings, IndexSettings, build_settings, index_settings, shard_batches
from conceptprobe.indexing.storage import checkpoint
from conceptprobe.indexing.storage.checkpoint import STATE, save_state
from conceptprobe.indexing.storage.directory import check_output_path, is_finished, staged_index
from conceptprobe.indexing.storage.factory import EXACT, Factory
from conceptprobe.indexing.storage.faiss_files import require_faiss
from conceptprobe.indexing.storage.manifest import Counts, Manifest, ShardEntry, hash_files
from conceptprobe.indexing.storage.shard import Shard, batch_rows
from conceptprobe.indexing.streaming.stream import HASHES, Workload, stream
from conceptprobe.models import Layer, ModelLike, VisionModel, as_model
from conceptprobe.models.hooks import is_changing

MAX_IMAGES = 2**32 - 1  # a row has 32 bits in a list's keys
WRITERS = 2  # layers that are written at once


def build_index(
    model: ModelLike,
    images: ImagesLike,
    layers: str | Iterable[str],
    out: str | os.PathLike[str],
    *,
    pooling: str | Sequence[str] | None = None,
    k: int = 100,
    bottom: int = 0,
    batch_size: int = 64,
    workers: int | None = None,
    vectors: bool = True,
    faiss: str = EXACT,
    growable: bool = False,
    shard: tuple[int, int] | None = None,
    max_skipped: int | str | None = None,
    overwrite: bool = False,
    progress: bool = False,
    log: str | os.PathLike[str] | None = None,
) -> Index:
    """Index the top images and statistics of every feature of some layers in one pass over a source.

    A build that was killed resumes from its last checkpoint (in `<out>.partial`) when the same call is repeated. The
    result has the same bytes as that of a build that was not killed.

    Args:
        model: A model, or its spec.
        images: An image source, or its spec.
        layers: Names, globs and slices, as `VisionModel.resolve` takes them.
        out: The folder to make. It appears only when the index is complete.
        pooling: One or more of `mean`, `max`, `cls`; FAISS vectors are made of the first. By default mean and max,
            or mean alone where one of the layers is a vector.
        k: Length of the top lists, at most 10,000; they are shorter where there are fewer images.
        bottom: Length of the lists of the images that activate a feature least; 0 for none.
        batch_size: Images that the model sees at once. The same size gives the same bytes.
        workers: Processes that decode images; by default half the processors. Does not change the result.
        vectors: Whether to write `images.faiss` (4 bytes x width x images a layer) and `features.faiss`.
        faiss: The index-factory string of `images.faiss`: `Flat`, which is exact; or one that is smaller or faster to
            search, and not exact: `SQfp16`, `SQbf16`, `SQ8`, `SQ6`, `SQ4`, `PQ<parts>`, each also after
            `IVF<lists>,`, and `IVF<lists>,Flat`. It is trained on a sample at the end; until then the vectors take as
            much disk as those of `Flat`.
        growable: Whether to keep the state that `append_index` needs: for every feature and pooling 4 bytes (8 for max)
            for each of at most 32,768 images; and the exact vectors where `faiss` is not `Flat`.
        shard: Number (from 0) and count of shards: build only this shard, which holds its share of the batches.
            `merge_indices` joins the shards to an index; a shard alone cannot be searched.
        max_skipped: Stop when more images than this cannot be read: a number, or a share of the images such as "5%".
        overwrite: Replace an index that is already there; anything else is never replaced.
        progress: Show a bar on stderr.
        log: A file to append JSON lines to: start, progress, skipped images, checkpoints, end.

    Raises:
        IndexingError: `out` exists, or a setting is not possible for these layers.
        TooManySkippedError: More than `max_skipped` images cannot be read. The same call resumes once they can be.
        UnknownLayerError: A layer does not exist.
        MissingFaissError: `vectors` without FAISS.
    """
    settings = build_settings(
        pooling=pooling, k=k, bottom=bottom, batch_size=batch_size, workers=workers, vectors=vectors, faiss=faiss,
        growable=growable, shard=shard, max_skipped=max_skipped, overwrite=overwrite, progress=progress, log=log,
    )  # fmt: skip
    return run_build(as_model(model), as_images(images), layers, Path(out), settings)


def run_build(
    model: VisionModel, images: ImageSource, layers: str | Iterable[str], out: Path, settings: BuildSettings
) -> Index:
    """`build_index` by settings that are checked."""
    out = out.resolve()
    plan = plan_build(model, images, layers, out, settings)
    make(model, images, plan.layers, out, plan.manifest, plan.work, settings)
    return open_index(out) if settings.shard is None else Index(out, Manifest.read(out))


@dataclass(frozen=True)
class Plan:
    """What a build will do, checked before any image is read."""

    layers: Sequence[Layer]
    manifest: Manifest
    work: Workload


def plan_build(
    model: VisionModel, images: ImageSource, layers: str | Iterable[str], out: Path, settings: BuildSettings
) -> Plan:
    """Check that a build is possible, and describe it.

    Raises:
        IndexingError: `out` exists, or a setting is not possible for these images and layers.
        MissingFaissError: FAISS is needed and not installed.
    """
    chosen = model.resolve(layers)
    if settings.pooling is None:
        has_vector = any(layer.kind == "vector" for layer in chosen)
        settings = replace(settings, pooling=("mean",) if has_vector else ("mean", "max"))
    check_inputs(images, chosen, settings)
    batches = shard_batches(settings.shard, -(-len(images) // settings.batch_size))
    work = Workload(batch_rows([batches], settings.batch_size, len(images)), batches[0])
    check_output_path(out, settings.overwrite)
    manifest = Manifest(
        **index_settings(settings),
        model=describe_model(model),
        source=describe_source(images, model),
        layers={layer.name: layer for layer in chosen},
        versions=versions(),
        part=None if settings.shard is None else ShardEntry((batches,), len(images)),
    )
    return Plan(chosen, manifest, work)


def check_inputs(images: Sized, layers: Sequence[Layer], settings: IndexSettings) -> None:
    """Refuse images and layers that cannot be indexed with these settings.

    Raises:
        IndexingError: There are no images, too many images, or no layers; or a layer cannot be pooled in this way, or
            has too few images for this FAISS index.
        MissingFaissError: FAISS is needed and not installed.
    """
    if not len(images) or not layers:
        raise IndexingError(f"nothing to index: {len(images)} images, {len(layers)} layers")
    if len(images) > MAX_IMAGES:
        raise IndexingError(
            f"{len(images):,} images are more than the {MAX_IMAGES:,} of an index: cut the source in two"
        )
    for layer in layers:
        for pooling in settings.pooling or ():
            check_pooling(layer, pooling)
    if settings.vectors:
        for layer in layers:
            Factory.parse(settings.faiss).check(layer, len(images))
        require_faiss("writing images.faiss and features.faiss (vectors=False leaves them out)")


def make(
    model: VisionModel, images: ImageSource, layers: Sequence[Layer], out: Path, manifest: Manifest, work: Workload,
    settings: BuildSettings,
) -> None:  # fmt: skip
    """Build the index that a manifest describes in a folder beside `out`, which is renamed to `out` when complete."""
    changing = is_changing(model, layers)  # such a build never resumes
    plan = json.dumps([manifest.to_json(), str(uuid.uuid4()) if changing else ""])
    with staged_index(out, manifest, overwrite=settings.overwrite) as partial:
        if changing or not is_finished(partial, manifest):
            shard, reducers = stream(model, images, layers, partial, manifest, plan, work, settings)
            finish(partial, manifest, shard, reducers)


def finish(
    folder: Path, manifest: Manifest, shard: Shard, reducers: dict[str, LayerReducer], excluded: Iterable[Path] = ()
) -> None:
    """Write every file of the index or shard, the manifest last. The manifest does not list `excluded` files."""
    if manifest.part is None:
        if not len(shard.rows):
            raise IndexingError(
                f"none of the {manifest.listed} images of {manifest.source.spec} could be read; the first: "
                f"{shard.state.bad[0][1]}"
            )
        if manifest.vectors:
            for reducer in reducers.values():  # some of the listed images may have been skipped
                Factory.parse(manifest.faiss).check(reducer.layer, len(shard.rows))
        new_row = np.full(len(shard.rows) + len(shard.skipped), -1)
        new_row[shard.rows] = np.arange(len(shard.rows))
        with ThreadPoolExecutor(WRITERS) as pool:
            list(pool.map(lambda reducer: write_layer(reducer, new_row, shard.sampled), reducers.values()))
    excluded = {folder / checkpoint.NAME, folder / HASHES, *excluded}
    if manifest.part is not None or manifest.growable:
        save_state(folder / STATE, shard.state)
    else:
        excluded |= {path for reducer in reducers.values() for path in reducer.state_files}
    for reducer in reducers.values():
        reducer.close()
    indexed, skipped = len(shard.rows), len(shard.skipped)
    counts = Counts(listed=indexed + skipped, indexed=indexed, skipped=skipped)
    replace(manifest, counts=counts, files=hash_files(folder, excluded)).write(folder)
