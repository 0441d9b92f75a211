"""What lists of images that mean nothing score: random lists, and lists that favour the images of other lists."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.enrichment import Enrichment

DRAWS = 100_000
DRAWS_SHORT = 5_000
FOLDS = 4
LISTS_AT_ONCE = 8_192
LEAST_LISTS = 20
FLOOR = 0.01
TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Null:
    """The largest log-likelihood ratios of lists that mean nothing.

    Attributes:
        llr: By the length of the lists, ascending, float64 [d].
    """

    llr: Mapping[int, np.ndarray]

    def p_values(self, llr_f: np.ndarray, k: int) -> np.ndarray:
        """(1 + draws at least as large) / (1 + draws), float64 [f] (Phipson & Smyth 2010)."""
        drawn = self.llr[k]
        return (1 + len(drawn) - np.searchsorted(drawn, llr_f - TOLERANCE)) / (1 + len(drawn))


@dataclass(frozen=True, eq=False)
class Nulls:
    """The nulls that a layer's features are held against.

    Attributes:
        k: Length of the lists that the verdict is about.
        random: Every image equally likely; the same for all features.
        hub: One for each fold of the features: images as likely as the lists of the other folds hold them.
        fold_f: The fold of each feature, int64 [f].
    """

    k: int
    random: Null
    hub: Sequence[Null]
    fold_f: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Lengths of lists that p-values can be had for, ascending."""
        return np.array(sorted(self.random.llr))

    def p_random(self, llr_f: np.ndarray, k: int) -> np.ndarray:
        """p-values of every feature against random lists of length k, float64 [f]."""
        return self.random.p_values(llr_f, k)

    def p_hub(self, llr_f: np.ndarray, k: int) -> np.ndarray:
        """p-values of every feature against lists that favour the images of other features' lists, float64 [f]."""
        result = np.ones(len(llr_f))
        for fold, null in enumerate(self.hub):
            of_fold = self.fold_f == fold
            result[of_fold] = null.p_values(llr_f[of_fold], k)
        return result


def draw_lists(
    rng: Generator, draws: int, k: int, images: int, weights_n: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Lists of k different images, int64 [d,k] a piece, by successive sampling: each next image is drawn with
    probability proportional to its weight among those that the list does not hold yet. Prefixes are such lists too.

    Every place of a list draws from all images until it has one that no earlier place has, which is that law exactly
    and costs O(log n) a draw.

    Raises:
        ConceptError: Fewer than k images can be drawn.
    """
    possible = images if weights_n is None else int(np.count_nonzero(weights_n))
    if not 1 <= k <= possible:
        raise ConceptError(f"lists of {k} different images cannot be drawn from {possible}")
    cumulative = None if weights_n is None else np.cumsum(weights_n, dtype=np.float64)

    def propose(count: int) -> np.ndarray:
        if cumulative is None:
            return rng.integers(images, size=count)
        return np.searchsorted(cumulative, rng.random(count) * cumulative[-1], side="right").clip(max=images - 1)

    for start in range(0, draws, LISTS_AT_ONCE):
        rows_dk = propose(min(LISTS_AT_ONCE, draws - start) * k).reshape(-1, k)
        open_d = np.arange(len(rows_dk))
        while len(open_d):
            again_dk = repeats(rows_dk[open_d])
            open_d, again_dk = open_d[again_dk.any(1)], again_dk[again_dk.any(1)]
            pending = rows_dk[open_d]
            pending[again_dk] = propose(int(again_dk.sum()))
            rows_dk[open_d] = pending
        yield rows_dk


def repeats(rows_dk: np.ndarray) -> np.ndarray:
    """Which places of each list hold an image that an earlier place holds, bool [d,k]."""
    order_dk = np.argsort(rows_dk, axis=1, kind="stable")
    ordered_dk = np.take_along_axis(rows_dk, order_dk, 1)
    result = np.zeros(rows_dk.shape, bool)
    np.put_along_axis(result[:, :], order_dk[:, 1:], ordered_dk[:, 1:] == ordered_dk[:, :-1], 1)
    return result


def image_weights(rows_fk: np.ndarray, images: int) -> np.ndarray:
    """How likely each image is in `draw_lists` for its share of lists to be that of some features, float64 [n].

    An image in the share s of the lists has weight -log(1 - s): successive sampling is a race of exponential times with
    these rates, and by time 1 an image has arrived with probability s. Shares are not shrunk towards their mean: that
    would take from every hub, and so from the null of a concept that is made of them, whereas noise in the shares only
    adds to it. Fewer than 20 lists say too little: all images are equally likely.

    Args:
        rows_fk: Their lists; -1 is nothing.
        images: How many there are.
    """
    lists = len(rows_fk)
    if lists < LEAST_LISTS:
        return np.ones(images)
    counts_n = np.bincount(rows_fk[rows_fk >= 0], minlength=images)
    floor = FLOOR * counts_n.mean()
    return -np.log1p(-(counts_n + floor) / (lists + 1 + floor))


def draw_null(
    concepts: ConceptSet,
    draws: Mapping[int, int],
    rng: Generator,
    weights_n: np.ndarray | None = None,
) -> Null:
    """Draw lists, and keep the largest log-likelihood ratio of each; shorter lists are prefixes of the longer.

    Args:
        concepts: Over the images that lists are drawn from.
        draws: How many lists of each length.
        rng: Where the draws come from.
        weights_n: How likely each image is, float [n]; by default equally.
    """
    enrichments = {k: Enrichment(concepts, k) for k in draws}
    found: dict[int, list[np.ndarray]] = {k: [] for k in draws}
    done = 0
    for rows_dk in draw_lists(rng, max(draws.values()), max(draws), concepts.members_nc.shape[0], weights_n):
        for k, enrichment in enrichments.items():
            if done < draws[k]:
                found[k].append(enrichment.best_llr(rows_dk[: draws[k] - done, :k]))
        done += len(rows_dk)
    return Null({k: np.sort(np.concatenate(parts)) for k, parts in found.items()})


def lengths_of(k: int) -> tuple[int, ...]:
    """Lengths up to k that what is left of a list is cut to: all up to 16, then a fifth longer each, and k."""
    lengths = [*range(2, min(k, 16) + 1)]
    while lengths and lengths[-1] < k:
        lengths.append(min(k, int(lengths[-1] * 1.2)))
    return tuple(lengths) or (k,)


def counts_of(k: int, draws: int) -> dict[int, int]:
    """How many lists of each length the nulls of lists of length k need."""
    return dict.fromkeys(lengths_of(k), min(draws, DRAWS_SHORT)) | {k: draws}


def draw_nulls(
    rows_fk: np.ndarray,
    concepts: ConceptSet,
    rng: Generator,
    *,
    live_f: np.ndarray | None = None,
    draws: int = DRAWS,
    folds: int = FOLDS,
    random: Null | None = None,
) -> Nulls:
    """Draw the nulls of a layer's features.

    Args:
        rows_fk: The features' lists, int64 [f,k].
        concepts: Over the images that lists are made of.
        rng: Where the draws come from.
        live_f: Whose lists count for how likely an image is, bool [f]; by default all.
        draws: Lists of length k for each null; shorter ones are 5,000 or as many.
        folds: Parts that the features are split into at random for the hub-weighted nulls, so that no feature's own
            list is in the weights of its null; fewer where there are fewer features.
        random: The null of random lists, where it was drawn before.
    """
    features, k = rows_fk.shape
    images = concepts.members_nc.shape[0]
    live_f = np.ones(features, bool) if live_f is None else live_f
    counts = counts_of(k, draws)
    fold_f = rng.permutation(features) % max(1, min(folds, int(live_f.sum())))
    first, *rngs = rng.spawn(2 + fold_f.max(initial=0))
    if random is None:
        random = draw_null(concepts, counts, first)
    hub = [
        draw_null(concepts, counts, rng, image_weights(rows_fk[live_f & (fold_f != fold)], images))
        for fold, rng in enumerate(rngs)
    ]
    return Nulls(k, random, hub, fold_f)
