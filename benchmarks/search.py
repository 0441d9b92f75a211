"""How fast, and how right, a search for a direction is.

    python benchmarks/search.py [--quick] [--images 100000] [--width 1536] [--lists 1024] [--queries 200]

`Index.search` for the 10 images with the largest inner product, one direction at a time, with the exact index and with
others. Activations are planted, since no model's are at hand for so many images:

activations  a point of 48 dimensions for every image: one of 1,000 centres (normal, of width 1) and a deviation from
             it (normal, of width 0.5); a random linear map to all features; noise (0.1 of the width); a threshold that
             16 % pass; GELU. So they are clustered, sparse, skewed and of few dimensions, as those of a trained layer.
isotropic    independent normal numbers: the worst case for inverted lists, for every direction is like every other.

Directions: `image`, an image's activations less the mean of all, as in a search for similar images or for a class;
`feature`, a single feature; `any`, independent normal numbers.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F

from common import arguments, print_table
from conceptprobe.indexing.index import Index
from conceptprobe.indexing.storage.factory import EXACT, Factory
from conceptprobe.indexing.storage.faiss_files import FlatIndexWriter, write_factory
from conceptprobe.indexing.storage.layout import layer_folder
from conceptprobe.indexing.storage.manifest import Manifest, ModelEntry, SourceEntry
from conceptprobe.indexing.storage.rowfile import RowFile, map_rows
from conceptprobe.models import Layer

LAYER, K, CHUNK = "planted", 10, 10_000
CENTRES, DIMENSIONS = 1000, 48
PROBES = (4, 8, 16, 32, 64, 128)


def activations(images: int, width: int) -> Iterator[np.ndarray]:
    maker = torch.Generator().manual_seed(0)
    centres = torch.randn(CENTRES, DIMENSIONS, generator=maker)
    spread = (1 + 0.5**2) ** 0.5  # of the points
    to_features = torch.randn(DIMENSIONS, width, generator=maker) / DIMENSIONS**0.5 / spread
    for start in range(0, images, CHUNK):
        count = min(CHUNK, images - start)
        which = torch.randint(CENTRES, (count,), generator=maker)
        points = centres[which] + 0.5 * torch.randn(count, DIMENSIONS, generator=maker)
        noise = 0.1 * torch.randn(count, width, generator=maker)
        yield F.gelu(points @ to_features + noise - 1).numpy()


def isotropic(images: int, width: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for start in range(0, images, CHUNK):
        yield rng.standard_normal((min(CHUNK, images - start), width), np.float32)


def make_index(folder: Path, width: int, faiss: str) -> Index:
    """What of an index a search needs, over the vectors in `folder / vectors`."""
    path = folder / faiss.replace(",", "-")
    layer_folder(path, LAYER).mkdir(parents=True)
    vectors_nf = map_rows(folder / "vectors", width, np.float32, (folder / "vectors").stat().st_size // (4 * width))
    target = layer_folder(path, LAYER) / "images.faiss"
    if faiss == EXACT:
        writer = FlatIndexWriter(target, width)
        for start in range(0, len(vectors_nf), CHUNK):
            writer.add(vectors_nf[start : start + CHUNK])
        writer.close()
    else:
        write_factory(target, vectors_nf, Factory.parse(faiss))
    pq.write_table(pa.table({"id": [f"{row:09d}" for row in range(len(vectors_nf))]}), path / "images.parquet")
    manifest = Manifest(
        model=ModelEntry("planted", "", {}, external=True), source=SourceEntry("ids", "", "white"),
        layers={LAYER: Layer(LAYER, width, "vector")}, pooling=("mean",), k=K, batch_size=1, vectors=True,
        versions={}, faiss=faiss,
    )  # fmt: skip
    return Index(path, manifest)


def directions(folder: Path, width: int, count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    vectors_nf = map_rows(folder / "vectors", width, np.float32, (folder / "vectors").stat().st_size // (4 * width))
    mean = vectors_nf[: 10 * CHUNK].mean(0)
    return {
        "image": np.stack([vectors_nf[row] - mean for row in rng.integers(len(vectors_nf), size=count)]),
        "feature": np.eye(width, dtype=np.float32)[rng.integers(width, size=count)],
        "any": rng.standard_normal((count, width), np.float32),
    }


def ask(index: Index, asked: np.ndarray, nprobe: int | None = None) -> tuple[list[set[str]], np.ndarray]:
    """What is found for every direction, and the milliseconds that each took."""
    found, milliseconds = [], []
    index.search(LAYER, asked[0], K, nprobe=nprobe)
    for direction in asked:
        start = time.perf_counter()
        top = index.search(LAYER, direction, K, nprobe=nprobe)
        milliseconds.append(1000 * (time.perf_counter() - start))
        found.append({*top.ids})
    return found, np.array(milliseconds)


def main() -> None:
    given = arguments(__doc__, images=(100_000, 5_000), width=(1536, 384), lists=(1024, 64), queries=(200, 20))
    forms = [EXACT, "SQfp16", "SQ8", f"IVF{given.lists},Flat", f"IVF{given.lists},PQ{given.width // 12}"]
    for kind in (activations, isotropic):
        with tempfile.TemporaryDirectory() as name:
            folder, rows = Path(name), []
            file = RowFile(folder / "vectors", given.width, np.float32)
            for chunk in kind(given.images, given.width):
                file.add(chunk)
            file.close()
            asked = directions(folder, given.width, given.queries)
            exact = {}
            for faiss in forms:
                start = time.perf_counter()
                index = make_index(folder, given.width, faiss)
                made = time.perf_counter() - start
                size = (layer_folder(index.path, LAYER) / "images.faiss").stat().st_size / 2**20
                for nprobe in PROBES if faiss.startswith("IVF") else (None,):
                    if nprobe is not None and nprobe > given.lists:
                        continue
                    row = {
                        "faiss": faiss, "MiB": f"{size:,.0f}", "made in": f"{made:.0f} s", "nprobe": nprobe or "",
                    }  # fmt: skip
                    for what, vectors in asked.items():
                        found, milliseconds = ask(index, vectors, nprobe)
                        exact.setdefault(what, found)
                        shared = [len(a & b) / K for a, b in zip(found, exact[what], strict=True)]
                        p50, p95 = np.quantile(milliseconds, [0.5, 0.95])
                        row[f"{what}: recall@10"] = f"{np.mean(shared):.3f}"
                        row[f"{what}: p50, p95"] = f"{p50:.1f}, {p95:.1f} ms"
                    rows.append(row)
        print(
            f"{kind.__name__}: {given.images:,} images x {given.width:,} features, {given.queries} directions a kind, "
            f"{torch.get_num_threads()} threads. Targets: exact p50 < 50 ms; IVF recall@10 >= 0.95 in < 5 ms.\n"
        )
        print_table(rows)


if __name__ == "__main__":
    main()
