"""A uniform sample of the images with all their values: what needs more of an image than a running sum is made of it.

Which images are in it is decided by a hash of their ids, so it is the same for any order, shards and workers, and the
sample of a union is the best of the samples of its parts.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch

from conceptprobe.indexing.reducers.topk import EMPTY, pack, unpack

SAMPLE_SIZE = 32_768
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
HIGH = 0.95
DECILES = 10
STRIP_IMAGES = 8
_HASHED_IDS = 65_536


def sampled_rows(ids: pa.ChunkedArray, size: int = SAMPLE_SIZE) -> np.ndarray:
    """Rows of the `size` ids with the smallest hash, int64, ascending."""
    if len(ids) <= size:
        return np.arange(len(ids))
    digests = np.empty(len(ids), np.uint64)
    for start in range(0, len(ids), _HASHED_IDS):
        for row, id_ in enumerate(ids.slice(start, _HASHED_IDS).to_pylist(), start):
            digests[row] = int.from_bytes(hashlib.sha256(id_.encode()).digest()[:8], "big")
    return np.sort(np.argsort(digests, kind="stable")[:size])


@dataclass(frozen=True)
class Summary:
    """What a sample tells of every feature's finite values.

    Attributes:
        quantiles_qf: QUANTILES, float32, interpolated linearly.
        high_rate_f: Share of the images above a threshold, float64.
        strip_fds: Up to STRIP_IMAGES sampled images of each tenth of the feature's ranked values, from the lowest tenth
            to the highest, in each by value descending: places in the sample, int64 [f,DECILES,STRIP_IMAGES]; -1 where
            a tenth has fewer.
        strip_values_fds: Their values, float32; NaN where there is none.
    """

    quantiles_qf: np.ndarray
    high_rate_f: np.ndarray
    strip_fds: np.ndarray
    strip_values_fds: np.ndarray


def summarise(values_nf: np.ndarray, high: float, draws_fds: np.ndarray) -> Summary:
    """Summarise the sampled values, float32 [n,f], of some features.

    They are exact where every image is sampled, that is up to SAMPLE_SIZE images. Of more images, the sample's
    quantiles of one feature are, all at once and whatever its distribution, within 1 % in rank of those of all images
    with probability 99.7 % or more (Massart 1990, doi 10.1214/aop/1176990746: 2 exp(-2 * 32,768 * 0.01^2) = 0.0029;
    sampling without replacement is no worse), and the standard error in rank of any one is at most 0.28 %.

    Args:
        values_nf: float32 [n,f].
        high: The threshold of `high_rate_f`.
        draws_fds: Numbers from 0 up to 1 that decide which images are taken: a tenth is cut into STRIP_IMAGES equal
            pieces of the ranking, and one image is drawn of each.
    """
    features = values_nf.shape[1]
    # Sorted keys are values with their place in the sample; what is not finite has the smallest key.
    places_n = torch.arange(len(values_nf), device="cpu")
    keys_fn = pack(torch.from_numpy(values_nf).T.contiguous(), places_n).numpy()
    keys_fn.sort(axis=1)
    count_f = (keys_fn != EMPTY).sum(1)
    skip_f = len(values_nf) - count_f

    def at(rank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values and places by rank among a feature's finite values, [f,...]; NaN and -1 where it has none."""
        shape = rank.shape
        flat = np.clip(rank.reshape(features, -1) + skip_f[:, None], 0, len(values_nf) - 1)
        keys = np.take_along_axis(keys_fn, flat, 1).reshape(shape)
        values, places = unpack(torch.from_numpy(np.where(rank < 0, EMPTY, keys)))
        return values.numpy(), places.numpy()

    rank_fq = np.array(QUANTILES) * (count_f[:, None] - 1)
    below = np.floor(rank_fq).astype(np.int64)
    low, upper = at(below)[0].astype(np.float64), at(np.minimum(below + 1, count_f[:, None] - 1))[0]
    quantiles_fq = low + (rank_fq - below) * (upper - low)

    edges_fd = np.arange(DECILES + 1) * count_f[:, None] // DECILES
    first_fd, size_fd = edges_fd[:, :-1, None], np.diff(edges_fd)[:, :, None]
    place_s = np.arange(STRIP_IMAGES)
    start, end = ((STRIP_IMAGES - place_s - back) * size_fd // STRIP_IMAGES for back in (1, 0))
    drawn = first_fd + start + (draws_fds * (end - start)).astype(np.int64)
    every = np.where(place_s < size_fd, first_fd + size_fd - 1 - place_s, -1)
    strip_values, strip = at(np.where(size_fd < STRIP_IMAGES, every, drawn))
    with np.errstate(invalid="ignore"):
        high_rate = np.where(count_f > 0, (values_nf > high).sum(0, where=np.isfinite(values_nf)), np.nan) / count_f
    return Summary(quantiles_fq.T.astype(np.float32), high_rate, strip, strip_values)
