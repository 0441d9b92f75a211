"""How alike the images of a feature are in a space of embeddings.

Clarity and redundancy follow SemanticLens (Dreyer et al. 2025, arXiv 2501.05398; `scores.py` of
semanticlens 0.2.1), monosemanticity Pach et al. 2025 (arXiv 2504.02821).
"""

from collections.abc import Iterable

import numpy as np

from conceptprobe.indexing.storage.faiss_files import unit

CHUNK = 1 << 22  # floats gathered at once


def mean_cosine(units_nd: np.ndarray, rows_fk: np.ndarray) -> np.ndarray:
    """The mean cosine of the pairs in each list.

    In the space of an encoder this is the clarity of a feature, n/(n-1) (||mean e||^2 - 1/n).

    Args:
        units_nd: Vectors of length one, float [n,d].
        rows_fk: Lists of rows, int [f,k]; -1 past their ends.

    Returns:
        float64 [f], from -1/(n-1) to 1; NaN for lists shorter than two.
    """
    sums_f, lengths_f = np.empty(len(rows_fk)), (rows_fk >= 0).sum(1)
    step = max(1, CHUNK // max(1, rows_fk.shape[1] * units_nd.shape[1]))
    for start in range(0, len(rows_fk), step):
        rows = rows_fk[start : start + step]
        gathered = np.where((rows >= 0)[..., None], units_nd[rows], 0)
        total = gathered.sum(1, dtype=np.float64)
        squares = np.einsum("fkd,fkd->f", gathered, gathered, dtype=np.float64)
        sums_f[start : start + step] = np.einsum("fd,fd->f", total, total) - squares
    pairs = lengths_f * (lengths_f - 1.0)
    cosine_f: np.ndarray = np.divide(sums_f, pairs, out=np.full(len(rows_fk), np.nan), where=pairs > 0)
    return cosine_f


def mean_vectors(units_nd: np.ndarray, rows_fk: np.ndarray) -> np.ndarray:
    """The mean of each list's vectors, float64 [f,d]; NaN for an empty list."""
    means_fd = np.full((len(rows_fk), units_nd.shape[1]), np.nan)
    for mean_d, rows in zip(means_fd, rows_fk, strict=True):
        if (inside := rows >= 0).any():
            mean_d[:] = units_nd[rows[inside]].mean(0, dtype=np.float64)
    return means_fd


def redundancy(units_nd: np.ndarray, rows_fk: np.ndarray) -> np.ndarray:
    """The largest cosine of each feature's mean vector with that of another feature.

    The redundancy of a layer is the mean over its features.

    Args:
        units_nd: Vectors of length one, float [n,d].
        rows_fk: Lists of rows, int [f,k]; -1 past their ends.

    Returns:
        float64 [f]; NaN for an empty list, and where there is only one list.
    """
    means_fd = mean_vectors(units_nd, rows_fk)
    some = np.flatnonzero(np.isfinite(means_fd).all(1))
    directions = unit(means_fd[some])
    result = np.full(len(rows_fk), np.nan)
    if len(some) < 2:
        return result
    step = max(1, CHUNK // len(some))
    for start in range(0, len(some), step):
        cosines = directions[start : start + step] @ directions.T
        cosines[np.arange(len(cosines)), start + np.arange(len(cosines))] = -np.inf
        result[some[start : start + step]] = cosines.max(1)
    return result


def monosemanticity(units_nd: np.ndarray, blocks: Iterable[np.ndarray]) -> np.ndarray:
    """The mean cosine of all pairs of images, weighted by the product of their activations of a feature.

    MS = sum_{n<m} a_n a_m cos(e_n, e_m) / sum_{n<m} a_n a_m, where a is scaled to 0 at the feature's least activation
    and to 1 at its greatest. It is computed as (||sum_n a_n e_n||^2 - sum a^2) / ((sum a)^2 - sum a^2) with the scaling
    after the sums, so that activations are read once and never all in memory.

    Args:
        units_nd: Vectors of length one of all images, float [n,d].
        blocks: Activations of successive images, float [b,f] each; n rows in all.

    Returns:
        float64 [f]; NaN for a feature that is constant, or that all images but one activate least.
    """
    at = 0
    sums_fd, sum_f, squares_f, low_f, high_f = (np.asarray(start) for start in (0.0, 0.0, 0.0, np.inf, -np.inf))
    for acts_bf in blocks:
        acts = acts_bf.astype(np.float64)
        sums_fd = sums_fd + acts.T @ units_nd[at : at + len(acts)].astype(np.float64)
        sum_f, squares_f = sum_f + acts.sum(0), squares_f + np.square(acts).sum(0)
        low_f, high_f = np.minimum(low_f, acts.min(0)), np.maximum(high_f, acts.max(0))
        at += len(acts)
    assert at == len(units_nd), f"{at} rows of activations for {len(units_nd)} images"
    span = np.where(high_f > low_f, high_f - low_f, np.nan)
    scaled_fd = (sums_fd - low_f[:, None] * units_nd.sum(0, dtype=np.float64)) / span[:, None]
    scaled_squares = (squares_f - 2 * low_f * sum_f + at * low_f**2) / span**2
    pairs = ((sum_f - at * low_f) / span) ** 2 - scaled_squares
    with np.errstate(invalid="ignore"):
        weighted_f: np.ndarray = np.where(pairs > 1e-9, np.square(scaled_fd).sum(1) - scaled_squares, np.nan) / pairs
    return weighted_f
