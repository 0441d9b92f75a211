"""Activation maps: where in its top images each feature is active, from one more forward pass."""

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
from conceptprobe.indexing.source import source_of
from conceptprobe.indexing.streaming.loader import default_workers, load_batches
from conceptprobe.models import Layer, VisionModel, load_model
from conceptprobe.report.collect.models import ReportModel
from conceptprobe.report.scripts import Json, floats, packed, write_data

MAPPED_IMAGES = 16
LARGEST_GRID = 16
BATCH = 64


@dataclass(frozen=True, eq=False)
class Maps:
    """What was mapped.

    Attributes:
        layers: The layers of each model, by its number, that have maps.
        notes: Why others have none, in words for the overview.
    """

    layers: Mapping[int, Sequence[str]]
    notes: Sequence[str]


@dataclass(frozen=True, eq=False)
class Places:
    """Where the maps of a layer belong.

    Attributes:
        rows_fk: Rows of the top images of each feature, int64 [f,k]; -1 past the end.
        order: Positions in `rows_fk`, flat, by their rows, int64 [m].
        rows: The rows in that order, int64 [m].
        maps_fkp: The maps, float32 [f,k,p], mapped from a file.
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
            places = plan_maps(model, vision, Path(scratch))
            fill_maps(places, vision, source, progress)
            for own in places:
                for key, data in map_chunks(model, own):
                    write_data(folder, key, data)
        layers[model.number] = [own.layer.name for own in places]
        if left_out := [layer for layer in model.index.layers if layer not in layers[model.number]]:
            notes.append(f"{model.label} has no activation maps of {', '.join(left_out)}: they have no grid of patches")
    return Maps(layers, notes)


def open_model(index: Index) -> tuple[VisionModel, ImageSource]:
    """The model and the images of an index.

    Raises:
        ConceptProbeError: One of them is gone or another one.
    """
    about = index.manifest.model
    if not about.is_reproducible:
        raise ConceptProbeError("the model alone does not give these activations")
    vision = load_model(about.spec, dtype=about.dtype)
    if vision.fingerprint != about.fingerprint:
        raise ConceptProbeError(f"{about.spec} is not the model that was indexed: its fingerprint differs")
    vision.resolve(list(index.layers))
    return vision, source_of(index)


def plan_maps(model: ReportModel, vision: VisionModel, scratch: Path) -> list[Places]:
    """The layers that have a grid, with room for their maps."""
    places = []
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
        places.append(Places(layer, grid, rows_fk, order, flat[order], maps_fkp))
    return places


def fill_maps(places: Sequence[Places], vision: VisionModel, source: ImageSource, progress: bool) -> None:
    """Run the images of all lists through the model, each once."""
    if not places:
        return
    rows = np.unique(np.concatenate([own.rows for own in places]))
    names = [own.layer.name for own in places]
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
                for own in places:
                    start, end = np.searchsorted(own.rows, [rows[row], rows[row] + 1])
                    if start == end:
                        continue
                    feature, rank = np.divmod(own.order[start:end], own.rows_fk.shape[1])
                    patches_fhw = as_grid(acts[own.layer.name][at], own.layer)[torch.from_numpy(feature)]
                    if own.grid != own.layer.grid:
                        patches_fhw = F.adaptive_avg_pool2d(patches_fhw, own.grid)
                    own.maps_fkp[feature, rank] = patches_fhw.flatten(1).cpu().numpy()


def as_grid(acts: Tensor, layer: Layer) -> Tensor:
    """The activations of one image at each patch, float32 [f,h,w]."""
    assert layer.grid is not None, layer
    if layer.kind == "map":
        return acts.float()
    return acts[layer.prefix :].T.reshape(-1, *layer.grid).float()


def map_chunks(model: ReportModel, places: Places) -> Iterator[tuple[str, Json]]:
    """The maps in 256 steps from the least to the largest value that a feature has on them."""
    listed_fk = places.rows_fk >= 0
    for key, part in model.chunks(places.layer.name):
        maps, known = np.nan_to_num(places.maps_fkp[part]), listed_fk[part][..., None]
        low = maps.min((1, 2), where=known, initial=np.inf)
        high = maps.max((1, 2), where=known, initial=-np.inf)
        low, high = np.where(np.isfinite(low), low, 0), np.where(np.isfinite(high), high, 0)
        span = np.where(high > low, high - low, 1)
        steps = np.rint((maps - low[:, None, None]) / span[:, None, None] * 255)
        data = {
            "first": part.start,
            "count": part.stop - part.start,
            "grid": list(places.grid),
            "of": model.pooling,
            "low": floats(low),
            "high": floats(high),
            "maps": packed(np.where(known, steps, 0).clip(0, 255), "u1"),
        }
        yield f"maps/{key}", data
