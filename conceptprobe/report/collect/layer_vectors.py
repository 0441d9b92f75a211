"""Histograms and neighbours of features, from the activations that an index keeps of every image."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from conceptprobe.indexing import Index
from conceptprobe.indexing.activations import image_vectors
from conceptprobe.indexing.reducers.sample import sampled_rows
from conceptprobe.indexing.storage.faiss_files import read_faiss
from conceptprobe.indexing.storage.layout import layer_folder, reading

BINS = 40
LEAST_IMAGES = 1024
VALUES_READ = 2**26
FEATURES_AT_ONCE = 256
NEIGHBOURS = 10


@dataclass(frozen=True, eq=False)
class Histograms:
    """Histograms of the activations of each feature.

    Attributes:
        images: The number of images that were counted.
        counts_fb: Counts in equal bins from the least to the largest activation of each feature, int64 [f,b].
    """

    images: int
    counts_fb: np.ndarray


def count_activations(index: Index, layer: str, stats: pd.DataFrame) -> Histograms:
    """Count activations in bins. Large indices are sampled: 2**26 values, but at least 1,024 images.

    Args:
        index: An index with vectors.
        layer: A layer of it.
        stats: The statistics of the layer for the first pooling of the index, the pooling of its vectors.
    """
    width = len(stats)
    ids = pa.chunked_array([pa.array(index.images["id"], pa.string())])
    rows = sampled_rows(ids, max(LEAST_IMAGES, VALUES_READ // width))
    values_nf = image_vectors(index, layer, rows)
    low_f, high_f = (stats[name].fillna(0).to_numpy(np.float64) for name in ("min", "max"))
    span_f = high_f - low_f
    scale_f = np.divide(BINS, span_f, out=np.zeros(width), where=span_f > 0)
    counts = np.zeros((width, BINS), np.int64)
    for start in range(0, width, FEATURES_AT_ONCE):
        features = slice(start, min(start + FEATURES_AT_ONCE, width))
        size = features.stop - start
        bin_nf = values_nf[:, features].astype(np.float64)
        bin_nf -= low_f[features]
        bin_nf *= scale_f[features]
        np.clip(bin_nf, 0, BINS - 1, out=bin_nf)
        flat = (bin_nf.astype(np.int32) + np.arange(size, dtype=np.int32) * BINS).ravel()
        counts[features] = np.bincount(flat, minlength=size * BINS).reshape(size, BINS)
    return Histograms(len(rows), counts)


def find_neighbours(index: Index, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """The neighbours of every feature of a layer, as `Index.neighbours` finds them.

    Returns:
        Features, int64 [f,10], -1 past the end; and Pearson's r with each, float32 [f,10].
    """
    with reading(layer_folder(index.path, layer) / "features.faiss") as path:
        stored = read_faiss(path)
    vectors_fn = stored.reconstruct_n(0, stored.ntotal)
    width, most = stored.ntotal, min(NEIGHBOURS + 1, stored.ntotal)
    r_fk, near_fk = stored.search(vectors_fn, most)
    # Drop each feature from its list of neighbours. If others tie with it, it is not always the first.
    order = np.argsort(near_fk == np.arange(width)[:, None], axis=1, kind="stable")[:, : most - 1]
    features, r = np.take_along_axis(near_fk, order, 1), np.take_along_axis(r_fk, order, 1)
    return np.where(vectors_fn.any(1)[:, None], features, -1)[:, :NEIGHBOURS], r[:, :NEIGHBOURS]
