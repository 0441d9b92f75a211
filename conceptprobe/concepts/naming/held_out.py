"""Names are chosen on one half of the images and tested on the other: a p-value on the images that chose it is void."""

import hashlib
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, rankdata


@dataclass(frozen=True)
class Halves:
    """Two halves of the images of an index.

    Attributes:
        chooses_n: Whether an image is in the half that names are chosen on, bool [n].
        tests: Rows of the other half's images that names are tested on, int64, ascending.
    """

    chooses_n: np.ndarray
    tests: np.ndarray


def split_images(contents: np.ndarray, seed: int, most: int) -> Halves:
    """Halves decided by a hash, so that an image's half depends on no other image.

    Args:
        contents: What tells images apart, such as their content hashes: equal ones lie in the same half.
        most: Images that names are tested on; of more, those with the smallest hashes.
    """
    hashes = (hashlib.sha256(f"{seed}:{content}".encode()).digest()[:8] for content in contents)
    keys = np.fromiter((int.from_bytes(digest, "big") for digest in hashes), np.uint64, len(contents))
    chooses_n = keys < 2**63
    others = np.flatnonzero(~chooses_n)
    return Halves(chooses_n, np.sort(others[np.argsort(keys[others], kind="stable")[:most]]))


def restrict(rows_fk: np.ndarray, keep_n: np.ndarray) -> np.ndarray:
    """Lists without the images that are not kept, in their order; -1 past the end."""
    kept = (rows_fk >= 0) & keep_n[rows_fk]
    order = np.argsort(~kept, axis=1, kind="stable")
    return np.take_along_axis(np.where(kept, rows_fk, -1), order, 1)


@dataclass(frozen=True)
class Separation:
    """How well a feature tells some images from the others.

    Attributes:
        auc: The chance that it is more active on one of them than on another image, 0.5 for no relation.
        p: One-sided, of Mann and Whitney's (1947) test that it is not.
    """

    auc: float
    p: float


class Ranks:
    """Every feature's activations on the test images, ranked once for any number of tests.

    Args:
        values_nf: float32 [n,f], finite.
    """

    def __init__(self, values_nf: np.ndarray) -> None:
        self.ranks_fn = np.ascontiguousarray(values_nf.T)  # ranks and their halves are exact in float32
        self.ties_f = np.empty(len(self.ranks_fn))
        for feature, values in enumerate(self.ranks_fn):
            self.ranks_fn[feature] = rankdata(values)
            _, counts = np.unique(self.ranks_fn[feature], return_counts=True)
            self.ties_f[feature] = (counts.astype(np.float64) ** 3 - counts).sum()

    def separate(self, feature: int, places: np.ndarray) -> Separation:
        """Compare the test images at `places`, which must be some but not all, with all the others.

        The normal approximation with continuity and ties corrected, as scipy's `mannwhitneyu` has it. With two to ten
        images its tail is heavier than the exact one, so it errs to the side of chance.
        """
        ranks_n = self.ranks_fn[feature]
        few, all_ = len(places), len(ranks_n)
        many = all_ - few
        wins = float(ranks_n[places].sum(dtype=np.float64)) - few * (few + 1) / 2
        spread = few * many / 12 * (all_ + 1 - self.ties_f[feature] / (all_ * (all_ - 1)))
        z = (wins - few * many / 2 - 0.5) / np.sqrt(spread) if spread > 0 else 0.0
        return Separation(wins / (few * many), float(norm.sf(z)))
