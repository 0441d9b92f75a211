"""What a report takes from the activations that an index keeps of every image."""

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
    """How the activations of each feature are spread.

    Attributes:
        images: How many images were counted.
        counts_fb: In equal bins from the least to the largest activation of each feature, int64 [f,b].
    """

    images: int
    counts_fb: np.ndarray


def count_activations(index: Index, layer: str, stats: pd.DataFrame) -> Histograms:
    """Count activations in bins, of a sample of the images where they are many (2**26 values, or 1,024 images).

    Args:
        stats: Of the layer, for the first pooling of the index, which its vectors are of.
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
        part = slice(start, min(start + FEATURES_AT_ONCE, width))
        size = part.stop - start
        bin_nf = values_nf[:, part].astype(np.float64)
        bin_nf -= low_f[part]
        bin_nf *= scale_f[part]
        np.clip(bin_nf, 0, BINS - 1, out=bin_nf)
        flat = (bin_nf.astype(np.int32) + np.arange(size, dtype=np.int32) * BINS).ravel()
        counts[part] = np.bincount(flat, minlength=size * BINS).reshape(size, BINS)
    return Histograms(len(rows), counts)


def find_neighbours(index: Index, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """What `Index.neighbours` says of every feature of a layer: features int64 [f,10], -1 past the end, and Pearson's
    r float32 [f,10]."""
    with reading(layer_folder(index.path, layer) / "features.faiss") as path:
        stored = read_faiss(path)
    vectors_fn = stored.reconstruct_n(0, stored.ntotal)
    width, most = stored.ntotal, min(NEIGHBOURS + 1, stored.ntotal)
    values, found = stored.search(vectors_fn, most)
    # Of each list its own feature goes out; where others tie with it, that may not be the first.
    order = np.argsort(found == np.arange(width)[:, None], axis=1, kind="stable")[:, : most - 1]
    features, r = np.take_along_axis(found, order, 1), np.take_along_axis(values, order, 1)
    return np.where(vectors_fn.any(1)[:, None], features, -1)[:, :NEIGHBOURS], r[:, :NEIGHBOURS]
