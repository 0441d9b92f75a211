"""Batches of decoded images, cut by the global order, made by worker processes while the model runs."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL.Image import Image
from torch.utils.data import DataLoader, Dataset

from conceptprobe.images import ImageSource, UnreadableImageError
from conceptprobe.images.decode import decode_plain_jpeg, is_plain_jpeg
from conceptprobe.indexing.streaming.nvjpeg import decode_jpegs, has_nvjpeg
from conceptprobe.models.preprocessing import Preprocessing, as_floats


@dataclass(frozen=True)
class Batch:
    """Batch `number` holds the rows from number * size on. `good` are the positions of the images that were read.

    A batch is always full: rows past the end of the source and images that cannot be read are zeros, so that no image's
    result depends on another's.
    """

    number: int
    pixels_bchw: torch.Tensor
    rows: np.ndarray
    good: np.ndarray
    hashes: tuple[str, ...]  # content hashes of the good images
    bad: tuple[tuple[int, str], ...]  # row and reason

    def pin_memory(self) -> "Batch":
        """Called by the loader: pixels in page-locked memory, for copies that overlap with compute."""
        return replace(self, pixels_bchw=self.pixels_bchw.pin_memory())


@dataclass(frozen=True)
class _Sent:
    """What a worker sends: a batch, and the JPEGs that it leaves to the GPU, one after the other."""

    batch: Batch  # pixels are uint8 where `preprocess` is a model's `Preprocessing`, else floats in [0,1]
    jpegs: torch.Tensor
    sizes: tuple[int, ...]
    places: tuple[int, ...]

    def pin_memory(self) -> "_Sent":
        return replace(self, batch=self.batch.pin_memory())


class _Batches(Dataset[_Sent]):
    def __init__(
        self,
        source: ImageSource,
        preprocess: Callable[[Image], torch.Tensor],
        size: int,
        shape: tuple[int, int],
        device: torch.device,
    ) -> None:
        self.source, self.preprocess, self.size, self.shape = source, preprocess, size, shape
        self.own = preprocess if isinstance(preprocess, Preprocessing) else None
        self.fast = self.own if source.fast_decode else None
        self.sends_jpegs = fast_decoder(source, preprocess, device) == "nvjpeg"

    def __len__(self) -> int:
        return -(-len(self.source) // self.size)

    def __getitem__(self, number: int) -> _Sent:
        rows = np.arange(number * self.size, min((number + 1) * self.size, len(self.source)))
        dtype = torch.float32 if self.own is None else torch.uint8
        prepare = self.preprocess if self.own is None else self.own.levels
        pixels = torch.zeros(self.size, 3, *self.shape, dtype=dtype, device="cpu")
        good, hashes, bad, jpegs = [], [], [], {}
        for place, row in enumerate(rows.tolist()):
            try:
                data = self.source.read(row)
                if self.sends_jpegs and isinstance(data, bytes) and is_plain_jpeg(data):
                    jpegs[place] = data
                    content_hash = hashlib.sha256(data).hexdigest()
                elif self.fast is not None:
                    pixels[place], content_hash = self._decode_fast(data, self.fast)
                else:
                    loaded = self.source.decode(data)
                    pixels[place], content_hash = prepare(loaded.image), loaded.content_hash
            except UnreadableImageError as error:
                bad.append((row, str(error)))
                continue
            good.append(place)
            hashes.append(content_hash)
        batch = Batch(number, pixels, rows, np.array(good, dtype=np.int64), tuple(hashes), tuple(bad))
        joined = torch.from_numpy(np.frombuffer(b"".join(jpegs.values()), np.uint8).copy())
        return _Sent(batch, joined, tuple(map(len, jpegs.values())), tuple(jpegs))

    def _decode_fast(self, data: bytes | Image, fast: Preprocessing) -> tuple[torch.Tensor, str]:
        least = max(fast.resize)
        if fast.scales_tensors and isinstance(data, bytes):
            pixels_hwc = decode_plain_jpeg(data, least=least)
            if pixels_hwc is not None:
                return fast.fast(torch.from_numpy(pixels_hwc).permute(2, 0, 1)), hashlib.sha256(data).hexdigest()
        loaded = self.source.decode(data, least=least)
        return fast.fast(loaded.image), loaded.content_hash

    def finish(self, sent: _Sent, device: torch.device) -> Batch:
        """Bring the pixels to the device as floats, decoding there the JPEGs that were left."""
        batch = sent.batch
        pixels = batch.pixels_bchw.to(device, non_blocking=True)
        if self.own is None:
            return replace(batch, pixels_bchw=pixels)
        jpegs = sent.jpegs.split(sent.sizes) if sent.sizes else ()
        reasons: dict[int, str] = {}
        for place, image in zip(sent.places, self._decode(jpegs, device), strict=True):
            if isinstance(image, str):
                reasons[place] = image
            else:
                pixels[place] = self.own.fast(image)
        if reasons:
            kept = [i for i, place in enumerate(batch.good.tolist()) if place not in reasons]
            bad = [*batch.bad, *((int(batch.rows[place]), reason) for place, reason in reasons.items())]
            hashes = tuple(batch.hashes[i] for i in kept)
            batch = replace(batch, good=batch.good[kept], hashes=hashes, bad=tuple(sorted(bad)))
        return replace(batch, pixels_bchw=as_floats(pixels))

    def _decode(self, jpegs: Sequence[torch.Tensor], device: torch.device) -> list[Any]:
        """Pixels of each JPEG; where the GPU cannot decode it, the image or the reason that the CPU gives."""
        if not jpegs:
            return []
        try:
            return decode_jpegs(jpegs, device)
        except RuntimeError:
            if len(jpegs) > 1:
                return [image for jpeg in jpegs for image in self._decode([jpeg], device)]
        try:
            return [self.source.decode(jpegs[0].numpy().tobytes()).image]
        except UnreadableImageError as error:
            return [str(error)]


def fast_decoder(source: ImageSource, preprocess: Callable[[Image], torch.Tensor], device: torch.device) -> str | None:
    """How fast decoding is done, for the manifest: "nvjpeg" on a GPU that can, else "scaled"; None where it is off."""
    if not source.fast_decode:
        return None
    on_tensors = isinstance(preprocess, Preprocessing) and preprocess.scales_tensors
    return "nvjpeg" if on_tensors and has_nvjpeg(device) else "scaled"


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
    workers: int | None,
    pin: bool,
    first: int = 0,
    device: torch.device | None = None,
) -> Iterator[Batch]:
    """The batches in order, from number `first` on.

    Where the source allows fast decoding, it is used if `preprocess` is a model's `Preprocessing`.

    Args:
        source: The images.
        preprocess: Makes the pixels of an image.
        size: Images a batch.
        shape: Height and width of what `preprocess` gives.
        workers: Processes that decode; 0 decodes in this one, and None is half the processors.
        first: Number of the first batch.
        pin: Whether pixels lie in page-locked memory, for copies to CUDA.
        device: Where the pixels are brought to, by default the CPU.
    """
    device = torch.device("cpu") if device is None else device
    workers = default_workers() if workers is None else workers
    dataset = _Batches(source, preprocess, size, shape, device)
    loader = DataLoader(
        dataset, batch_size=None, sampler=range(first, len(dataset)), num_workers=workers, pin_memory=pin,
        prefetch_factor=4 if workers else None, generator=torch.Generator("cpu"),  # not the global one
    )  # fmt: skip
    return (dataset.finish(sent, device) for sent in loader)
