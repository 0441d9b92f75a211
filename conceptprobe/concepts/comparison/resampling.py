"""The verdicts that a layer would get over other images of the same kind."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from conceptprobe.concepts.scoring.judging import judge
from conceptprobe.concepts.scoring.verdicts import VERDICTS
from conceptprobe.concepts.statistics.hierarchy import Relations
from conceptprobe.concepts.statistics.nulls import Null, draw_null, draw_nulls, lengths_of

SHARE = 0.75
DRAWS = 10_000


@dataclass(frozen=True)
class Plan:
    """How images are resampled: a random part of them is kept, and lists are shorter in proportion, so that a list goes
    as deep into the images, and a concept holds as much of it, as before.

    Not a bootstrap: an image that is drawn twice is surely in a list twice, which looks like enrichment.

    Attributes:
        images: All images.
        kept: Images of a resample.
        k: Length of the lists over them.
        seed: Which images each resample keeps; the same for every model and layer.
    """

    images: int
    kept: int
    k: int
    seed: int

    @classmethod
    def of(cls, images: int, k: int, seed: int, share: float = SHARE) -> "Plan":
        """The plan for lists of k of all images, whose k is a length that nulls have."""
        shorter = max(1, min(k - 1, round(share * k)))
        return cls(images, round(images * shorter / k), shorter, seed)

    @property
    def scale(self) -> float:
        """What the variance over resamples is multiplied by to be that over new images: of m of n images without
        repeats a mean varies by (1 - m / n) / m, of n new ones by 1 / n."""
        return self.kept / (self.images - self.kept)

    def keep(self, resample: int) -> np.ndarray:
        """Which images a resample keeps, bool [n]."""
        rng = np.random.default_rng([self.seed, resample])
        keep_n = np.zeros(self.images, bool)
        keep_n[rng.permutation(self.images)[: self.kept]] = True
        return keep_n


@dataclass(frozen=True, eq=False)
class Resamples:
    """Verdicts over resampled images.

    Attributes:
        verdict_bf: Positions in `VERDICTS`, int8 [b,f].
        abstraction_bf: Float64 [b,f].
        short: Share of the lists for which the index keeps too few images.
    """

    verdict_bf: np.ndarray
    abstraction_bf: np.ndarray
    short: float

    def __add__(self, other: "Resamples") -> "Resamples":
        own, its = self.verdict_bf.shape[1], other.verdict_bf.shape[1]
        return Resamples(
            np.concatenate([self.verdict_bf, other.verdict_bf], 1),
            np.concatenate([self.abstraction_bf, other.abstraction_bf], 1),
            (own * self.short + its * other.short) / (own + its),
        )

    def at(self, features: np.ndarray) -> "Resamples":
        """Those of some features, by their positions."""
        return Resamples(self.verdict_bf[:, features], self.abstraction_bf[:, features], self.short)


def sublists(rows_fk: np.ndarray, keep_n: np.ndarray, k: int) -> np.ndarray:
    """The first k images of each list that are kept, int64 [f,k]; -1 where the list has no more."""
    inside_fk = (rows_fk >= 0) & keep_n[rows_fk]
    places_fk = np.argsort(~inside_fk, axis=1, kind="stable")[:, :k]
    chosen_fk = np.take_along_axis(rows_fk, places_fk, 1)
    return np.where(np.take_along_axis(inside_fk, places_fk, 1), chosen_fk, -1)


def random_null(relations: Relations, k: int, rng: Generator, draws: int = DRAWS) -> Null:
    """The null of random lists that `rejudge` takes; the same for every layer."""
    return draw_null(relations.concepts, dict.fromkeys(lengths_of(k), draws), rng)


def rejudge(
    rows_fk: np.ndarray,
    relations: Relations,
    plan: Plan,
    resamples: int,
    rng: Generator,
    *,
    random: Null,
    q: float = 0.05,
    p_visual_f: np.ndarray | None = None,
    dead_f: np.ndarray | None = None,
    faults_f: np.ndarray | None = None,
    draws: int = DRAWS,
) -> Resamples:
    """Judge a layer's features over resampled images.

    The nulls are those of all images at the shorter length: a resample changes which images a list holds, hardly what
    share of the images a concept is. p-values against looks stay as they are.

    Args:
        rows_fk: The lists as the index keeps them, longer than the plan's, int64 [f,K].
        relations: Of the concepts, over the same rows.
        plan: How images are resampled.
        resamples: How often.
        rng: Where the nulls' draws come from.
        random: See `random_null`.
        q: See `judge`, as for the rest.
        p_visual_f: Float [f].
        dead_f: Bool [f].
        faults_f: Str [f].
        draws: Draws of the hub-weighted nulls.
    """
    live_f = np.ones(len(rows_fk), bool) if dead_f is None else ~dead_f
    nulls = draw_nulls(rows_fk[:, : plan.k], relations.concepts, rng, live_f=live_f, draws=draws, random=random)
    verdict_bf = np.empty((resamples, len(rows_fk)), np.int8)
    abstraction_bf = np.empty(verdict_bf.shape)
    short = 0
    for resample in range(resamples):
        lists_fk = sublists(rows_fk, plan.keep(resample), plan.k)
        short += int((lists_fk[live_f, -1] < 0).sum())
        frame = judge(lists_fk, relations, nulls, q=q, p_visual_f=p_visual_f, dead_f=dead_f, faults_f=faults_f)
        verdict_bf[resample] = codes(frame["verdict"])
        abstraction_bf[resample] = frame["abstraction"]
    return Resamples(verdict_bf, abstraction_bf, short / max(1, resamples * int(live_f.sum())))


def codes(verdicts: Sequence[str]) -> np.ndarray:
    """Positions in `VERDICTS`, int8 [f]."""
    position: dict[str, int] = {name: at for at, name in enumerate(VERDICTS)}
    return np.array([position[name] for name in verdicts], np.int8)
