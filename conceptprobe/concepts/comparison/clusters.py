"""Clusters of redundant features: features that fire on the same images."""

import numpy as np
from scipy import sparse

THRESHOLD = 0.7
CHUNK = 2048


def redundancy_clusters(vectors_fn: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """The cluster of each feature, int64 [f], numbered in the order of their first features.

    Every cluster has a centre that all its members correlate with at `threshold` or more: the feature with the most
    such neighbours becomes a centre, those of its neighbours that are in no cluster yet join it, and so on (Butina
    1999, doi 10.1021/ci9803381). Unlike connected components, this cannot chain most of a layer into one cluster.

    Args:
        vectors_fn: Centred activations of length one (see `feature_vectors`); zero vectors are clusters of one.
        threshold: Pearson's r.
    """
    near = neighbours(vectors_fn, threshold)
    degree = np.diff(near.indptr)
    cluster = np.full(len(vectors_fn), -1)
    for centre in np.lexsort((np.arange(len(degree)), -degree)).tolist():
        if cluster[centre] < 0:
            members = near.indices[near.indptr[centre] : near.indptr[centre + 1]]
            cluster[members[cluster[members] < 0]] = centre
            cluster[centre] = centre
    _, first, number = np.unique(cluster, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number]


def neighbours(vectors_fn: np.ndarray, threshold: float) -> sparse.csr_array:
    """Which pairs of features correlate at the threshold or more, bool CSR [f,f]."""
    blocks = []
    for start in range(0, len(vectors_fn), CHUNK):
        blocks.append(sparse.csr_array(vectors_fn[start : start + CHUNK] @ vectors_fn.T >= threshold))
    return sparse.csr_array(sparse.vstack(blocks))
