"""Activation maps: where in its top images a feature is active. They need one more forward pass."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptprobe.display.progress import tracked
from conceptprobe.errors import ConceptProbeError
from conceptprobe.images import ImageSource
from conceptprobe.indexing import Index
from conceptprobe.indexing.model import model_of
from conceptprobe.indexing.source import source_of
from conceptprobe.indexing.streaming.loader import default_workers, load_batches
from conceptprobe.models import Layer, VisionModel
from conceptprobe.report.collect.models import ReportModel
from conceptprobe.report.scripts import Json, floats, packed, write_data

MAPPED_IMAGES = 16
LARGEST_GRID = 16
BATCH = 64


@dataclass(frozen=True, eq=False)
class Maps:
    """Which layers have activation maps.

    Attributes:
        layers: The layers with maps of each model, by its number.
        notes: Why other models have none, in words for the overview.
    """

    layers: Mapping[int, Sequence[str]]
    notes: Sequence[str]


@dataclass(frozen=True, eq=False)
class LayerMaps:
    """The activation maps of a layer.

    Attributes:
        layer: The layer.
        grid: Rows and columns of a map.
        rows_fk: Rows of the top images of each feature, int64 [f,k]; -1 past the end.
        order: Flat positions in `rows_fk`, sorted by row, int64 [m].
        rows: The sorted rows, int64 [m].
        maps_fkp: The maps, float32 [f,k,p], in a memory-mapped file.
    """

    layer: Layer
    grid: tuple[int, int]
    rows_fk: np.ndarray
    order: np.ndarray
    rows: np.ndarray
    maps_fkp: np.ndarray


def write_maps(models: Sequence[ReportModel], folder: Path, progress: bool = False) -> Maps:
    """Run every model over its top images, and write how active each feature is at each patch of them."""
    layers: dict[int, list[str]] = {}
    notes = []
    for model in models:
        try:
            vision, source = open_model(model.index)
        except (ConceptProbeError, OSError) as error:
            notes.append(f"{model.label} has no activation maps: {error}")
            continue
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            layer_maps = allocate_maps(model, vision, Path(scratch))
            fill_maps(layer_maps, vision, source, progress)
            for maps in layer_maps:
                for key, data in map_chunks(model, maps):
                    write_data(folder, key, data)
        layers[model.number] = [maps.layer.name for maps in layer_maps]
        if left_out := [layer for layer in model.index.layers if layer not in layers[model.number]]:
            notes.append(f"{model.label} has no activation maps of {', '.join(left_out)}: they have no grid of patches")
    return Maps(layers, notes)


def open_model(index: Index) -> tuple[VisionModel, ImageSource]:
    """Open the model and the images of an index.

    Raises:
        ConceptProbeError: The model or the images are gone or have changed.
    """
    if not index.manifest.model.is_reproducible:
        raise ConceptProbeError("the model alone does not reproduce these activations")
    vision = model_of(index)
    vision.resolve(list(index.layers))
    return vision, source_of(index)


def allocate_maps(model: ReportModel, vision: VisionModel, scratch: Path) -> list[LayerMaps]:
    """Allocate the maps of all layers with a grid, as files in `scratch`."""
    layer_maps = []
    for at, layer in enumerate(vision.resolve(list(model.index.layers))):
        if layer.grid is None or layer.kind not in ("tokens", "map"):
            continue
        grid = (min(LARGEST_GRID, layer.grid[0]), min(LARGEST_GRID, layer.grid[1]))
        rows_fk = model.index.lists(layer.name, "top", model.pooling).rows[:, :MAPPED_IMAGES]
        flat = rows_fk.ravel()
        order = np.argsort(flat, kind="stable")
        order = order[flat[order] >= 0]
        shape = (*rows_fk.shape, grid[0] * grid[1])
        maps_fkp = np.lib.format.open_memmap(scratch / f"{at}.npy", "w+", np.float32, shape)
        layer_maps.append(LayerMaps(layer, grid, rows_fk, order, flat[order], maps_fkp))
    return layer_maps


def fill_maps(layer_maps: Sequence[LayerMaps], vision: VisionModel, source: ImageSource, progress: bool) -> None:
    """Run the images of all lists through the model, each once, and fill the maps."""
    if not layer_maps:
        return
    rows = np.unique(np.concatenate([maps.rows for maps in layer_maps]))
    names = [maps.layer.name for maps in layer_maps]
    batches = load_batches(
        source.subset(rows), vision.preprocess, size=BATCH, shape=vision.image_size, workers=default_workers(),
        pin=vision.device.type == "cuda", device=vision.device,
    )  # fmt: skip
    total = -(-len(rows) // BATCH)
    with torch.inference_mode():
        for batch in tracked(batches, f"maps of {vision.spec}", total, show=progress):
            acts = vision.capture(batch.pixels_bchw.to(vision.device, vision.dtype), names)
            bad = {row for row, _ in batch.bad}
            for at, row in zip(range(len(batch.rows)), batch.rows.tolist(), strict=True):
                if row in bad:
                    continue
                for maps in layer_maps:
                    start, end = np.searchsorted(maps.rows, [rows[row], rows[row] + 1])
                    if start == end:
                        continue
                    feature, rank = np.divmod(maps.order[start:end], maps.rows_fk.shape[1])
                    patches_fhw = as_grid(acts[maps.layer.name][at], maps.layer)[torch.from_numpy(feature)]
                    if maps.grid != maps.layer.grid:
                        patches_fhw = F.adaptive_avg_pool2d(patches_fhw, maps.grid)
                    maps.maps_fkp[feature, rank] = patches_fhw.flatten(1).cpu().numpy()


def as_grid(acts: Tensor, layer: Layer) -> Tensor:
    """The activations of one image at each patch, float32 [f,h,w]."""
    assert layer.grid is not None, layer
    if layer.kind == "map":
        return acts.float()
    return acts[layer.prefix :].T.reshape(-1, *layer.grid).float()


def map_chunks(model: ReportModel, maps: LayerMaps) -> Iterator[tuple[str, Json]]:
    """The maps of a layer in 256 steps from the least to the largest value of each feature, 64 features a chunk."""
    listed_fk = maps.rows_fk >= 0
    for key, chunk in model.chunks(maps.layer.name):
        maps_fkp, known = np.nan_to_num(maps.maps_fkp[chunk]), listed_fk[chunk][..., None]
        low = maps_fkp.min((1, 2), where=known, initial=np.inf)
        high = maps_fkp.max((1, 2), where=known, initial=-np.inf)
        low, high = np.where(np.isfinite(low), low, 0), np.where(np.isfinite(high), high, 0)
        span = np.where(high > low, high - low, 1)
        steps = np.rint((maps_fkp - low[:, None, None]) / span[:, None, None] * 255)
        data = {
            "first": chunk.start,
            "count": chunk.stop - chunk.start,
            "grid": list(maps.grid),
            "of": model.pooling,
            "low": floats(low),
            "high": floats(high),
            "maps": packed(np.where(known, steps, 0).clip(0, 255), "u1"),
        }
        yield f"maps/{key}", data
