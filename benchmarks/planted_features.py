"""Does the score find what was planted? Features of known kinds over a tree of concepts and overlapping tags.

python benchmarks/planted_features.py [--features 200] [--images 50] [--k 40] [--seeds 3]
"""

import argparse
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from conceptprobe.concepts.scoring.judging import judge, list_faults
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.hierarchy import Relations
from conceptprobe.concepts.statistics.nulls import draw_nulls

BRANCHES = 10
TAGS = 60
NOISE = 0.3
KINDS = ("leaf", "mid", "super", "thematic", "two leaves", "two mids", "graded leaf", "noise", "dead")


@dataclass(frozen=True)
class Planted:
    """Activations with a known meaning.

    Attributes:
        concepts: Leaves, middle and upper nodes of a tree, and tags.
        acts_nf: float32 [n,f].
        kind_f: Of KINDS, str [f].
        concept_f: Name of the planted concept, str [f]; empty where there is none.
    """

    concepts: ConceptSet
    acts_nf: np.ndarray
    kind_f: np.ndarray
    concept_f: np.ndarray


def make_concepts(images: int, rng: np.random.Generator, branches: int = BRANCHES, tags: int = TAGS) -> ConceptSet:
    """A tree of three levels with `images` images a leaf, and tags: most images of three to eight leaves of different
    upper nodes, and a few of other leaves.
    """
    leaf_n = np.repeat(np.arange(branches**3), images)
    supers, mids = branches, branches**2
    names = [f"super {i}" for i in range(supers)] + [f"mid {i}" for i in range(mids)]
    names += [f"leaf {i}" for i in range(branches**3)]
    columns = [leaf_n // branches**2, supers + leaf_n // branches, supers + mids + leaf_n]
    rows = [np.arange(len(leaf_n))] * 3
    for tag in range(tags):
        upper = rng.choice(supers, size=rng.integers(3, min(9, supers + 1)), replace=False)
        leaves = upper * branches**2 + rng.integers(branches**2, size=len(upper))
        tagged = np.flatnonzero(np.isin(leaf_n, leaves) & (rng.random(len(leaf_n)) < 0.85))
        tagged = np.union1d(tagged, rng.choice(len(leaf_n), size=len(tagged) // 20, replace=False))
        rows.append(tagged)
        columns.append(np.full(len(tagged), len(names)))
        names.append(f"tag {tag}")
    shape = (len(leaf_n), len(names))
    at = (np.concatenate(rows), np.concatenate(columns))
    members_nc = sparse.coo_array((np.ones(len(at[0]), np.float32), at), shape=shape)
    return ConceptSet.from_members(names, members_nc, leaves=[name for name in names if name.startswith("leaf")])


def plant(features: int, images: int, rng: np.random.Generator, branches: int = BRANCHES) -> Planted:
    """`features` features of each kind; 30 % of the images that a feature fires on are any images."""
    concepts = make_concepts(images, rng, branches)
    n = concepts.members_nc.shape[0]
    kind_f = np.repeat(KINDS, features)
    concept_f = np.full(len(kind_f), "", object)
    acts_nf = rng.normal(0, 0.1, (n, len(kind_f))).astype(np.float32)
    for f, kind in enumerate(kind_f):
        leaf = int(rng.integers(branches**3))
        if kind == "dead":
            acts_nf[:, f] = 0
            continue
        if kind == "noise":
            continue
        match kind:
            case "leaf" | "graded leaf":
                concept_f[f] = f"leaf {leaf}"
            case "mid":
                concept_f[f] = f"mid {leaf // branches}"
            case "super":
                concept_f[f] = f"super {leaf // branches**2}"
            case "thematic":
                concept_f[f] = rng.choice([name for name in concepts.names if name.startswith("tag")])
        if kind.startswith("two"):
            other = (leaf + branches**2 * int(rng.integers(1, branches))) % branches**3
            pair = (leaf, other) if kind == "two leaves" else (leaf // branches, other // branches)
            rows = np.union1d(
                *(concepts.rows(f"{kind.split()[1].replace('leaves', 'leaf').rstrip('s')} {i}") for i in pair)
            )
        else:
            rows = concepts.rows(concept_f[f])
        acts_nf[rows, f] = rng.normal(2, 0.5, len(rows))
        if kind == "graded leaf":
            siblings = np.setdiff1d(concepts.rows(f"mid {leaf // branches}"), rows)
            acts_nf[siblings, f] = rng.normal(2 - rng.uniform(0.7, 1.3), 0.5, len(siblings))
        noise = rng.choice(n, size=round(NOISE / (1 - NOISE) * len(rows)), replace=False)
        acts_nf[noise, f] = rng.normal(2, 0.5, len(noise))
    return Planted(concepts, acts_nf, kind_f, concept_f)


def top_lists(acts_nf: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and values of the k largest of each column, ties by row; [f,k] each."""
    rows_fk = np.argsort(-acts_nf, axis=0, kind="stable")[:k].T
    return rows_fk, np.take_along_axis(acts_nf.T, rows_fk, 1)


def verdicts_of(planted: Planted, k: int, rng: np.random.Generator, draws: int = 100_000) -> pd.DataFrame:
    """The verdict of every planted feature, with what was planted."""
    rows_fk, values_fk = top_lists(planted.acts_nf, 2 * k)
    dead_f = np.ptp(planted.acts_nf, axis=0) == 0
    nulls = draw_nulls(rows_fk[:, :k], planted.concepts, rng, live_f=~dead_f, draws=draws)
    faults_f = list_faults(rows_fk, values_fk, k).fault_f
    frame = judge(rows_fk, Relations(planted.concepts), nulls, dead_f=dead_f, faults_f=faults_f)
    return frame.assign(planted=planted.kind_f, planted_concept=planted.concept_f)


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Shares by planted kind: each verdict, and where the concept is the planted one."""
    shares = pd.crosstab(frame["planted"], frame["verdict"], normalize="index")
    shares["right concept"] = (frame["concept"] == frame["planted_concept"]).groupby(frame["planted"]).mean()
    return shares.reindex(KINDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, default=200, help="of each kind")
    parser.add_argument("--images", type=int, default=50, help="of each leaf")
    parser.add_argument("--branches", type=int, default=BRANCHES)
    parser.add_argument("--k", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    frames = []
    for seed in range(options.seeds):
        rng = np.random.default_rng(seed)
        planted = plant(options.features, options.images, rng, options.branches)
        frames.append(verdicts_of(planted, options.k, rng))
    print(summary(pd.concat(frames)).to_string(float_format="{:.3f}".format))


if __name__ == "__main__":
    main()
