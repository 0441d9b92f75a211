"""Lists of images that look alike, as a feature without meaning could list them."""

from dataclasses import dataclass

import numpy as np

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.statistics.coherence import mean_cosine

CHUNK = 1 << 23  # scores held at once


@dataclass(frozen=True)
class LookAlikes:
    """A bank of lists, in the order of how alike their images look.

    Attributes:
        rows_dk: Rows of images, best first, int64 [d,k].
        coherence_d: Mean cosine of the pairs of each list, ascending, float64 [d].
    """

    rows_dk: np.ndarray
    coherence_d: np.ndarray

    def __len__(self) -> int:
        return len(self.rows_dk)

    def matched(self, coherence_f: np.ndarray, count: int = 1000) -> np.ndarray:
        """Find the lists of the bank that match each feature's coherence.

        Half of the matches look less alike than the feature's images, half more. A feature whose images look more alike
        than most of the bank gets the most alike lists.

        Args:
            coherence_f: `mean_cosine` of the features' lists in the space of the descriptors; NaN matches any list.
            count: Number of matches of each feature.

        Returns:
            The first match of each feature, int64 [f]: the matches are the lists from there, `count` in all.
        """
        count = min(count, len(self))
        at = np.searchsorted(self.coherence_d, coherence_f)
        return np.clip(at - count // 2, 0, len(self) - count)


def draw_look_alikes(descriptors_nv: np.ndarray, k: int, draws: int, generator: np.random.Generator) -> LookAlikes:
    """Draw lists of k images that look alike, from hardly alike to as alike as possible.

    Half of the lists are neighbourhoods of random images, half the top images of random directions. The scores of each
    list are mixed with noise by an angle that is drawn between no noise and only noise.

    Args:
        descriptors_nv: What images look like, rows of length one, float32 [n,v].
        k: Length of the lists.
        draws: Number of lists.
        generator: The generator.

    Raises:
        ConceptError: There are fewer than k images, or k is less than 2.
    """
    images, width = descriptors_nv.shape
    if not 2 <= k <= images:
        raise ConceptError(f"lists of {k} images cannot be drawn from {images} images: k must be from 2 to {images}")
    rows_dk = np.empty((draws, k), np.int64)
    step = max(1, CHUNK // images)
    for start in range(0, draws, step):
        count = min(step, draws - start)
        queries = np.empty((count, width), np.float32)
        anchors = (start + np.arange(count)) % 2 == 0
        queries[anchors] = descriptors_nv[generator.integers(images, size=anchors.sum())]
        queries[~anchors] = generator.standard_normal((count - anchors.sum(), width), np.float32)
        scores = queries @ descriptors_nv.T
        scores -= scores.mean(1, keepdims=True)
        scores /= scores.std(1, keepdims=True)
        angles = generator.uniform(0, np.pi / 2, (count, 1)).astype(np.float32)
        scores *= np.cos(angles)
        scores += np.sin(angles) * generator.standard_normal(scores.shape, np.float32)
        top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, top, 1), axis=1, kind="stable")
        rows_dk[start : start + count] = np.take_along_axis(top, order, 1)
    coherence_d = mean_cosine(descriptors_nv, rows_dk)
    order = np.argsort(coherence_d, kind="stable")
    return LookAlikes(rows_dk[order], coherence_d[order])
