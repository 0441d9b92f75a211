"""Read an index: top images, statistics, search."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
from safetensors.numpy import load_file

from conceptprobe.errors import ConceptProbeError
from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.feature import FeatureId
from conceptprobe.indexing.manifest import Manifest
from conceptprobe.indexing.sample import QUANTILES
from conceptprobe.indexing.vectors import read_flat, unit

DEAD_SPAN = 1e-3
TAIL_SPAN = 0.1


@dataclass(frozen=True)
class TopImages:
    """Images in order, best first.

    Attributes:
        ids: Image ids.
        values: float32 [k], what they are ordered by.
        positions: int32 [k], the patch of each in reading order, or None where the list is not of single patches.
    """

    ids: tuple[str, ...]
    values: np.ndarray
    positions: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        shown = ", ".join(f"{id_} {value:.4g}" for id_, value in zip(self.ids[:5], self.values, strict=False))
        return f"TopImages({len(self)}: {shown}{', ...' if len(self) > 5 else ''})"


def layer_folder(root: Path, layer: str) -> Path:
    """Where an index keeps a layer; names that are no file names are percent-encoded."""
    return root / "layers" / quote(layer, safe="")


@contextmanager
def reading(path: Path) -> Iterator[Path]:
    """What goes wrong in reading a file of an index becomes one clear error."""
    try:
        yield path
    except ConceptProbeError:
        raise
    except Exception as error:
        raise IndexingError(f"{path} is damaged ({type(error).__name__}): rebuild the index") from error


def at_least_1(k: int) -> int:
    if k < 1:
        raise IndexingError(f"k is {k}: it must be at least 1")
    return k


class Index:
    """A finished index directory; made by `open_index`. Arrays are read when they are first asked for."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._arrays = cache(self._read_arrays)

    def __repr__(self) -> str:
        counts, spec = self.manifest.counts, self.manifest.model["spec"]
        return f"Index({str(self.path)!r}: {spec} on {counts['indexed']} images, layers {', '.join(self.layers)})"

    @property
    def layers(self) -> tuple[str, ...]:
        """Layer names, in the order of the model."""
        return tuple(self.manifest.layers)

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row an indexed image, in the global order: id, what the source knows of it, content_hash."""
        with reading(self.path / "images.parquet") as path:
            return pd.read_parquet(path)

    @cached_property
    def skipped(self) -> pd.DataFrame:
        """The images that could not be read: id, reason."""
        with reading(self.path / "skipped.parquet") as path:
            return pd.read_parquet(path)

    def top(self, feature: FeatureId | str, k: int | None = None, pooling: str | None = None) -> TopImages:
        """The images that activate a feature most: exact, ties by id.

        Args:
            feature: `FeatureId` or its printed form, `blocks.10.mlp.hidden:1234`.
            k: How many, at most the k of the index; by default 20, or that where it is less.
            pooling: One of the index; by default its first.

        Raises:
            IndexingError: The index has no such feature or pooling, or keeps shorter lists.
        """
        feature = FeatureId.parse(feature)
        k = min(20, self.manifest.k) if k is None else k
        if not 1 <= k <= self.manifest.k:
            raise IndexingError(f"k is {k}: this index keeps lists of {self.manifest.k}")
        pooling = self._pooling(pooling)
        self._check_feature(feature)
        arrays = self._arrays(feature.layer, "top")
        rows = arrays[f"{pooling}.rows"][feature.index, :k]
        length = int((rows >= 0).sum())
        positions = arrays.get(f"{pooling}.positions")
        return TopImages(
            self._ids(rows[:length]),
            arrays[f"{pooling}.values"][feature.index, :length],
            None if positions is None else positions[feature.index, :length],
        )

    def top_rows(self, layer: str, pooling: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The lists of a layer: rows of `images` int64 [f,k] and values float32 [f,k]; -1 and NaN past the end."""
        arrays = self._arrays(self._layer(layer), "top")
        pooling = self._pooling(pooling)
        return arrays[f"{pooling}.rows"], arrays[f"{pooling}.values"]

    def stats(self, layer: str, pooling: str | None = None) -> pd.DataFrame:
        """One row a feature: feature, count and nonfinite (images), mean, std, min, max, firing_rate (share above 0),
        q01 .. q99, dead.

        Quantiles are of a uniform sample of up to 4,096 images. A feature is dead when its values span less than a
        thousandth of what the layer's features span at the median; or less than a tenth and are never above 0, like a
        GELU unit that no image switches on: its top images are only those that it is most switched off by.
        """
        pooling, arrays = self._pooling(pooling), self._arrays(self._layer(layer), "stats")
        columns = ("count", "nonfinite", "mean", "std", "min", "max", "firing_rate")
        frame = pd.DataFrame({name: arrays[f"{pooling}.{name}"] for name in columns})
        frame.insert(0, "feature", np.arange(len(frame)))
        for level, values in zip(QUANTILES, arrays[f"{pooling}.quantiles"], strict=True):
            frame[f"q{round(level * 100):02d}"] = values
        span = frame["max"] - frame["min"]
        never_on = (frame["max"] <= 0) & (span < TAIL_SPAN * span.median())
        frame["dead"] = ~(span > DEAD_SPAN * span.median()) | never_on
        return frame

    def search(self, layer: str, direction: Sequence[float] | np.ndarray, k: int = 20) -> TopImages:
        """The images whose activations, pooled by the index's first pooling, have the largest inner product with a
        direction of the layer, float [f]. Activations that are not finite count as 0.

        Raises:
            IndexingError: The direction has another width, or the index was built without vectors.
            MissingFaissError: FAISS is not installed.
        """
        width = self.manifest.layers[self._layer(layer)]["width"]
        query = np.asarray(direction, dtype=np.float32)
        if query.shape != (width,):
            raise IndexingError(f"a direction of {layer} is {width} numbers, not shape {query.shape}")
        if not np.isfinite(query).all():
            raise IndexingError(
                f"a direction must be finite: {int((~np.isfinite(query)).sum())} of its numbers are not"
            )
        (values,), (rows,) = self._faiss(layer, "images").search(query[None], min(at_least_1(k), len(self.images)))
        order = np.lexsort((rows, -values))
        return TopImages(self._ids(rows[order]), values[order])

    def similar_images(self, id_: str, k: int = 20, layer: str | None = None) -> TopImages:
        """The images closest to one of the index by the cosine of their activations, each minus the layer's mean
        (which all images share and which would make them all alike). The image itself is not listed.

        Args:
            id_: An image id of the index.
            layer: By default the last of the index.
        """
        matches = np.flatnonzero(self.images["id"] == id_)
        if not len(matches):
            raise IndexingError(f"{id_!r} is not an image of {self.path}; see the ids in Index.images")
        layer = self.layers[-1] if layer is None else self._layer(layer)
        faiss_index = self._faiss(layer, "images")
        mean = np.nan_to_num(self.stats(layer)["mean"].to_numpy(np.float32))
        query = unit(faiss_index.reconstruct(int(matches[0]))[None] - mean)[0]
        cosines = np.empty(faiss_index.ntotal, np.float32)
        for start in range(0, faiss_index.ntotal, 65_536):
            block = faiss_index.reconstruct_n(start, min(65_536, faiss_index.ntotal - start))
            cosines[start : start + len(block)] = unit(block - mean) @ query
        cosines[matches[0]] = -np.inf
        rows = np.argsort(-cosines, kind="stable")[: min(at_least_1(k), len(cosines) - 1)]
        return TopImages(self._ids(rows), cosines[rows])

    def neighbours(self, feature: FeatureId | str, k: int = 10) -> list[tuple[FeatureId, float]]:
        """The features of the same layer whose activations correlate most with a feature's, over a sample of at most
        1,024 images, with Pearson's r; none for a feature that does not vary there.
        """
        feature = FeatureId.parse(feature)
        self._check_feature(feature)
        faiss_index = self._faiss(feature.layer, "features")
        query = faiss_index.reconstruct(feature.index)[None]
        if not query.any():
            return []
        values, rows = faiss_index.search(query, min(at_least_1(k) + 1, faiss_index.ntotal))
        pairs = zip(rows[0].tolist(), values[0].tolist(), strict=True)
        return [(FeatureId(feature.layer, row), value) for row, value in pairs if row != feature.index][:k]

    def _read_arrays(self, layer: str, kind: str) -> dict[str, np.ndarray]:
        with reading(layer_folder(self.path, layer) / f"{kind}.safetensors") as path:
            return load_file(path)

    def _faiss(self, layer: str, kind: str) -> Any:
        with reading(layer_folder(self.path, self._layer(layer)) / f"{kind}.faiss") as path:
            return read_flat(path)

    def _ids(self, rows: np.ndarray) -> tuple[str, ...]:
        return tuple(self.images["id"].to_numpy()[rows])

    def _layer(self, layer: str) -> str:
        if layer not in self.manifest.layers:
            raise IndexingError(f"{self.path} has no layer {layer!r}; it has {', '.join(self.layers)}")
        return layer

    def _pooling(self, pooling: str | None) -> str:
        if pooling is None:
            return self.manifest.pooling[0]
        if pooling not in self.manifest.pooling:
            raise IndexingError(f"{self.path} has no pooling {pooling!r}; it has {', '.join(self.manifest.pooling)}")
        return pooling

    def _check_feature(self, feature: FeatureId) -> None:
        width = self.manifest.layers[self._layer(feature.layer)]["width"]
        if feature.index >= width:
            raise IndexingError(f"{feature}: {feature.layer} has features 0 to {width - 1}")


def open_index(path: str | os.PathLike[str]) -> Index:
    """Open a finished index.

    Raises:
        IndexingError: There is none, it is of another version, or files that its manifest lists are missing.
    """
    path = Path(path).resolve()
    manifest = Manifest.read(path)
    missing = [name for name in manifest.files if not (path / name).is_file()]
    if missing:
        raise IndexingError(f"{path} is damaged: {', '.join(missing[:3])} missing; rebuild it")
    return Index(path, manifest)
