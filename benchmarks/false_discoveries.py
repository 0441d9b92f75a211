"""How often does the score find something where there is nothing? Layers of features without meaning, many times.

    python benchmarks/false_discoveries.py [--seeds 200] [--without hubs]

Every feature of a layer is without meaning, so that a layer with any discovery has a false discovery proportion of 1:
its mean over the seeds must not exceed q but for two standard errors. Worlds:
    permuted     features with meaning, whose images have changed places with others
    looks        features of how images look, where images of a class look more alike than others
    look-alikes  the same, where only the lists are known
    hubs         noise whose scale varies with the class of the image
    dead         units that are never on, or on three images, over images sorted by class; and noise
"""

import argparse
from collections.abc import Callable

import numpy as np
import pandas as pd
from numpy.random import Generator

from conceptprobe.concepts.looks.look_alikes import draw_look_alikes
from conceptprobe.concepts.looks.predicted import VisualNull
from conceptprobe.concepts.looks.significance import p_look_alike
from conceptprobe.concepts.scoring.judging import judge, list_faults
from conceptprobe.concepts.scoring.verdicts import POSITIVE
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.coherence import mean_cosine
from conceptprobe.concepts.statistics.enrichment import Enrichment
from conceptprobe.concepts.statistics.hierarchy import Relations
from conceptprobe.concepts.statistics.nulls import draw_nulls
from planted_features import make_concepts, plant, top_lists

BRANCHES = 5
IMAGES = 20
FEATURES = 60
K = 10
Q = 0.05
DRAWS = 4_000
World = tuple[ConceptSet, np.ndarray, np.ndarray | None]


def permuted(rng: Generator) -> World:
    planted = plant(FEATURES // 6, IMAGES, rng, BRANCHES)
    acts_nf = planted.acts_nf[:, : FEATURES // 6 * 6]
    return planted.concepts, rng.permutation(acts_nf), None


def looks(rng: Generator) -> World:
    concepts = make_concepts(IMAGES, rng, BRANCHES, tags=20)
    n = concepts.members_nc.shape[0]
    looks_nv = rng.normal(size=(n, 12))
    for share in (BRANCHES, BRANCHES**2, BRANCHES**3):
        looks_nv += 0.5 * np.repeat(rng.normal(size=(share, 12)), n // share, axis=0)
    looks_nv -= looks_nv.mean(0)
    looks_nv /= np.linalg.norm(looks_nv, axis=1, keepdims=True)
    towards_vf = rng.normal(size=(12, FEATURES))
    towards_vf[:, ::2] = looks_nv[rng.integers(n, size=FEATURES // 2)].T
    scores_nf = looks_nv @ towards_vf
    scores_nf /= scores_nf.std(0)
    angle_f = rng.uniform(0, np.pi / 2, FEATURES)
    acts_nf = np.cos(angle_f) * scores_nf + np.sin(angle_f) * rng.normal(size=scores_nf.shape)
    return concepts, acts_nf.astype(np.float32), looks_nv.astype(np.float32)


def hubs(rng: Generator) -> World:
    concepts = make_concepts(IMAGES, rng, BRANCHES, tags=20)
    n = concepts.members_nc.shape[0]
    scale_n = np.repeat(np.exp(rng.normal(0, 0.5, BRANCHES**3)), IMAGES)
    return concepts, (scale_n[:, None] * rng.normal(size=(n, FEATURES))).astype(np.float32), None


def dead(rng: Generator) -> World:
    concepts = make_concepts(IMAGES, rng, BRANCHES, tags=20)
    acts_nf = rng.normal(size=(concepts.members_nc.shape[0], FEATURES)).astype(np.float32)
    acts_nf[:, : FEATURES // 3] = 0
    for f in range(FEATURES // 6):
        acts_nf[rng.choice(len(acts_nf), 3, replace=False), f] = 1 + rng.random(3)
    return concepts, acts_nf, None


WORLDS: dict[str, Callable[[Generator], World]] = {
    "permuted": permuted, "looks": looks, "look-alikes": looks, "hubs": hubs, "dead": dead,
}  # fmt: skip


def discoveries(world: str, seed: int, without: str | None = None) -> int:
    """How many features without meaning one layer has verdicts on."""
    rng = np.random.default_rng([seed, list(WORLDS).index(world)])
    concepts, acts_nf, looks_nv = WORLDS[world](rng)
    rows_fk, values_fk = top_lists(acts_nf, 2 * K)
    dead_f, faults_f = np.ptp(acts_nf, axis=0) == 0, list_faults(rows_fk, values_fk, K).fault_f
    if without == "faults":
        dead_f[:], faults_f[:] = False, ""
    rows_fk = rows_fk[:, :K]
    live_f = ~dead_f & (faults_f == "")
    nulls = draw_nulls(rows_fk, concepts, rng, live_f=live_f, draws=DRAWS, folds=1 if without == "hubs" else 4)
    enrichment = Enrichment(concepts, K)
    best = enrichment.best(rows_fk)
    p_visual_f = np.full(FEATURES, np.nan)
    if looks_nv is not None and without != "looks":
        asked_f = np.maximum(nulls.p_random(best.llr_f, K), nulls.p_hub(best.llr_f, K)) <= Q
        if world == "look-alikes":
            lists = draw_look_alikes(looks_nv, K, 3 * DRAWS, rng)
            coherence_f = mean_cosine(looks_nv, rows_fk)
            p_visual_f = p_look_alike(best, coherence_f, lists, enrichment.best(lists.rows_dk), concepts)
        elif asked_f.any():
            null = VisualNull(looks_nv, seed=seed)
            p_visual_f[asked_f] = null.compare(acts_nf[:, asked_f], rows_fk[asked_f], enrichment.best_llr, rng).p_f
    frame = judge(
        rows_fk, Relations(concepts), nulls, q=Q, p_visual_f=p_visual_f, dead_f=dead_f, faults_f=faults_f
    )  # fmt: skip
    return int(frame["verdict"].isin(POSITIVE).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--worlds", nargs="*", default=list(WORLDS))
    parser.add_argument("--without", choices=["hubs", "looks", "faults"], help="a repair to leave out")
    options = parser.parse_args()
    rows = []
    for world in options.worlds:
        counts = np.array([discoveries(world, seed, options.without) for seed in range(options.seeds)])
        allowed = Q + 2 * np.sqrt(Q * (1 - Q) / options.seeds)
        rows.append((world, (counts > 0).mean(), allowed, counts.mean() / FEATURES))
    print(pd.DataFrame(rows, columns=["world", "mean FDP", "allowed", "features found"]).to_string(index=False))


if __name__ == "__main__":
    main()
