"""How often looks are taken for meaning, and meaning for looks, by each null: planted features on the mini emoji.

python benchmarks/visual_null.py [--features 100] [--draws 400]      # prints the table of docs/visual-null.md
"""

import argparse

import numpy as np
import pandas as pd
from numpy.random import Generator

from conceptprobe.concepts.looks.descriptors import describe_images
from conceptprobe.concepts.looks.look_alikes import draw_look_alikes
from conceptprobe.concepts.looks.predicted import VisualNull
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.coherence import mean_cosine
from conceptprobe.concepts.statistics.enrichment import Enrichment
from conceptprobe.images import load_images

K, MATCHES = 8, 1000


def emoji_concepts(frame: pd.DataFrame) -> ConceptSet:
    sets = {f"{column}: {name}": list(part) for column in ("label", "subgroup", "group")
            for name, part in frame.groupby(column)["id"]}  # fmt: skip
    tags = frame[["id", "tags"]].explode("tags").dropna()
    sets |= {f"tag: {name}": list(part) for name, part in tags.groupby("tags")["id"]}
    return ConceptSet.from_sets(
        sets, frame["id"].tolist(), leaves=[name for name in sets if name.startswith("label: ")]
    )


def planted(looks_nv: np.ndarray, concepts: ConceptSet, count: int, rng: Generator) -> dict[str, np.ndarray]:
    """Activations [n,f] by what the features are."""
    images, width = looks_nv.shape

    def scaled(values_nf: np.ndarray, noise: float = 0.0) -> np.ndarray:
        return (values_nf - values_nf.mean(0)) / values_nf.std(0) + noise * rng.standard_normal(values_nf.shape)

    components = np.linalg.svd(looks_nv - looks_nv.mean(0), full_matrices=False)[2][:40]
    parts = scaled(looks_nv @ components.T)
    first, second = rng.integers(0, 40, (2, count))
    near = looks_nv @ looks_nv[rng.integers(images, size=count)].T
    other = looks_nv @ looks_nv[rng.integers(images, size=count)].T
    bent = np.tanh(4 * looks_nv @ rng.standard_normal((width, 256))) @ rng.standard_normal((256, count))
    broad = np.flatnonzero((concepts.sizes >= 16) & ~concepts.at_leaf_level)
    narrow = np.flatnonzero(concepts.is_leaf & (concepts.sizes >= 6))
    themes = concepts.members_nc[:, rng.choice(broad, count, replace=False)].toarray()
    objects = concepts.members_nc[:, rng.choice(narrow, count, replace=False)].toarray()
    ridge = looks_nv.T @ looks_nv + np.eye(width)
    templates = looks_nv @ np.linalg.solve(ridge, looks_nv.T @ (themes - themes.mean(0)))
    return {
        "a principal component, up or down": parts[:, first] * rng.choice([-1, 1], count),
        "the same, noise 1": scaled(parts[:, first] * rng.choice([-1, 1], count), 1),
        "a single number of the descriptor": scaled(looks_nv[:, rng.choice(width, count, replace=False)]),
        "a random direction": scaled(looks_nv @ rng.standard_normal((width, count))),
        "the same, noise 1 ": scaled(looks_nv @ rng.standard_normal((width, count)), 1),
        "likeness to an image": scaled(near),
        "the same, noise 0.5": scaled(near, 0.5),
        "likeness to either of two images": np.maximum(scaled(near), scaled(other)),
        "linear template of a concept": scaled(templates),
        "the same, noise 1  ": scaled(templates, 1),
        "256 saturating units": scaled(bent),
        "product of two components": parts[:, first] * parts[:, second],
        "MEANING: a broad concept, 3 in noise 1": 3 * themes + rng.standard_normal((images, count)),
        "MEANING: a leaf, 5 in noise 1": 5 * objects + rng.standard_normal((images, count)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=100)
    parser.add_argument("--draws", type=int, default=400)
    args = parser.parse_args()
    source = load_images("mini:emoji")
    concepts = emoji_concepts(source.table.to_pandas())
    looks_nv = describe_images(source)
    rng = np.random.default_rng(0)
    enrichment = Enrichment(concepts, K)
    random_d = np.sort(
        enrichment.best_llr(np.stack([rng.choice(len(looks_nv), K, replace=False) for _ in range(20_000)]))
    )
    bank = draw_look_alikes(looks_nv, K, 20_000, rng)
    bank_d = enrichment.best_llr(bank.rows_dk)
    null = VisualNull(looks_nv)
    print("| features | random lists | bank of look-alikes | what looks predict |\n|---|---|---|---|")
    for name, acts in planted(looks_nv, concepts, args.features, rng).items():
        acts_nf = acts.astype(np.float32)
        rows_fk = np.argsort(-acts_nf, axis=0, kind="stable")[:K].T
        llr_f = enrichment.best_llr(rows_fk) - 1e-9
        random_f = (1 + len(random_d) - np.searchsorted(random_d, llr_f)) / (1 + len(random_d))
        windows_fm = bank.matched(mean_cosine(looks_nv, rows_fk), MATCHES)[:, None] + np.arange(MATCHES)
        bank_f = (1 + (bank_d[windows_fm] >= llr_f[:, None]).sum(1)) / (1 + MATCHES)
        null_f = null.compare(acts_nf, rows_fk, enrichment.best_llr, rng, draws=args.draws).p_f
        shares = " | ".join(f"{np.mean(p <= 0.05):.2f}" for p in (random_f, bank_f, null_f))
        print(f"| {name.strip()} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
