"""How often the interval of a contrast holds the true difference, and how often a difference of 10 points is found.

    python benchmarks/contrast_coverage.py                 # 500 runs of each part
    python benchmarks/contrast_coverage.py --runs 50       # quicker
    python benchmarks/contrast_coverage.py --shares 0.5 0.75 0.875     # how many images a resample keeps

Models are planted: clusters of redundant features that respond to a leaf or a middle node of a tree, or to nothing,
with noise of the cluster and of the feature. What is compared is the share of conceptual features. Parts:

split   one model's features are dealt out at random to two pseudo-models, by whole clusters or one by one: the 95 %
        interval of the difference should hold 0 in 93 to 97 % of the runs;
new     features and images are drawn anew in every run, and the lists of one model lean to images that the other does
        not care for: the interval should hold the mean over the runs, and its standard error be their spread;
power   models of 2,000 features with 45 and 35 % conceptual clusters: the interval should be above 0 in 80 % or more;
twice   why images are not bootstrapped: features without meaning that seem to have one at p <= 0.05, over images that
        were drawn with repeats, and over a random part of them.

Beside the two-way interval: images resampled within resampled features (nested), and independent features (binomial).
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from conceptprobe.concepts.comparison.intervals import Measure, binomial, estimate
from conceptprobe.concepts.comparison.resampling import SHARE, Plan, random_null, rejudge, sublists
from conceptprobe.concepts.scoring.judging import judge
from conceptprobe.concepts.scoring.verdicts import VERDICTS, Verdict
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.enrichment import Enrichment
from conceptprobe.concepts.statistics.hierarchy import Relations
from conceptprobe.concepts.statistics.nulls import Null, draw_nulls

DEPTH = 40
K = 8
DRAWS = 5_000
KINDS = ("middle", "leaf", "nothing")
STRENGTH = (2.6, 4.0, 0.0)
LEAVES_SHARE = 0.35


@dataclass(frozen=True, eq=False)
class World:
    """A tree of concepts over images, and what is drawn once for it.

    Attributes:
        relations: Of the concepts.
        random: The null of random lists.
        random_again: The same for the shorter lists over resampled images.
        wide: Images of a middle node, and of a leaf.
        plan: How images are resampled.
    """

    relations: Relations
    random: Null
    random_again: Null
    wide: tuple[int, int]
    plan: Plan

    @classmethod
    def of(cls, branches: int, leaf: int, rng: Generator, share: float = SHARE) -> "World":
        """A tree of three levels."""
        images = branches**3 * leaf
        wide = {"top": branches**2 * leaf, "middle": branches * leaf, "leaf": leaf}
        ids = [str(row) for row in range(images)]
        sets = {f"{kind} {at}": ids[at * w : (at + 1) * w] for kind, w in wide.items() for at in range(images // w)}
        concepts = ConceptSet.from_sets(sets, ids, leaves=[name for name in sets if name.startswith("leaf")])
        relations, plan = Relations(concepts), Plan.of(images, K, 0, share)
        nulls = (random_null(relations, k, rng, DRAWS) for k in (K, plan.k))
        return cls(relations, *nulls, (wide["middle"], leaf), plan)


@dataclass(frozen=True, eq=False)
class Model:
    """Planted features.

    Attributes:
        measure: Whether each is conceptual, over the images and over resamples of them.
        cluster_f: The cluster of each.
        kind_g: What each cluster responds to, of KINDS.
    """

    measure: Measure
    cluster_f: np.ndarray
    kind_g: np.ndarray


def plant(
    world: World, clusters: int, rng: Generator, *, resamples: int, conceptual: float = 0.35, size: float = 3.0,
    lean_n: np.ndarray | None = None,
) -> Model:  # fmt: skip
    """Plant clusters of on average `size` features and judge them.

    Args:
        conceptual: Share of the clusters that respond to a middle node; LEAVES_SHARE respond to a leaf.
        lean_n: What is added to every feature's activations, float [n].
    """
    images = world.plan.images
    sizes = rng.geometric(1 / size, clusters)
    kind_g = rng.choice(3, clusters, p=[conceptual, LEAVES_SHARE, 1 - LEAVES_SHARE - conceptual])
    row, lists = np.arange(images), []
    for kind, count in zip(kind_g.tolist(), sizes.tolist(), strict=True):
        wide = (*world.wide, images)[kind]
        member_n = row // wide == rng.integers(images // wide)
        shared_n = 0.8 * rng.standard_normal(images) + rng.normal(STRENGTH[kind], 0.5) * member_n
        acts_fn = shared_n + 0.6 * rng.standard_normal((count, images))
        if lean_n is not None:
            acts_fn += lean_n
        top = np.argpartition(-acts_fn, DEPTH, axis=1)[:, :DEPTH]
        lists.append(np.take_along_axis(top, np.argsort(-np.take_along_axis(acts_fn, top, 1), axis=1), 1))
    rows_fk, concepts = np.concatenate(lists), world.relations.concepts
    nulls = draw_nulls(rows_fk[:, :K], concepts, rng, draws=DRAWS, random=world.random)
    verdict_f = judge(rows_fk[:, :K], world.relations, nulls)["verdict"].to_numpy()
    again = rejudge(rows_fk, world.relations, world.plan, resamples, rng, random=world.random_again, draws=DRAWS)
    value_bf = (again.verdict_bf == VERDICTS.index(Verdict.CONCEPTUAL)).astype(np.float64)
    ones = np.ones(len(rows_fk)), np.ones(value_bf.shape)
    measure = Measure((verdict_f == Verdict.CONCEPTUAL).astype(float), ones[0], value_bf, ones[1], world.plan.scale)
    return Model(measure, np.repeat(np.arange(clusters), sizes), kind_g)


def together(a: Model, b: Model) -> tuple[Measure, np.ndarray, np.ndarray]:
    """The features of two models, whose each is, and clusters."""
    own, its = a.measure, b.measure
    measure = Measure(
        np.concatenate([own.value_f, its.value_f]), np.concatenate([own.counts_f, its.counts_f]),
        np.concatenate([own.value_bf, its.value_bf], 1), np.concatenate([own.counts_bf, its.counts_bf], 1),
        own.image_scale,
    )  # fmt: skip
    sign_f = np.repeat([1, -1], [len(own.value_f), len(its.value_f)])
    return measure, sign_f, np.concatenate([a.cluster_f, b.cluster_f + len(a.kind_g)])


def outcome(measure: Measure, sign_f: np.ndarray, cluster_f: np.ndarray) -> np.ndarray:
    """The difference, the ends of its interval, and the standard errors: two-way, nested, binomial."""
    found = estimate(measure, sign_f, cluster_f)
    means_b = [measure.value_bf[:, sign_f == sign].mean(1) for sign in (1, -1)]
    images = measure.image_scale * (means_b[0] - means_b[1]).var(ddof=1)
    nested = np.sqrt(found.se**2 - found.se_images**2 + images)
    return np.array([found.value, found.low, found.high, found.se, nested, binomial(measure, sign_f).se])


def split(
    runs: int, rng: Generator, *, clusters: int = 500, models: int = 10, resamples: int = 100, branches: int = 10
) -> dict[str, np.ndarray]:
    """Outcomes [runs,6] of dealing out models by clusters and by features."""
    world = World.of(branches, 6, rng)
    rows: dict[str, list[np.ndarray]] = {"by clusters": [], "by features": []}
    for number in range(models):
        model = plant(world, clusters, rng, resamples=resamples)
        for _ in range(runs * (number + 1) // models - runs * number // models):
            side_g = rng.choice([-1, 1], clusters)
            side_f = rng.choice([-1, 1], len(model.cluster_f))
            rows["by clusters"].append(outcome(model.measure, side_g[model.cluster_f], model.cluster_f))
            rows["by features"].append(outcome(model.measure, side_f, model.cluster_f))
    return {how: np.array(found) for how, found in rows.items()}


def new(runs: int, rng: Generator, *, clusters: int = 80, resamples: int = 40, share: float = SHARE) -> np.ndarray:
    """Outcomes [runs,6] over new images and features in every run."""
    world = World.of(6, 8, rng, share)
    rows = []
    for _ in range(runs):
        lean_n = rng.standard_exponential(world.plan.images)
        a = plant(world, clusters, rng, resamples=resamples, lean_n=lean_n)
        rows.append(outcome(*together(a, plant(world, clusters, rng, resamples=resamples))))
    return np.array(rows)


def power(
    runs: int, rng: Generator, *, features: int = 2_000, size: float = 2.0, pools: int = 3, resamples: int = 60,
    branches: int = 10,
) -> np.ndarray:  # fmt: skip
    """Outcomes [runs,6] of models whose clusters are drawn from planted ones, 45 and 35 % of them conceptual."""
    world = World.of(branches, 6, rng)
    count = int(features / size)
    rows = []
    for number in range(pools):
        pool = plant(world, 4 * count, rng, resamples=resamples, conceptual=0.4, size=size)
        for _ in range(runs * (number + 1) // pools - runs * number // pools):
            sign_g = np.zeros(len(pool.kind_g), int)
            for sign, conceptual in ((1, 0.45), (-1, 0.35)):
                shares = (conceptual, LEAVES_SHARE, 1 - LEAVES_SHARE - conceptual)
                for kind, wanted in enumerate(rng.multinomial(count, shares)):
                    free = np.flatnonzero((pool.kind_g == kind) & (sign_g == 0))
                    sign_g[rng.choice(free, wanted, replace=False)] = sign
            sign_f = sign_g[pool.cluster_f]
            used = np.flatnonzero(sign_f)
            rows.append(outcome(pool.measure.of(used), sign_f[used], pool.cluster_f[used]))
    return np.array(rows)


def twice(rng: Generator, *, features: int = 2_000) -> tuple[float, float]:
    """Shares of features without meaning with p <= 0.05, over images with repeats and over a part of the images."""
    world = World.of(10, 6, rng)
    concepts, images = world.relations.concepts, world.plan.images
    rows_fk = np.argsort(rng.random((features, images)), axis=1)[:, :DEPTH]
    times_n = np.bincount(rng.integers(images, size=images), minlength=images)
    repeated_fk = np.array([np.repeat(rows, times_n[rows])[:K] for rows in rows_fk])
    part_fk = sublists(rows_fk, world.plan.keep(0), world.plan.k)
    p_repeated = world.random.p_values(Enrichment(concepts, K).best_llr(repeated_fk), K)
    p_part = world.random_again.p_values(Enrichment(concepts, world.plan.k).best_llr(part_fk), world.plan.k)
    return float(np.mean(p_repeated <= 0.05)), float(np.mean(p_part <= 0.05))


def coverage(rows: np.ndarray, truth: float) -> float:
    """How often the two-way interval holds the truth."""
    return float(np.mean((rows[:, 1] <= truth) & (truth <= rows[:, 2])))


def show(title: str, rows: np.ndarray, truth: float) -> None:
    """Print a part's outcomes."""
    away = np.abs(rows[:, 0] - truth)
    spread = 100 * rows[:, 0].std(ddof=1)
    print(f"{title}: {len(rows)} runs, difference {100 * rows[:, 0].mean():+.2f} points, spread {spread:.2f}")
    shares = coverage(rows, truth), *(np.mean(away <= 1.96 * rows[:, at]) for at in (4, 5))
    for name, share, at in zip(("two-way", "nested", "binomial"), shares, (3, 4, 5), strict=True):
        print(
            f"  {name:<9} holds it in {100 * share:5.1f} %; standard error {100 * rows[:, at].mean():.2f}", flush=True
        )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shares", type=float, nargs="+", default=[SHARE], help="for the part `new`")
    options = parser.parse_args(arguments)
    repeated, part = twice(np.random.default_rng([options.seed, 3]))
    print(f"without meaning, p <= 0.05: {100 * repeated:.1f} % over repeated images, {100 * part:.1f} % over a part")
    for how, rows in split(options.runs, np.random.default_rng([options.seed, 0])).items():
        show(f"split {how}", rows, 0.0)
    for size in (2.0, 4.0):
        rows = power(options.runs, np.random.default_rng([options.seed, 1]), size=size)
        show(f"power, clusters of {size:.0f} on average", rows, float(rows[:, 0].mean()))
        print(f"  found in {100 * np.mean(rows[:, 1] > 0):.1f} %", flush=True)
    for share in options.shares:
        rows = new(options.runs, np.random.default_rng([options.seed, 2]), share=share)
        show(f"new images, resamples keep {share:.3g}", rows, float(rows[:, 0].mean()))


if __name__ == "__main__":
    main()
