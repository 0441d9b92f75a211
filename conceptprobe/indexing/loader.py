"""Batches of decoded images, cut by the global order, made by worker processes while the model runs."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL.Image import Image
from torch.utils.data import DataLoader, Dataset

from conceptprobe.images import ImageSource, UnreadableImageError


@dataclass(frozen=True)
class Batch:
    """Batch `number` holds rows number * size onwards. It is always full: rows past the end of the source and images
    that cannot be read are zeros, so that no image's result depends on another's. `good` are the places to use."""

    number: int
    pixels_bchw: torch.Tensor
    rows: np.ndarray
    good: np.ndarray
    hashes: tuple[str, ...]  # content hashes of the good images
    bad: tuple[tuple[int, str], ...]  # row and reason

    def pin_memory(self) -> "Batch":
        """Called by the loader: pixels in page-locked memory, for copies that overlap with compute."""
        return replace(self, pixels_bchw=self.pixels_bchw.pin_memory())


class _Batches(Dataset[Batch]):
    def __init__(
        self, source: ImageSource, preprocess: Callable[[Image], torch.Tensor], size: int, shape: tuple[int, int]
    ):
        self.source, self.preprocess, self.size, self.shape = source, preprocess, size, shape

    def __len__(self) -> int:
        return -(-len(self.source) // self.size)

    def __getitem__(self, number: int) -> Batch:
        rows = np.arange(number * self.size, min((number + 1) * self.size, len(self.source)))
        pixels = torch.zeros(self.size, 3, *self.shape, device="cpu")
        good, hashes, bad = [], [], []
        for place, row in enumerate(rows.tolist()):
            try:
                loaded = self.source.load(row)
            except UnreadableImageError as error:
                bad.append((row, str(error)))
                continue
            pixels[place] = self.preprocess(loaded.image)
            good.append(place)
            hashes.append(loaded.content_hash)
        return Batch(number, pixels, rows, np.array(good, dtype=np.int64), tuple(hashes), tuple(bad))


def default_workers() -> int:
    """Half the processors this process may use, between 1 and 8."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2
    return min(8, max(1, usable // 2))


def load_batches(
    source: ImageSource,
    preprocess: Callable[[Image], torch.Tensor],
    *,
    size: int,
    shape: tuple[int, int],
    workers: int,
    pin: bool,
    first: int = 0,
) -> Iterator[Batch]:
    """The batches in order, from number `first` on.

    Args:
        size: Images a batch.
        shape: Height and width of what `preprocess` gives.
        workers: Processes that decode; 0 decodes in this one.
        pin: Whether pixels lie in page-locked memory, for copies to CUDA.
    """
    dataset = _Batches(source, preprocess, size, shape)
    loader = DataLoader(
        dataset, batch_size=None, sampler=range(first, len(dataset)), num_workers=workers, pin_memory=pin,
        prefetch_factor=4 if workers else None,
    )  # fmt: skip
    return iter(loader)
