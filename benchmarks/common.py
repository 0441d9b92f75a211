"""What the benchmarks share: turns that alternate, images made from a seed, and tables."""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from PIL import Image

from conceptprobe.models import VisionModel, load_model

# What `conceptprobe.keep_freed_memory` sets in the command line, for a process that has not begun.
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1), "MALLOC_ARENA_MAX": "1"}
VIT = "timm:vit_small_patch16_224@random"


class Pictures:
    """Images made from a seed, held in memory: a torch map-style dataset."""

    def __init__(self, count: int, size: int = 224) -> None:
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 256, (count, 7, 7, 3), dtype=np.uint8)
        self._images = [Image.fromarray(each).resize((size, size), Image.Resampling.BICUBIC) for each in coarse]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, position: int) -> Image.Image:
        return self._images[position]


def like_the_command_line() -> None:
    """Begin this process again as one that keeps freed memory, and so every process that it starts."""
    if any(os.environ.get(name) != value for name, value in KEPT.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEPT})


def make_model(spec: str = VIT) -> VisionModel:
    """The model on the CPU, its random weights, if so, from seed 0."""
    torch.manual_seed(0)
    return load_model(spec, device="cpu")


def preprocessed(model: VisionModel, pictures: Pictures) -> torch.Tensor:
    """All images as the model takes them, float32 [n,3,h,w] in [0,1]."""
    return torch.stack([model.preprocess(pictures[position]) for position in range(len(pictures))])


def alternate(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, np.ndarray]:
    """Seconds of every way in every round.

    The ways take turns, so that load from elsewhere falls on all of them alike, and the order is turned round after
    every round. One turn each comes first that does not count.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name in list(ways) if number % 2 else reversed(ways):
            start = time.perf_counter()
            ways[name]()
            if number:
                seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def spread(values: np.ndarray, digits: int = 2, unit: str = "") -> str:
    """Median, and lowest to highest."""
    low, median, high = (f"{value:,.{digits}f}" for value in np.quantile(values, [0, 0.5, 1]))
    return f"{median}{unit} ({low} to {high})"


def print_table(rows: Sequence[Mapping[str, object]]) -> None:
    """Print rows of the same columns in Markdown."""
    columns = list(rows[0])
    print(f"| {' | '.join(columns)} |")
    print(f"|{' --- |' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(str(row[column]) for column in columns)} |")
    print(flush=True)


def arguments(description: str | None, **options: tuple[int, int]) -> argparse.Namespace:
    """Parse `--quick` and numbers, each given as what it is by default and what with `--quick`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to see that it runs; its figures mean little"
    )
    for name, (full, quick) in options.items():
        parser.add_argument(f"--{name}", type=int, help=f"{full}; with --quick {quick}")
    given = parser.parse_args()
    for name, sizes in options.items():
        if getattr(given, name) is None:
            setattr(given, name, sizes[given.quick])
    return given
