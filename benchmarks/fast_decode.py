"""What fast decoding saves and what it changes.

    python benchmarks/fast_decode.py [--workers 0 2] [--rounds 7]         # images a second, plain and fast, alternately
    python benchmarks/fast_decode.py --lists [--model mini:clip]          # the same top lists of an index, or how many

Needs the extra `fast`. Photo-like JPEGs (quality 90) are made from a seed: noise whose amplitude falls as 1/frequency
in luma and, weaker, in chroma, under discs of all sizes that cover each other, which give the edges and flat areas of
photographs (the dead leaves of Lee, Mumford and Huang 2001). They go through the loader that an index is built with,
for a model of 224 px that scales the shorter side to 256 and crops the middle. Load from other programs slows both
ways alike, since they take turns; the ratio of each pair of turns is what counts.

The lists are of emoji drawn at --side px and stored as JPEGs: 512 px for a model of 56 px is the largest step, 1/8.
"""

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from conceptprobe.images import load_images
from conceptprobe.images.decode import decode_image, decode_plain_jpeg
from conceptprobe.indexing import Index, build_index
from conceptprobe.indexing.streaming.loader import load_batches
from conceptprobe.models import load_model
from conceptprobe.models.preprocessing import Preprocessing

SIZES = ((500, 375, 48, 20), (2000, 1500, 16, 10))  # width, height, how many photos, how often each is listed
DISCS = 60
WHITE = (255, 255, 255)
PREPROCESS = Preprocessing(size=(224, 224), resize=(256, 256), mean=(0.5,) * 3, std=(0.5,) * 3)
K = 20


def photo(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    """One picture."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    noise = rng.standard_normal((3, *frequency.shape)) + 1j * rng.standard_normal((3, *frequency.shape))
    waves = np.fft.irfft2(noise / np.maximum(frequency, 1 / max(width, height)), (height, width))
    luma, red, blue = waves / waves.std((1, 2), keepdims=True)
    pixels = 128 + np.stack([45 * luma + 12 * red, 45 * luma - 6 * red - 6 * blue, 45 * luma + 12 * blue], -1)
    y, x = np.mgrid[:height, :width]
    for _ in range(DISCS):
        radius = min(width, height) * 0.01 / (rng.random() + 0.04)
        inside = np.hypot(x - rng.random() * width, y - rng.random() * height) < radius
        pixels[inside] = 0.35 * pixels[inside] + 0.65 * rng.integers(0, 256, 3)
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def write_photos(folder: Path, width: int, height: int, count: int, copies: int) -> list[bytes]:
    """Photos as JPEG files, each under several names, so that starting workers takes little of a pass; their bytes."""
    rng, found = np.random.default_rng(0), []
    for number in range(count):
        path = folder / f"{number:04}-0.jpg"
        photo(width, height, rng).save(path, quality=90)
        found.append(path.read_bytes())
        for copy in range(1, copies):
            os.link(path, folder / f"{number:04}-{copy}.jpg")
    return found


def milliseconds(do: Callable[[int], object], count: int, times: int = 5) -> float:
    """What one call takes, the quickest of some rounds of all."""
    rounds = []
    for _ in range(times):
        start = time.perf_counter()
        for number in range(count):
            do(number)
        rounds.append(time.perf_counter() - start)
    return 1000 * min(rounds) / count


def print_parts(files: list[bytes]) -> None:
    """Where the time of one image goes, plain and fast."""
    least = max(PREPROCESS.resize)
    images = [decode_image(data, WHITE).image for data in files]
    scaled = [torch.from_numpy(decode_plain_jpeg(data, least=least)).permute(2, 0, 1) for data in files]
    fitted = [PREPROCESS(image) for image in images]
    parts = {
        "hash": lambda i: hashlib.sha256(files[i]),
        "plain: decode, with hash": lambda i: decode_image(files[i], WHITE),
        "plain: resize, crop, to floats": lambda i: PREPROCESS(images[i]),
        "fast: decode": lambda i: decode_plain_jpeg(files[i], least=least),
        "fast: resize, crop": lambda i: PREPROCESS.fast(scaled[i]),
        "copy of the floats": lambda i: fitted[i].clone(),
    }
    print("    ms an image: " + "; ".join(f"{name} {milliseconds(do, len(files)):.2f}" for name, do in parts.items()))


def images_a_second(folder: Path, *, fast: bool, workers: int) -> float:
    source = load_images(f"folder:{folder}", fast_decode=fast)
    start = time.perf_counter()
    for _ in load_batches(source, PREPROCESS, size=16, shape=PREPROCESS.size, workers=workers, pin=False):
        pass
    return len(source) / (time.perf_counter() - start)


def compare_speed(workers: list[int], rounds: int) -> None:
    torch.set_num_threads(1)
    for width, height, count, copies in SIZES:
        with tempfile.TemporaryDirectory() as name:
            files = write_photos(Path(name), width, height, count, copies)
            size = np.mean([len(data) for data in files]) / 1000
            print(f"{width} x {height} px, {count} photos of {size:,.0f} kB, each {copies} times")
            print_parts(files)
            for number in workers:
                turns = [
                    [images_a_second(Path(name), fast=fast, workers=number) for fast in (False, True)]
                    for _ in range(rounds)
                ]
                plain, fast = np.median(turns, axis=0)
                ratios = sorted(quick / slow for slow, quick in turns)
                print(
                    f"    {number} workers: plain {plain:,.0f} images/s, fast {fast:,.0f}; "
                    f"ratio {np.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f} in {rounds} turns)"
                )


def write_emoji(folder: Path, count: int, side: int) -> None:
    emoji = load_images("mini:emoji/noto")
    for row in range(min(count, len(emoji))):
        emoji.load(row).image.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{row:05}.jpg", quality=90)


def compare_lists(model_spec: str, layers: str, count: int, side: int) -> None:
    model = load_model(model_spec)
    with tempfile.TemporaryDirectory() as name:
        (images := Path(name) / "images").mkdir()
        write_emoji(images, count, side)
        exact, fast = (
            build_index(
                model, load_images(f"folder:{images}", fast_decode=way), layers, Path(name) / str(way),
                pooling=("mean", "max"), k=K, vectors=False,
            )
            for way in (False, True)
        )  # fmt: skip
        print(f"{model_spec}, {layers}, {exact.manifest.counts.indexed} images, k {K}")
        for layer in exact.layers:
            for pooling in exact.poolings:
                print_overlap(exact, fast, layer, pooling)


def print_overlap(exact: Index, fast: Index, layer: str, pooling: str) -> None:
    stats = exact.stats(layer)
    features = [f"{layer}:{number}" for number in np.flatnonzero(~stats["dead"].to_numpy())]
    shared, first, moved = [], [], []
    for feature in features:
        one, other = (index.top(feature, k=K, pooling=pooling) for index in (exact, fast))
        shared.append(len(set(one.ids) & set(other.ids)) / K)
        first.append(one.ids[0] == other.ids[0])
        moved.append(abs(one.values[0] - other.values[0]) / max(abs(one.values[0]), 1e-12))
    print(
        f"    {layer} {pooling}: of the top {K} {np.mean(shared):.3f} are the same (5 % of the features below "
        f"{np.quantile(shared, 0.05):.2f}), the first in {np.mean(first):.3f} of {len(features)} features; "
        f"its value moves by {np.median(moved):.2%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 2])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--lists", action="store_true")
    parser.add_argument("--model", default="mini:clip")
    parser.add_argument("--layers", default="blocks[-4:].mlp.hidden")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--side", type=int, default=512)
    options = parser.parse_args()
    if options.lists:
        compare_lists(options.model, options.layers, options.images, options.side)
    else:
        compare_speed(options.workers, options.rounds)


if __name__ == "__main__":
    main()
