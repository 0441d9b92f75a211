"""The files of a layer, written from what a reducer has kept."""

from pathlib import Path

import numpy as np
from safetensors.numpy import save

from conceptprobe.indexing.reducers.layer import LayerReducer
from conceptprobe.indexing.reducers.sample import DECILES, HIGH, STRIP_IMAGES, summarise
from conceptprobe.indexing.reducers.topk import TopLists
from conceptprobe.indexing.storage.factory import EXACT, Factory
from conceptprobe.indexing.storage.faiss_files import unit, write_factory, write_flat

NEIGHBOUR_SAMPLE = 1024  # images on which features are compared with each other
_VALUES = 1 << 20  # summarised at once by each writer, so that a larger sample takes no more memory

Arrays = dict[str, np.ndarray]


def write_layer(reducer: LayerReducer, new_row: np.ndarray, sampled: np.ndarray) -> None:
    """Write the layer's files.

    Args:
        reducer: The reduction of the layer.
        new_row: From rows of the listing to rows of the images that were indexed, int64.
        sampled: Rows of the listing of the sampled images.
    """
    top: Arrays = {}
    bottom: Arrays = {}
    stats: Arrays = {}
    strips: Arrays = {}
    compared = np.linspace(0, len(sampled) - 1, min(len(sampled), NEIGHBOUR_SAMPLE)).round().astype(int)
    for pooling in reducer.plan.pooling:
        top |= _list_arrays(pooling, reducer.state.top[pooling].result(), new_row)
        if reducer.plan.bottom:
            bottom |= _list_arrays(pooling, reducer.state.bottom[pooling].result(), new_row)
        for name, value in reducer.state.moments[pooling].result().items():
            stats[f"{pooling}.{name}"] = value.cpu().numpy()
        compared_nf = reducer.sample[pooling].take(compared)
        finite = compared_nf[np.isfinite(compared_nf)]
        high = np.float32(np.quantile(finite, HIGH)) if len(finite) else np.float32(np.nan)
        summary, chosen = _summarise(reducer, pooling, float(high), new_row[sampled])
        stats |= {f"{pooling}.high": np.array([high]), **summary}
        strips |= chosen
        if reducer.vectors is not None and pooling == reducer.plan.pooling[0]:
            write_flat(reducer.folder / "features.faiss", unit(_centred(compared_nf).T))
    if reducer.vectors is not None and reducer.plan.faiss != EXACT:
        write_factory(reducer.folder / "images.faiss", reducer.vectors.rows(), Factory.parse(reducer.plan.faiss))
    _write(reducer.folder / "top.safetensors", top)
    _write(reducer.folder / "stats.safetensors", stats)
    _write(reducer.folder / "strips.safetensors", strips)
    if bottom:
        _write(reducer.folder / "bottom.safetensors", bottom)


def _list_arrays(pooling: str, lists: TopLists, new_row: np.ndarray) -> Arrays:
    rows = lists.rows_fk.cpu().numpy()
    arrays = {
        f"{pooling}.rows": np.where(rows >= 0, new_row[rows], -1),
        f"{pooling}.values": lists.values_fk.cpu().numpy(),
    }
    if lists.positions_fk is not None:
        arrays[f"{pooling}.positions"] = lists.positions_fk.cpu().numpy()
    return arrays


def _summarise(reducer: LayerReducer, pooling: str, high: float, rows: np.ndarray) -> tuple[Arrays, Arrays]:
    """The sample's part of the statistics, and the strips. `rows` are of the indexed images."""
    width = reducer.layer.width
    draws_fds = np.random.default_rng(0).random((width, DECILES, STRIP_IMAGES))
    positions = reducer.sample.get(f"{pooling}-positions")
    stats: dict[str, list[np.ndarray]] = {"quantiles": [], "high_rate": []}
    strips: dict[str, list[np.ndarray]] = {"rows": [], "values": [], "positions": []}
    step = max(1, _VALUES // len(rows))
    for first in range(0, width, step):
        stop = min(first + step, width)
        summary = summarise(reducer.sample[pooling].columns(first, stop), high, draws_fds[first:stop])
        stats["quantiles"].append(summary.quantiles_qf)
        stats["high_rate"].append(summary.high_rate_f)
        empty = summary.strip_fds < 0
        strips["rows"].append(np.where(empty, -1, rows[summary.strip_fds]).astype(np.int64))
        strips["values"].append(summary.strip_values_fds)
        if positions is not None:
            flat_fn = positions.columns(first, stop).T
            places = summary.strip_fds.reshape(stop - first, -1)
            chosen = np.take_along_axis(flat_fn, np.maximum(places, 0), 1).reshape(empty.shape)
            strips["positions"].append(np.where(empty, -1, chosen).astype(np.int32))
    return (
        {f"{pooling}.{name}": np.concatenate(parts, -1) for name, parts in stats.items()},
        {f"{pooling}.{name}": np.concatenate(parts) for name, parts in strips.items() if parts},
    )


def _centred(values_nf: np.ndarray) -> np.ndarray:
    """Values minus each feature's mean; what is not finite counts as the mean, so it adds nothing to a product."""
    finite = np.where(np.isfinite(values_nf), values_nf, np.nan)
    mean = np.nansum(finite, 0) / np.maximum((~np.isnan(finite)).sum(0), 1)
    result: np.ndarray = np.nan_to_num(finite - mean).astype(np.float32)
    return result


def _write(path: Path, arrays: Arrays) -> None:
    # `save` writes the memory of an array as it lies; `save_file` would make the file readable by its owner only.
    path.write_bytes(save({name: np.ascontiguousarray(array) for name, array in arrays.items()}))
