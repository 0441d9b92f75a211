"""Two halves of the images: a name is tested on images that did not choose it, or else its p-value would be void."""

import hashlib
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata


@dataclass(frozen=True)
class Halves:
    """Two halves of the images of an index.

    Attributes:
        chooses_n: Whether an image is in the half that chooses names, bool [n].
        tests: Rows of the images in the other half that test names, int64, ascending.
    """

    chooses_n: np.ndarray
    tests: np.ndarray


def split_images(contents: np.ndarray, seed: int, limit: int) -> Halves:
    """Split images by a hash, so that the half of an image depends on no other image.

    Args:
        contents: Texts that identify images, such as their content hashes; equal texts are in the same half.
        seed: The seed of the split.
        limit: The largest number of test images; of more images, those with the smallest hashes are kept.
    """
    hashes = (hashlib.sha256(f"{seed}:{content}".encode()).digest()[:8] for content in contents)
    keys = np.fromiter((int.from_bytes(digest, "big") for digest in hashes), np.uint64, len(contents))
    chooses_n = keys < 2**63
    others = np.flatnonzero(~chooses_n)
    return Halves(chooses_n, np.sort(others[np.argsort(keys[others], kind="stable")[:limit]]))


def restrict(rows_fk: np.ndarray, keep_n: np.ndarray) -> np.ndarray:
    """The images of each list that are kept, in their order; -1 past the end."""
    kept = (rows_fk >= 0) & keep_n[rows_fk]
    order = np.argsort(~kept, axis=1, kind="stable")
    return np.take_along_axis(np.where(kept, rows_fk, -1), order, 1)


@dataclass(frozen=True)
class Separation:
    """How well the activations of a feature separate some images from all others.

    Attributes:
        auc: The probability that the feature is more active on one of these images than on another one; 0.5 for no
            relation.
        p: The one-sided p-value of Mann and Whitney's (1947) test.
    """

    auc: float
    p: float


class Ranks:
    """The activations of every feature on the test images, ranked once for any number of tests.

    Args:
        values_nf: The activations, float32 [n,f], finite.
    """

    def __init__(self, values_nf: np.ndarray) -> None:
        self.ranks_fn = np.ascontiguousarray(values_nf.T)  # ranks and their halves are exact in float32
        self.ties_f = np.empty(len(self.ranks_fn))
        for feature, values in enumerate(self.ranks_fn):
            self.ranks_fn[feature] = rankdata(values)
            _, counts = np.unique(self.ranks_fn[feature], return_counts=True)
            self.ties_f[feature] = (counts.astype(np.float64) ** 3 - counts).sum()

    def separate(self, feature: int, images: np.ndarray) -> Separation:
        """Compare some of the test images with all others.

        The p-value is the normal approximation, corrected for continuity and ties, as in scipy's `mannwhitneyu`. With
        two to ten images its tail is heavier than the exact one, so it abstains rather too often.

        Args:
            feature: The feature whose activations are compared.
            images: Positions among the test images; at least one, and not all.
        """
        ranks_n = self.ranks_fn[feature]
        count, total = len(images), len(ranks_n)
        others = total - count
        wins = float(ranks_n[images].sum(dtype=np.float64)) - count * (count + 1) / 2
        variance = count * others / 12 * (total + 1 - self.ties_f[feature] / (total * (total - 1)))
        z = (wins - count * others / 2 - 0.5) / np.sqrt(variance) if variance > 0 else 0.0
        return Separation(wins / (count * others), float(norm.sf(z)))
