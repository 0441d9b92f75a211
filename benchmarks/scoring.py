"""How long scores take: 10,000 features, 2,000 concepts, lists of 40, 100,000 draws of each null.

    python benchmarks/scoring.py [--features 10000] [--concepts 2000] [--images 200000] [--k 40] [--draws 100000]

Each image is in a leaf and nine nodes above it, like an ImageNet image under WordNet. A third of the features respond
to a concept. The test against looks is not in these figures: it needs images.
"""

import argparse
import time

import numpy as np
from scipy import sparse

from conceptprobe.concepts.scoring.judging import explain, judge
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.hierarchy import Relations
from conceptprobe.concepts.statistics.nulls import counts_of, draw_null, draw_nulls

DEPTH = 9


def make_concepts(concepts: int, images: int, rng: np.random.Generator) -> ConceptSet:
    """Half leaves, half nodes of nine levels above them, each level half the one below it."""
    leaves = concepts // 2
    widths = np.maximum(1, (leaves * 0.5 ** np.arange(1, DEPTH + 1)).astype(int))
    widths[0] += concepts - leaves - widths.sum()
    starts = leaves + np.concatenate([[0], np.cumsum(widths)])
    leaf_n = rng.integers(leaves, size=images)
    node_ld = np.stack([start + np.arange(leaves) * width // leaves for start, width in zip(starts, widths)], 1)  # noqa: B905
    columns = np.column_stack([leaf_n, node_ld[leaf_n]])
    rows = np.repeat(np.arange(images), columns.shape[1])
    members_nc = sparse.coo_array((np.ones(columns.size, np.float32), (rows, columns.ravel())), (images, concepts))
    names = [f"leaf {i}" if i < leaves else f"node {i}" for i in range(concepts)]
    return ConceptSet.from_members(names, members_nc, leaves=names[:leaves])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"features": 10_000, "concepts": 2_000, "images": 200_000, "k": 40, "draws": 100_000}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    concepts = make_concepts(options.concepts, options.images, rng)
    rows_fk = rng.integers(options.images, size=(options.features, options.k))
    columns = concepts.members_nc.tocsc()
    for f in range(0, options.features, 3):
        at = rng.integers(len(concepts))
        own = columns.indices[columns.indptr[at] : columns.indptr[at + 1]]
        count = min(len(own), int(0.7 * options.k))
        rows_fk[f, :count] = rng.choice(own, count, replace=False)
    total, spent = time.perf_counter(), time.process_time()

    def lap(what: str) -> None:
        print(f"{what:24}{time.perf_counter() - total:7.1f} s  {time.process_time() - spent:7.1f} s CPU, so far")

    random = draw_null(concepts, counts_of(options.k, options.draws), rng)
    lap("random lists")
    nulls = draw_nulls(rows_fk, concepts, rng, draws=options.draws, random=random)
    lap("hub-weighted lists")
    frame = judge(rows_fk, Relations(concepts), nulls)
    frame["reason"] = explain(frame, 0.05)
    lap("verdicts")
    print(f"{len(frame)} features, {len(concepts)} concepts: {frame['verdict'].value_counts().to_dict()}")


if __name__ == "__main__":
    main()
