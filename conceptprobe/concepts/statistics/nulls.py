"""Null distributions of the score: of random lists, and of lists that favour images in many features' lists."""

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
    """A null distribution: the largest log-likelihood ratios of lists without meaning.

    Attributes:
        llr: The ratios, ascending, float64 [d], by the length of the lists.
    """

    llr: Mapping[int, np.ndarray]

    def p_values(self, llr_f: np.ndarray, k: int) -> np.ndarray:
        """p-values, (1 + draws at least as large) / (1 + draws), float64 [f] (Phipson & Smyth 2010).

        Args:
            llr_f: The largest ratio of each list.
            k: Length of the lists.
        """
        drawn = self.llr[k]
        return (1 + len(drawn) - np.searchsorted(drawn, llr_f - TOLERANCE)) / (1 + len(drawn))


@dataclass(frozen=True, eq=False)
class Nulls:
    """The null distributions that a layer's features are tested against.

    Attributes:
        k: Length of the lists that are judged.
        random: That of lists in which every image is equally likely; the same for all features.
        hub: Those of lists that favour hubs, one for each fold of the features: an image is as likely as it is in the
            lists of the other folds.
        fold_f: Fold of each feature, int64 [f].
    """

    k: int
    random: Null
    hub: Sequence[Null]
    fold_f: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Lengths of lists that have a null distribution, ascending."""
        return np.array(sorted(self.random.llr))

    def p_random(self, llr_f: np.ndarray, k: int) -> np.ndarray:
        """p-values of every feature against random lists of length k, float64 [f]."""
        return self.random.p_values(llr_f, k)

    def p_hub(self, llr_f: np.ndarray, k: int) -> np.ndarray:
        """p-values of every feature against lists of length k that favour hubs, float64 [f]."""
        result = np.ones(len(llr_f))
        for fold, null in enumerate(self.hub):
            of_fold = self.fold_f == fold
            result[of_fold] = null.p_values(llr_f[of_fold], k)
        return result


def draw_lists(
    rng: Generator, draws: int, k: int, images: int, weights_n: np.ndarray | None = None
) -> Iterator[np.ndarray]:
    """Draw lists of k different images by successive sampling, in chunks of int64 [d,k].

    Each next image is drawn with a probability proportional to its weight among the images that the list does not have
    yet, so prefixes of lists follow the same law. A position of a list is drawn from all images until it has one that
    no earlier position has, which is that law exactly and costs O(log n) for each draw.

    Args:
        rng: The generator.
        draws: Number of lists.
        k: Length of the lists.
        images: Number of images.
        weights_n: Weight of each image, float [n]; by default equal.

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
    """Which positions of each list have the image of an earlier position, bool [d,k]."""
    order_dk = np.argsort(rows_dk, axis=1, kind="stable")
    ordered_dk = np.take_along_axis(rows_dk, order_dk, 1)
    result = np.zeros(rows_dk.shape, bool)
    np.put_along_axis(result[:, :], order_dk[:, 1:], ordered_dk[:, 1:] == ordered_dk[:, :-1], 1)
    return result


def image_weights(rows_fk: np.ndarray, images: int) -> np.ndarray:
    """Weights for `draw_lists` with which an image is in as many lists as it is in those of some features, float64 [n].

    An image in the share s of the lists has the weight -log(1 - s): successive sampling is a race of exponential times
    with these rates, and by time 1 an image has arrived with probability s. Shares are not shrunk towards their mean,
    since that would weaken every hub, and so the null distribution of a concept that is made of hubs, whereas noise in
    the shares only strengthens it. Fewer than 20 lists say too little: then all images are equally likely.

    Args:
        rows_fk: Lists of the features, int64 [f,k]; -1 is skipped.
        images: Number of images.
    """
    lists = len(rows_fk)
    if lists < LEAST_LISTS:
        return np.ones(images)
    counts_n = np.bincount(rows_fk[rows_fk >= 0], minlength=images)
    floor = FLOOR * counts_n.mean()
    weights_n: np.ndarray = -np.log1p(-(counts_n + floor) / (lists + 1 + floor))
    return weights_n


def draw_null(
    concepts: ConceptSet,
    draws: Mapping[int, int],
    rng: Generator,
    weights_n: np.ndarray | None = None,
) -> Null:
    """Draw a null distribution: the largest log-likelihood ratio of each drawn list.

    Args:
        concepts: Concepts over the images.
        draws: Number of lists by their length; shorter lists are prefixes of longer ones.
        rng: The generator.
        weights_n: Weight of each image, float [n]; by default equal.
    """
    enrichments = {k: Enrichment(concepts, k) for k in draws}
    ratios: dict[int, list[np.ndarray]] = {k: [] for k in draws}
    done = 0
    for rows_dk in draw_lists(rng, max(draws.values()), max(draws), concepts.members_nc.shape[0], weights_n):
        for k, enrichment in enrichments.items():
            if done < draws[k]:
                ratios[k].append(enrichment.best_llr(rows_dk[: draws[k] - done, :k]))
        done += len(rows_dk)
    return Null({k: np.sort(np.concatenate(parts)) for k, parts in ratios.items()})


def lengths_of(k: int) -> tuple[int, ...]:
    """Lengths that the remaining images of a list are cut to: all up to 16, then each a fifth longer, and k."""
    lengths = [*range(2, min(k, 16) + 1)]
    while lengths and lengths[-1] < k:
        lengths.append(min(k, int(lengths[-1] * 1.2)))
    return tuple(lengths) or (k,)


def counts_of(k: int, draws: int) -> dict[int, int]:
    """The number of lists of each length in the null distributions of lists of length k."""
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
    """Draw the null distributions of a layer's features.

    Args:
        rows_fk: Lists of the features, int64 [f,k].
        concepts: Concepts over the images.
        rng: The generator.
        live_f: Features whose lists count for the weights of images, bool [f]; by default all.
        draws: Number of lists of length k for each null; there are at most 5,000 shorter ones.
        folds: Number of random folds of the features, so that no feature's list is in the weights of its null; fewer
            where there are fewer features.
        random: The null of random lists, if it was drawn before.
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
