"""What an index costs, as a formula fitted to measured builds and checked on a larger one.

    python benchmarks/cost_model.py [--quick] [--images 1024]

Builds and merges indices of the embedded model over so many, twice and four times as many small pictures in memory,
with different layers, list lengths and vectors; fits time and peak memory, and counts bytes; then predicts runs of
eight times as many, and prints how far off that was. Last it applies the formula to three large collections.
"""

import math
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from common import Pictures, arguments, like_the_command_line, make_model, print_table
from conceptprobe.images import load_images
from conceptprobe.indexing import build_index, merge_indices
from conceptprobe.indexing.reducers.sample import SAMPLE_SIZE

MODEL = "mini:supervised"
SIDE = 48  # pixels
WIDTH = 768
SAMPLED = 4 + (4 + 4)  # bytes of an image and feature in the sample: a value for mean, and its patch too for max
SHARDS = 4
PLACE = (8 + 4) + (8 + 4 + 4)  # bytes of a place in a list: row and value for mean, and the patch too for max
CLIP_WIDTH, CLIP_LAYERS = 3072, 4  # blocks[-4:].mlp.hidden of a ViT-B/32
IMAGES_PER_SECOND = 1500  # on one GPU: clip-retrieval's figure for a ViT-B/32 on an RTX 3080, bound by resizing
COLLECTIONS = {"ImageNet-train": 1_281_167, "LAION-400M": 400_000_000, "5 billion": 5_000_000_000}
ROWS_OF_AN_INDEX = 2**32


@dataclass(frozen=True)
class Setting:
    images: int
    layers: int
    k: int
    vectors: bool

    @property
    def features(self) -> int:
        return self.layers * WIDTH


@dataclass(frozen=True)
class Cost:
    build: float  # seconds
    merge: float
    list_bytes: int
    vector_bytes: int
    image_bytes: int
    peak: float  # MiB, without the pictures


def measure(setting: Setting) -> Cost:
    """Build an index whole, and in shards that are merged; in a process of its own."""
    model, source = make_model(MODEL), load_images(Pictures(setting.images, SIDE))
    options = {
        "layers": f"blocks[-{setting.layers}:].mlp.hidden", "k": setting.k, "vectors": setting.vectors, "workers": 0,
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        build_index(model, source.subset(range(64)), out=folder / "warm", **options)
        start = time.perf_counter()
        path = build_index(model, source, out=folder / "whole", **options).path
        built = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - setting.images * SIDE * SIDE * 3 / 2**20
        for shard in range(SHARDS):
            build_index(model, source, out=folder / f"{shard}", shard=(shard, SHARDS), **options)
        merging = time.perf_counter()
        merge_indices([folder / f"{shard}" for shard in range(SHARDS)], folder / "merged")
        merged = time.perf_counter()
        sizes = {file: file.stat().st_size for file in path.rglob("*") if file.is_file()}
    return Cost(
        built - start, merged - merging,
        sum(size for file, size in sizes.items() if file.suffix == ".safetensors"),
        sum(size for file, size in sizes.items() if file.suffix == ".faiss"),
        sum(size for file, size in sizes.items() if file.name == "images.parquet"), peak,
    )  # fmt: skip


def build_terms(s: Setting) -> list[float]:
    """What the time of a build is a sum of: once, an image, an image's features, an image's vectors, list places."""
    return [1, s.images, s.images * s.features, s.images * s.features * s.vectors, s.features * s.k]


def merge_terms(s: Setting) -> list[float]:
    return [1, s.features * s.k * SHARDS, s.images * s.features * s.vectors, min(s.images, SAMPLE_SIZE) * s.features]


def peak_terms(s: Setting) -> list[float]:
    """Memory: once, an image, list places, and the sample as it is read."""
    return [1, s.images, s.features * s.k, min(s.images, SAMPLE_SIZE) * s.features]


def fit(terms: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """Coefficients, none below zero, of the least relative error."""
    return nnls(terms / measured[:, None], np.ones(len(measured)))[0]


def main() -> None:
    given = arguments(__doc__, images=(1024, 128))
    sizes = [given.images * factor for factor in (1, 2, 4, 8)]
    settings = [Setting(n, *rest) for n, rest in product(sizes, [(1, 20, True), (4, 100, True), (4, 20, False)])]
    costs = []
    for setting in settings:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            costs.append(pool.submit(measure, setting).result())
    fitted = np.array([setting.images < sizes[-1] for setting in settings])
    rows = [
        {
            "images": f"{s.images:,}", "layers": s.layers, "k": s.k, "vectors": "yes" if s.vectors else "no",
            "use": "fit" if used else "check", "build, s": f"{c.build:.2f}", "merge of 4, s": f"{c.merge:.2f}",
            "lists, MB": f"{c.list_bytes / 1e6:.2f}", "vectors, MB": f"{c.vector_bytes / 1e6:.1f}",
            "peak, MiB": f"{c.peak:.0f}",
        }
        for s, c, used in zip(settings, costs, fitted, strict=True)
    ]  # fmt: skip
    for name, terms_of, of, unit in (
        ("build", build_terms, "build", "seconds"),
        ("merge of 4", merge_terms, "merge", "seconds"),
        ("peak", peak_terms, "peak", "MiB"),
    ):
        terms, measured_n = np.array([terms_of(s) for s in settings]), np.array([getattr(c, of) for c in costs])
        coefficients = fit(terms[fitted], measured_n[fitted])
        predicted = terms @ coefficients
        for row, value, measured in zip(rows, predicted, measured_n, strict=True):
            row[f"{name}, predicted"] = f"{value:,.{2 if unit == 'seconds' else 0}f} ({value / measured - 1:+.0%})"
        print(
            f"{name}: {unit} = "
            + " + ".join(f"{c:.3g} x {t}" for c, t in zip(coefficients, terms_names(of), strict=True))
        )
        off = np.abs(predicted / measured_n - 1)
        print(f"largest error: {off[fitted].max():.0%} where fitted, {off[~fitted].max():.0%} on the checked size\n")
    print_table(rows)
    rest = [c.list_bytes / s.features - PLACE * s.k for s, c in zip(settings, costs, strict=True)]
    per_image = [c.image_bytes / s.images for s, c in zip(settings, costs, strict=True)]
    print(f"bytes a feature, mean and max: {PLACE} k for its lists, {min(rest):,.0f} to {max(rest):,.0f} for the rest")
    print(f"bytes an image in images.parquet: {min(per_image):.0f} to {max(per_image):.0f}\n")
    print_table([large(name, images, max(rest), max(per_image)) for name, images in COLLECTIONS.items()])


def terms_names(of: str) -> list[str]:
    if of == "peak":
        return ["1", "n", "F k", f"min(n, {SAMPLE_SIZE:,}) F"]
    if of == "build":
        return ["1", "n", "n F", "n F (with vectors)", "F k"]
    return ["1", "F k shards", "n F (with vectors)", f"min(n, {SAMPLE_SIZE:,}) F"]


def large(name: str, images: int, rest: float, image_bytes: float) -> dict[str, object]:
    """What the last four blocks of a ViT-B/32 over a large collection take."""
    features = CLIP_WIDTH * CLIP_LAYERS
    hours = images / IMAGES_PER_SECOND / 3600
    return {
        "collection": name,
        "images": f"{images:,}",
        "indices (4.29 billion rows each)": -(-images // ROWS_OF_AN_INDEX),
        "GPU hours": f"{hours:,.2f}",
        "hours on 64 GPUs": f"{hours / 64:,.2f}",
        "nodes of 8 GPUs, for a day": math.ceil(hours / 24 / 8),
        "lists, k = 100, MB": f"{features * (100 * PLACE + rest) / 1e6:,.0f}",
        "sample, GB": f"{min(images, SAMPLE_SIZE) * features * SAMPLED / 1e9:,.1f}",
        "images.parquet, GB": f"{images * image_bytes / 1e9:,.1f}",
        "vectors Flat, GB": f"{images * features * 4 / 1e9:,.0f}",
        "SQfp16, GB": f"{images * features * 2 / 1e9:,.0f}",
        "IVF,PQ64, GB": f"{images * CLIP_LAYERS * (64 + 8) / 1e9:,.0f}",
    }


if __name__ == "__main__":
    like_the_command_line()
    main()
