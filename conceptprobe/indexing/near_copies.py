"""Images that show the same picture: copies, recompressed or mirrored copies, neighbouring frames of a video.

Such images are not independent evidence of what a feature responds to, so statistics count each group as one unit.
Two images are near copies if their thumbnails of 12 x 12 cells correlate at .97 or more, as they are or mirrored, and
differ by at most 40 of 255 grey levels in mean brightness. Groups are the connected components of these pairs, so they
do not depend on the order of the images.
"""

from collections.abc import Iterator

import numpy as np
from PIL import Image
from scipy import sparse
from scipy.sparse.csgraph import connected_components

SIDE = 12
CORRELATION = 0.97
BRIGHTNESS = 40
FLAT = 4  # grey levels: a smaller contrast counts as this much, so that noise on a blank image is no pattern
COMPARE_ALL = 5_000
CELLS_PER_ROOT = 4
CELLS_OF_EACH = 4
CHUNK = 2_048
ROUNDING = 1e-4


def thumbnail(image: Image.Image) -> np.ndarray:
    """The mean colours of 12 x 12 cells, uint8 [12,12,3]."""
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BOX))


def group_near_copies(thumbnails_nhwc: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """The group of near copies of each image, named by the first row of the group.

    All pairs of up to 5,000 images are compared. Of more, an image is compared with those that share one of its four
    nearest of 4 sqrt(n) random images: time grows with n^1.5, and a pair may be missed.

    Args:
        thumbnails_nhwc: Thumbnails of the images, uint8 [n,12,12,3].
        seed: Of the choice of random images.

    Returns:
        int64 [n]; the image's own row where it has no copy before it.
    """
    images = len(thumbnails_nhwc)
    pairs_2p = [np.empty((2, 0), np.int64)]
    brightness_n = thumbnails_nhwc.reshape(images, -1).mean(1)
    for first, second in _alike(thumbnails_nhwc, seed):
        near = np.abs(brightness_n[first] - brightness_n[second]) <= BRIGHTNESS
        pairs_2p.append(np.stack([first[near], second[near]]))
    return group_pairs(np.concatenate(pairs_2p, axis=1), images)


def group_pairs(pairs_2p: np.ndarray, images: int) -> np.ndarray:
    """Connected components of pairs of rows [2,p], each named by its first row, int64 [n]."""
    graph = sparse.coo_array((np.ones(pairs_2p.shape[1], bool), tuple(pairs_2p)), shape=(images, images))
    count, component_n = connected_components(graph, directed=False)
    first_c = np.full(count, images)
    np.minimum.at(first_c, component_n, np.arange(images))
    return first_c[component_n]


def _alike(thumbnails_nhwc: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of rows whose patterns correlate, the second image as it is or mirrored; some pairs more than once."""
    images = len(thumbnails_nhwc)
    if images <= COMPARE_ALL:
        rows = np.arange(images)
        yield from _alike_within(thumbnails_nhwc, rows, rows)
        return
    chosen = np.random.default_rng(seed).choice(images, int(CELLS_PER_ROOT * images**0.5), replace=False)
    centres_cd = _patterns(thumbnails_nhwc[chosen])
    straight, mirrored = (_rows_by_cell(view, centres_cd) for view in (thumbnails_nhwc, _mirror(thumbnails_nhwc)))
    for rows, mirrored_rows in zip(straight, mirrored, strict=True):
        yield from _alike_within(thumbnails_nhwc, rows, mirrored_rows)


def _rows_by_cell(thumbnails_nhwc: np.ndarray, centres_cd: np.ndarray) -> list[np.ndarray]:
    """Rows of the images that have each centre among their nearest four."""
    nearest = []
    for start in range(0, len(thumbnails_nhwc), CHUNK):
        products_nc = _patterns(thumbnails_nhwc[start : start + CHUNK]) @ centres_cd.T
        nearest.append(np.argpartition(-products_nc, CELLS_OF_EACH - 1, axis=1)[:, :CELLS_OF_EACH])
    cell_m = np.concatenate(nearest).ravel()
    order = np.argsort(cell_m, kind="stable")
    return np.split(order // CELLS_OF_EACH, np.cumsum(np.bincount(cell_m, minlength=len(centres_cd)))[:-1])


def _alike_within(
    thumbnails_nhwc: np.ndarray, rows: np.ndarray, mirrored_rows: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    limit = 2 * (1 - CORRELATION)
    patterns_nd = _patterns(thumbnails_nhwc[rows])
    lengths_n = np.square(patterns_nd).sum(1)
    for others, view in ((rows, thumbnails_nhwc), (mirrored_rows, _mirror(thumbnails_nhwc))):
        for start in range(0, len(others), CHUNK):
            chunk = others[start : start + CHUNK]
            others_md = _patterns(view[chunk])
            distances_mn = np.square(others_md).sum(1)[:, None] + lengths_n - 2 * others_md @ patterns_nd.T
            other, one = np.nonzero(distances_mn <= limit + ROUNDING)
            other, one = other[rows[one] < chunk[other]], one[rows[one] < chunk[other]]
            # Matrix products round differently on other numbers of threads: what decides is computed again.
            exact = np.square(others_md[other].astype(np.float64) - patterns_nd[one]).sum(1) <= limit
            yield rows[one[exact]], chunk[other[exact]]


def _mirror(thumbnails_nhwc: np.ndarray) -> np.ndarray:
    return thumbnails_nhwc[:, :, ::-1]


def _patterns(thumbnails_nhwc: np.ndarray) -> np.ndarray:
    """Thumbnails without their mean brightness, of length one or, where they are flat, shorter; float32 [n,432]."""
    pixels_nd = thumbnails_nhwc.reshape(len(thumbnails_nhwc), -1).astype(np.float32)
    pixels_nd -= pixels_nd.mean(1, keepdims=True)
    lengths_n = np.linalg.norm(pixels_nd, axis=1, keepdims=True)
    return pixels_nd / np.maximum(lengths_n, np.float32(FLAT * pixels_nd.shape[1] ** 0.5))
