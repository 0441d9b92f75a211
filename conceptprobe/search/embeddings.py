"""Embeddings of images, and other arrays with a row an image, cached on disk."""

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import platformdirs
import torch
from PIL.Image import Image

from conceptprobe.display.progress import tracked
from conceptprobe.images import ImageSource
from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.streaming.loader import load_batches
from conceptprobe.models import VisionModel

CACHE = Path(platformdirs.user_cache_dir("conceptprobe")) / "embeddings"
"""Where arrays are kept unless another directory is given; on Linux it follows XDG_CACHE_HOME."""


def embed_images(
    model: VisionModel,
    source: ImageSource,
    rows: np.ndarray | None = None,
    *,
    batch_size: int = 64,
    workers: int | None = None,
    cache: str | os.PathLike[str] | None = CACHE,
    progress: bool = False,
) -> np.ndarray:
    """Embed images by a model's `encode_image`.

    Args:
        model: The scorer; it needs an embedding.
        source: The images.
        rows: Rows of the source, int [n], in any order; by default all.
        batch_size: Images that the model sees at once.
        workers: Processes that decode images; by default half the processors.
        cache: The directory that keeps the result, by model, images and rows; None keeps nothing.
        progress: Show a bar on stderr.

    Returns:
        float32 [n,d], rows of length one.

    Raises:
        IndexingError: An image cannot be read, or its embedding is not finite.
        ModelError: The model has no embedding.
    """

    def embed(pixels_bchw: torch.Tensor) -> torch.Tensor:
        return model.encode_image(pixels_bchw.to(model.dtype))

    return map_images(
        embed, source, rows, preprocess=model.preprocess, shape=model.image_size,
        key=("embedding", model.fingerprint, model.device.type), description=f"{model.spec} on {source.spec}",
        batch_size=batch_size, workers=workers, cache=cache, progress=progress, device=model.device,
    )  # fmt: skip


def map_images(
    fn: Callable[[torch.Tensor], torch.Tensor],
    source: ImageSource,
    rows: np.ndarray | None,
    *,
    preprocess: Callable[[Image], torch.Tensor],
    shape: tuple[int, int],
    key: tuple[str, ...],
    description: str,
    batch_size: int = 64,
    workers: int | None = None,
    cache: str | os.PathLike[str] | None = CACHE,
    progress: bool = False,
    device: torch.device | None = None,
) -> np.ndarray:
    """A row an image, float32 [n,d], from a function of batches of pixels; see `embed_images`.

    Args:
        fn: From pixels [B,3,H,W] to finite rows [B,d], each of its own image alone.
        source: The images.
        rows: As of `embed_images`.
        preprocess: Makes the pixels of an image.
        shape: Height and width of the pixels.
        key: What tells the function from others; with images, rows and batch size it names the file in the cache.
        description: The text of the progress bar and of errors.
        batch_size: As of `embed_images`.
        workers: As of `embed_images`.
        cache: As of `embed_images`.
        progress: As of `embed_images`.
        device: Where the function gets its pixels, by default the CPU.
    """
    chosen = np.arange(len(source)) if rows is None else np.asarray(rows, np.int64)
    unique, places = np.unique(chosen, return_inverse=True)
    if not len(unique) or unique[0] < 0 or unique[-1] >= len(source):
        raise IndexingError(f"rows must be from 0 to {len(source) - 1}, at least one; got {len(unique)}: {unique[:5]}")
    names = json.dumps([*key, source.fingerprint, batch_size]).encode()
    path = None if cache is None else Path(cache) / f"{hashlib.sha256(names + unique.tobytes()).hexdigest()}.npy"
    values = _read(path)
    if values is None:
        subset = source if len(unique) == len(source) else source.subset(unique)
        pin = device is not None and device.type == "cuda"
        batches = load_batches(
            subset, preprocess, size=batch_size, shape=shape, workers=workers, pin=pin, device=device
        )
        total = -(-len(subset) // batch_size)
        done = []
        with torch.inference_mode():
            for batch in tracked(batches, description, total, show=progress):
                if batch.bad:
                    row, reason = batch.bad[0]
                    raise IndexingError(f"{source.spec}: {subset.table['id'][row].as_py()!r} cannot be read: {reason}")
                done.append(fn(batch.pixels_bchw)[: len(batch.rows)].float().cpu().numpy())
                if not (finite := np.isfinite(done[-1]).all(1)).all():
                    id_ = subset.table["id"][int(batch.rows[np.argmin(finite)])].as_py()
                    raise IndexingError(f"{description}: what the model gives for {id_!r} is not finite")
        values = np.concatenate(done)
        _write(path, values)
    return values if np.array_equal(places, np.arange(len(values))) else values[places]


def _read(path: Path | None) -> np.ndarray | None:
    if path is None or not path.is_file():
        return None
    try:
        values: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
    except (ValueError, OSError, EOFError):  # cut short by a full disk, say: it is made again
        return None
    return values


def _write(path: Path | None, values: np.ndarray) -> None:
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            np.save(file, values)
        Path(file.name).replace(path)
    except OSError as error:
        warnings.warn(f"{path.parent} cannot keep the result ({error}); it is made again next time", stacklevel=3)
