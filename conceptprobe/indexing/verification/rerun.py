"""Run some images of an index through the model again, and compare with what the index holds of them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from conceptprobe.errors import ConceptProbeError
from conceptprobe.images import ImageSource, UnknownImageError
from conceptprobe.indexing.contents import changed_images
from conceptprobe.indexing.describe import load_source
from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.index import Index
from conceptprobe.indexing.model import model_of
from conceptprobe.indexing.reducers.pooling import pool
from conceptprobe.indexing.streaming.loader import Batch, fast_decoder, load_batches
from conceptprobe.models import Layer, VisionModel

# Of a feature's range: what another place in a batch, another device or another version of torch may change.
TOLERANCE = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 5e-2}

ReadArrays = Callable[[str, str], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Rerun:
    """What came of it.

    Attributes:
        images: How many were run.
        values: How many values were compared.
        problems: What is wrong.
        note: Why nothing was run; empty where something was.
    """

    images: int = 0
    values: int = 0
    problems: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class _Listed:
    """Every value that a layer's lists and strips hold of a pooling: of which feature and row it is."""

    layer: Layer
    pooling: str
    features: np.ndarray
    rows: np.ndarray
    values: np.ndarray
    span_f: np.ndarray

    @classmethod
    def read(cls, layer: Layer, pooling: str, kinds: Sequence[str], arrays: ReadArrays) -> "_Listed":
        kept = [arrays(layer.name, kind) for kind in kinds]
        rows = np.concatenate([own[f"{pooling}.rows"].reshape(layer.width, -1) for own in kept], axis=1)
        values = np.concatenate([own[f"{pooling}.values"].reshape(layer.width, -1) for own in kept], axis=1)
        stats = arrays(layer.name, "stats")
        features, places = np.nonzero(rows >= 0)
        span = stats[f"{pooling}.max"] - stats[f"{pooling}.min"]
        return cls(layer, pooling, features, rows[features, places], values[features, places], span)


def rerun(
    index: Index, arrays: ReadArrays, count: int, *, model: VisionModel | None, images: ImageSource | None
) -> Rerun:
    """Run images that the index lists somewhere.

    Args:
        index: The index.
        arrays: The arrays of a layer's file, by the names of both.
        count: How many images.
        model: By default what the manifest names.
        images: By default what the manifest names.
    """
    manifest = index.manifest
    if not count:
        return Rerun(note="none were asked for")
    if not manifest.model.is_reproducible:
        return Rerun(note="the model alone does not give these activations")
    try:
        model = model_of(index, model)
    except IndexingError as error:
        return Rerun(problems=(str(error),))
    except ConceptProbeError as error:
        return Rerun(note=str(error))
    try:
        layers = model.resolve(list(index.layers))
        images = load_source(manifest.source) if images is None else images
    except ConceptProbeError as error:
        return Rerun(note=str(error))
    decoder = fast_decoder(images, model.preprocess, model.device)
    if decoder != manifest.source.fast_decode:
        return Rerun(note=f"images were decoded by {manifest.source.fast_decode}, here they would be by {decoder}")
    kinds = ("top", "strips", "bottom")[: 3 if manifest.bottom else 2]
    listed = [_Listed.read(layer, pooling, kinds, arrays) for layer in layers for pooling in manifest.pooling]
    every = np.unique(np.concatenate([own.rows for own in listed]))
    rows = np.sort(np.random.default_rng(0).choice(every, min(count, len(every)), replace=False))
    ids = index.images["id"].to_numpy()[rows].tolist()
    try:
        todo = images.subset([images.row_of(id_) for id_ in ids])
    except UnknownImageError as error:
        return Rerun(problems=(str(error),))
    hashes = index.images["content_hash"].to_numpy()[rows]
    changed = {position for position, _ in changed_images(todo, range(len(rows)), hashes)}
    problems: list[str] = []
    values = 0
    for batch in load_batches(
        todo, model.preprocess, size=manifest.batch_size, shape=model.image_size, workers=0, pin=False,
        device=model.device,
    ):  # fmt: skip
        problems += [f"{ids[place]!r} was indexed and cannot be read: {reason}" for place, reason in batch.bad]
        readable = set(batch.rows[batch.good].tolist())
        problems += [f"{ids[place]!r} is not the image that was indexed" for place in sorted(changed & readable)]
        for own, place, now_f in _pooled(model, batch, listed):
            if place not in changed:
                here = own.rows == rows[place]
                values += int(here.sum())
                problems += _mismatches(own, here, now_f, ids[place], TOLERANCE[str(manifest.model.dtype)])
    return Rerun(len(rows), values, tuple(problems))


def _pooled(model: VisionModel, batch: Batch, listed: Sequence[_Listed]) -> Iterator[tuple[_Listed, int, np.ndarray]]:
    """For every layer and pooling and every image of a batch that could be read: its row and its values."""
    names = list(dict.fromkeys(own.layer.name for own in listed))
    with torch.inference_mode():
        acts = model.capture(batch.pixels_bchw.to(model.device, model.dtype), names)
        for own in listed:
            values_bf = pool(acts[own.layer.name], own.layer, own.pooling).values_bf.cpu().numpy()
            for good, row in zip(batch.good.tolist(), batch.rows[batch.good].tolist(), strict=True):
                yield own, row, values_bf[good]


def _mismatches(own: _Listed, here: np.ndarray, now_f: np.ndarray, id_: str, tolerance: float) -> Iterator[str]:
    """One problem where some listed value of an image is not what the model gives."""
    features, stored = own.features[here], own.values[here]
    now = now_f[features]
    scale = np.maximum(own.span_f[features], np.abs(stored))
    (wrong,) = np.nonzero(~(np.abs(now - stored) <= tolerance * scale))
    if len(wrong):
        yield (
            f"{own.layer.name}, {own.pooling}: {len(wrong)} of {len(now)} values of {id_!r} are not what the model "
            f"gives, such as {stored[wrong[0]]:.6g} where it gives {now[wrong[0]]:.6g} (feature {features[wrong[0]]})"
        )
