"""Read an index: top images, statistics and search."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from conceptprobe.display import html
from conceptprobe.feature import FeatureId
from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.reducers.sample import QUANTILES, sampled_rows
from conceptprobe.indexing.storage.faiss_files import search_parameters, unit
from conceptprobe.indexing.storage.files import IndexFiles
from conceptprobe.indexing.storage.manifest import Manifest
from conceptprobe.indexing.storage.vectors import read_blocks, read_rows
from conceptprobe.indexing.top_images import ImageLists, TopImages

DEAD_SPAN = 1e-3
TAIL_SPAN = 0.1
GPU_MOST = 2048  # of k and nprobe that FAISS can take on a GPU
_VALUES = 1 << 22  # of vectors that are read at once
PART = "is a shard, a part of an index: join all of them with `conceptprobe index merge`"


def check_k(k: int) -> int:
    """Refuse a k below 1."""
    if k < 1:
        raise IndexingError(f"k is {k}: it must be at least 1")
    return k


class Index:
    """A finished index directory; made by `open_index`. Arrays are read when they are first asked for."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._files = IndexFiles(path)

    def __repr__(self) -> str:
        indexed, spec = self.manifest.counts.indexed, self.manifest.model.spec
        return f"Index({str(self.path)!r}: {spec} on {indexed} images, layers {', '.join(self.layers)})"

    def _repr_html_(self) -> str:
        counts, is_shard = self.manifest.counts, self.manifest.part is not None
        rows = [] if is_shard else [[str(value) for value in row] for row in self.summary().itertuples(index=False)]
        title = f"{'A shard of ' if is_shard else ''}{self.manifest.model.spec} on {self.manifest.source.spec}"
        notes = [
            f"{html.count_of(counts.indexed, 'image')} indexed, {counts.skipped:,} skipped; top lists of "
            f"{self.manifest.k}, pooled by {' and '.join(self.poolings)}"
        ]
        return html.block(title, html.table(["layer", "kind", "grid", "features", "dead"], rows), notes)

    def summary(self, pooling: str | None = None) -> pd.DataFrame:
        """One row a layer: layer, kind, grid (such as 7x7; empty for vectors), features, dead (how many of them).

        Args:
            pooling: Whose statistics; by default the first pooling.

        Raises:
            IndexingError: The index has no such pooling, or it is a shard.
        """
        rows = []
        for name in self.layers:
            layer, dead = self.manifest.layers[name], int(self.stats(name, pooling)["dead"].sum())
            grid = "" if layer.grid is None else f"{layer.grid[0]}x{layer.grid[1]}"
            rows.append((name, layer.kind, grid, self.width(name), dead))
        return pd.DataFrame(rows, columns=["layer", "kind", "grid", "features", "dead"])

    @property
    def layers(self) -> tuple[str, ...]:
        """Layer names, in the order of the model."""
        return tuple(self.manifest.layers)

    @property
    def poolings(self) -> tuple[str, ...]:
        """All poolings of the index."""
        return self.manifest.pooling

    @property
    def pooling(self) -> str:
        """The first pooling: the default of every method, and the one of the stored activations."""
        return self.manifest.pooling[0]

    def width(self, layer: str) -> int:
        """Number of features of a layer."""
        return self.manifest.layers[self._layer(layer)].width

    @property
    def images(self) -> pd.DataFrame:
        """One row an indexed image, in the global order: id, what the source knows of it, content_hash."""
        return self._files.table("images").copy(deep=False)  # copied when the caller writes to it

    @property
    def skipped(self) -> pd.DataFrame:
        """The images that could not be read: id, reason."""
        return self._files.table("skipped").copy(deep=False)

    def top(self, feature: FeatureId | str, k: int | None = None, pooling: str | None = None) -> TopImages:
        """The images that activate a feature most: exact, ties by id.

        Args:
            feature: `FeatureId` or its printed form, `blocks.10.mlp.hidden:1234`.
            k: How many, at most the k of the index; by default 20, or that where it is less.
            pooling: One of the index; by default its first.

        Raises:
            IndexingError: The index has no such feature or pooling, or keeps shorter lists.
        """
        return self._list("top", self.manifest.k, feature, k, pooling)

    def bottom(self, feature: FeatureId | str, k: int | None = None, pooling: str | None = None) -> TopImages:
        """The images that activate a feature least, the lowest first: exact, ties by id. Arguments as of `top`.

        Raises:
            IndexingError: As of `top`; or the index was built without such lists.
        """
        if not self.manifest.bottom:
            raise IndexingError(f"{self.path} keeps no bottom lists: build it with bottom=K")
        return self._list("bottom", self.manifest.bottom, feature, k, pooling)

    def strip(self, feature: FeatureId | str, pooling: str | None = None) -> tuple[TopImages, ...]:
        """Up to 8 random images of each tenth of a feature's ranked values, from the lowest tenth to the highest.

        In each tenth, values descend. The images are drawn from the sample that `stats` describes.

        Raises:
            IndexingError: The index has no such feature or pooling.
        """
        feature = FeatureId.parse(feature)
        self._check_feature(feature)
        arrays, pooling = self._files.arrays(feature.layer, "strips"), self._pooling(pooling)
        positions = arrays.get(f"{pooling}.positions")
        return tuple(
            self._images(
                arrays[f"{pooling}.rows"][feature.index, tenth],
                arrays[f"{pooling}.values"][feature.index, tenth],
                None if positions is None else positions[feature.index, tenth],
            )
            for tenth in range(arrays[f"{pooling}.rows"].shape[1])
        )

    def top_rows(self, layer: str, pooling: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The lists of a layer: rows of `images` int64 [f,k] and values float32 [f,k]; -1 and NaN past the end."""
        arrays = self._files.arrays(self._layer(layer), "top")
        pooling = self._pooling(pooling)
        return arrays[f"{pooling}.rows"], arrays[f"{pooling}.values"]

    def lists(
        self, layer: str, kind: Literal["top", "bottom", "strips"] = "top", pooling: str | None = None
    ) -> ImageLists:
        """The lists of `top`, `bottom` or `strip` for every feature of a layer, as arrays.

        Raises:
            IndexingError: The index has no such layer or pooling; or it was built without bottom lists.
        """
        if kind == "bottom" and not self.manifest.bottom:
            raise IndexingError(f"{self.path} keeps no bottom lists: build it with bottom=K")
        arrays, pooling = self._files.arrays(self._layer(layer), kind), self._pooling(pooling)
        rows, values = arrays[f"{pooling}.rows"].astype(np.int64), arrays[f"{pooling}.values"]
        return ImageLists(rows, values, arrays.get(f"{pooling}.positions"))

    def high_threshold(self, layer: str, pooling: str | None = None) -> float:
        """The value that `high_rate` counts the images above: the layer's 0.95 quantile, of all features together."""
        return float(self._files.arrays(self._layer(layer), "stats")[f"{self._pooling(pooling)}.high"][0])

    def stats(self, layer: str, pooling: str | None = None) -> pd.DataFrame:
        """Statistics of a layer, one row a feature.

        Columns: feature, count and nonfinite (images), mean, std, min, max, firing_rate (share above 0), high_rate
        (share above the layer's 0.95 quantile, of all its features together), q01 .. q99, dead.

        high_rate and the quantiles are of a uniform sample of up to 32,768 images, so exact up to as many; of more
        images, all the quantiles of a feature are within 1 % in rank with probability 99.7 % or more, whatever its
        distribution. The layer's quantile is of 1,024 images of the sample.

        A feature is dead when its values span less than a thousandth of what the layer's features span at the median;
        or less than a tenth and are never above 0, like a GELU unit that no image switches on: its top images are only
        those that it is most switched off by.
        """
        pooling, arrays = self._pooling(pooling), self._files.arrays(self._layer(layer), "stats")
        columns = ("count", "nonfinite", "mean", "std", "min", "max", "firing_rate", "high_rate")
        frame = pd.DataFrame({name: arrays[f"{pooling}.{name}"] for name in columns})
        frame.insert(0, "feature", np.arange(len(frame)))
        for level, values in zip(QUANTILES, arrays[f"{pooling}.quantiles"], strict=True):
            frame[f"q{round(level * 100):02d}"] = values
        span = frame["max"] - frame["min"]
        never_on = (frame["max"] <= 0) & (span < TAIL_SPAN * span.median())
        frame["dead"] = ~(span > DEAD_SPAN * span.median()) | never_on
        return frame

    def keeps_activations(self, pooling: str | None = None) -> bool:
        """Whether the activations of every image are stored, pooled in this way; by default in the first."""
        return self.manifest.vectors and pooling in (None, self.pooling)

    def activations(self, layer: str, rows: np.ndarray | None = None) -> np.ndarray:
        """The activations of images, pooled by the first pooling, float32 [n,f].

        They are exact unless the index was built with another `faiss` than `Flat`. An activation that is not finite
        is 0.

        Args:
            layer: A layer of the index.
            rows: Rows of `images`, ascending; by default all.

        Raises:
            IndexingError: The index has no such layer, or was built without vectors.
            MissingFaissError: FAISS is not installed.
        """
        stored = self._files.faiss(self._layer(layer), "images")
        return read_rows(stored, np.arange(stored.ntotal) if rows is None else rows)

    def activation_blocks(self, layer: str) -> Iterator[np.ndarray]:
        """The `activations` of all images in order, float32 [b,f], a bounded number of images at once."""
        return read_blocks(self._files.faiss(self._layer(layer), "images"))

    def sampled_rows(self, images: int) -> np.ndarray:
        """At most so many rows of `images`, ascending: a sample that is the same for all indices of the same images."""
        return sampled_rows(pa.chunked_array([pa.array(self.images["id"], pa.string())]), images)

    def search(
        self, layer: str, direction: Sequence[float] | np.ndarray, k: int = 20, *, nprobe: int | None = None
    ) -> TopImages:
        """The images whose activations have the largest inner product with a direction of the layer.

        See `activations` for how they are pooled. The search is exact unless the index was built with another `faiss`
        than `Flat`; then the inner products are those of the compressed activations.

        Args:
            layer: A layer of the index.
            direction: float [f].
            k: How many; fewer come where the inverted lists that were looked into hold fewer.
            nprobe: How many inverted lists to look into, where the index has some; by default a sixteenth of them.

        Raises:
            IndexingError: The direction has another width, the index was built without vectors, or has not so many
                lists.
            MissingFaissError: FAISS is not installed.
        """
        width = self.width(layer)
        query = np.asarray(direction, dtype=np.float32)
        if query.shape != (width,):
            raise IndexingError(f"a direction of {layer} is {width} numbers, not shape {query.shape}")
        if not np.isfinite(query).all():
            raise IndexingError(
                f"a direction must be finite: {int((~np.isfinite(query)).sum())} of its numbers are not"
            )
        k = min(check_k(k), len(self.images))
        searched = (
            self._files.searchable(layer) if max(k, nprobe or 0) <= GPU_MOST else self._files.faiss(layer, "images")
        )
        (values,), (rows,) = searched.search(query[None], k, params=search_parameters(searched, nprobe))
        order = np.lexsort((rows, -values))
        return self._images(rows[order], values[order], None)

    def similar_images(self, id_: str, k: int = 20, layer: str | None = None) -> TopImages:
        """The images closest to one of the index by the cosine of their activations, without the image itself.

        The layer's mean is subtracted from the activations: all images share it, and it would make them all alike.
        Cosines are exact unless the index was built with another `faiss` than `Flat`.

        Args:
            id_: An image id of the index.
            k: How many.
            layer: By default the last of the index.
        """
        matches = np.flatnonzero(self.images["id"] == id_)
        if not len(matches):
            raise IndexingError(f"{id_!r} is not an image of {self.path}; see the ids in Index.images")
        layer = self.layers[-1] if layer is None else self._layer(layer)
        faiss_index = self._files.faiss(layer, "images")
        mean = np.nan_to_num(self.stats(layer)["mean"].to_numpy(np.float32))
        query = unit(faiss_index.reconstruct_n(int(matches[0]), 1) - mean)[0]
        cosines = np.empty(faiss_index.ntotal, np.float32)
        step = max(1, _VALUES // faiss_index.d)
        for start in range(0, faiss_index.ntotal, step):
            block = faiss_index.reconstruct_n(start, min(step, faiss_index.ntotal - start))
            cosines[start : start + len(block)] = unit(block - mean) @ query
        cosines[matches[0]] = -np.inf
        rows = np.argsort(-cosines, kind="stable")[: min(check_k(k), len(cosines) - 1)]
        return TopImages(self._ids(rows), cosines[rows], origin=self.path)

    def neighbours(self, feature: FeatureId | str, k: int = 10) -> pd.DataFrame:
        """The features of the same layer whose activations correlate most with a feature's.

        The correlation is over a sample of at most 1,024 images.

        Returns:
            One row a feature, best first: layer, feature, correlation (Pearson's r). Empty for a feature that does not
            vary on the sample.
        """
        feature = FeatureId.parse(feature)
        self._check_feature(feature)
        faiss_index = self._files.faiss(feature.layer, "features")
        query = faiss_index.reconstruct(feature.index)[None]
        k = min(check_k(k) + 1, faiss_index.ntotal) if query.any() else 0
        values, rows = faiss_index.search(query, k) if k else (np.empty((1, 0), np.float32), np.empty((1, 0), np.int64))
        others = np.flatnonzero(rows[0] != feature.index)[: max(k - 1, 0)]
        return pd.DataFrame(
            {"layer": feature.layer, "feature": rows[0][others], "correlation": values[0][others]}
        )  # fmt: skip

    def neighbour_lists(self, layer: str, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """The `neighbours` of every feature of a layer: features int64 [f,k] and Pearson's r float32 [f,k].

        The neighbours of a feature that does not vary on the sample are -1. k is at most the number of other features.
        """
        stored = self._files.faiss(self._layer(layer), "features")
        vectors_fn = stored.reconstruct_n(0, stored.ntotal)
        most = min(check_k(k) + 1, stored.ntotal)
        values, features = stored.search(vectors_fn, most)
        # Each list drops the feature itself, which is not always first where others tie with it.
        order = np.argsort(features == np.arange(stored.ntotal)[:, None], axis=1, kind="stable")[:, : most - 1]
        features, r = np.take_along_axis(features, order, 1), np.take_along_axis(values, order, 1)
        return np.where(vectors_fn.any(1)[:, None], features, -1), r

    def _list(self, kind: str, longest: int, feature: FeatureId | str, k: int | None, pooling: str | None) -> TopImages:
        feature = FeatureId.parse(feature)
        k = min(20, longest) if k is None else k
        if not 1 <= k <= longest:
            raise IndexingError(f"k is {k}: this index keeps lists of {longest}")
        pooling = self._pooling(pooling)
        self._check_feature(feature)
        arrays = self._files.arrays(feature.layer, kind)
        positions = arrays.get(f"{pooling}.positions")
        return self._images(
            arrays[f"{pooling}.rows"][feature.index, :k],
            arrays[f"{pooling}.values"][feature.index, :k],
            None if positions is None else positions[feature.index, :k],
        )

    def _images(self, rows: np.ndarray, values: np.ndarray, positions: np.ndarray | None) -> TopImages:
        """The images of a list, which ends where the rows are -1."""
        length = int((rows >= 0).sum())
        kept = None if positions is None else positions[:length]
        return TopImages(self._ids(rows[:length]), values[:length], kept, self.path)

    def _ids(self, rows: np.ndarray) -> tuple[str, ...]:
        return tuple(self.images["id"].iloc[rows])

    def choose_layers(self, layers: str | Sequence[str] | None = None) -> tuple[str, ...]:
        """The layers that a name or several name, each once; all of the index for None.

        Raises:
            IndexingError: The index has no such layer, none is named, or it is a shard.
        """
        names = self.layers if layers is None else (layers,) if isinstance(layers, str) else tuple(layers)
        if not names:
            raise IndexingError(f"no layer is named; {self.path} has {', '.join(self.layers)}")
        return tuple(dict.fromkeys(self._layer(name) for name in names))

    def _layer(self, layer: str) -> str:
        if self.manifest.part is not None:
            raise IndexingError(f"{self.path} {PART}")
        if layer not in self.manifest.layers:
            raise IndexingError(f"{self.path} has no layer {layer!r}; it has {', '.join(self.layers)}")
        return layer

    def _pooling(self, pooling: str | None) -> str:
        if pooling is None:
            return self.pooling
        if pooling not in self.poolings:
            raise IndexingError(f"{self.path} has no pooling {pooling!r}; it has {', '.join(self.poolings)}")
        return pooling

    def _check_feature(self, feature: FeatureId) -> None:
        width = self.width(feature.layer)
        if feature.index >= width:
            raise IndexingError(f"{feature}: {feature.layer} has features 0 to {width - 1}")


def open_index(path: str | os.PathLike[str]) -> Index:
    """Open a finished index.

    Raises:
        IndexingError: There is none, it is a shard or of another version, or files that its manifest lists are missing.
    """
    path = Path(path).resolve()
    manifest = Manifest.read(path)
    if manifest.part is not None:
        raise IndexingError(f"{path} {PART}")
    missing = [name for name in manifest.files if not (path / name).is_file()]
    if missing:
        raise IndexingError(f"{path} is damaged: {', '.join(missing[:3])} missing; rebuild it")
    return Index(path, manifest)


def as_index(index: "IndexLike") -> Index:
    """The index itself, or the one at a path, opened by `open_index`."""
    return open_index(index) if isinstance(index, str | os.PathLike) else index


IndexLike = Index | str | os.PathLike[str]
"""An index, or the path of one."""
