"""Histograms and neighbours of features, from the activations that an index keeps of every image."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from conceptprobe.indexing import Index

BINS = 40
LEAST_IMAGES = 1024
VALUES_READ = 2**26
FEATURES_AT_ONCE = 256


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
    rows = index.sampled_rows(max(LEAST_IMAGES, VALUES_READ // width))
    values_nf = index.activations(layer, rows)
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
