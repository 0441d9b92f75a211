"""Folders of images, and what is expected of the indices built from them."""

from pathlib import Path

import numpy as np
from PIL import Image


def picture(seed: int, size: int = 40) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(
        (size, size), Image.Resampling.BICUBIC
    )


def make_folder(root: Path, n: int) -> Path:
    for i in range(n):
        path = root / f"class{i % 3}" / f"{i:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(i).save(path)
    return root


def full_sort(values_nf: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    exact = values_nf.astype(np.float64)
    rows = np.stack([np.lexsort((np.arange(len(exact)), -exact[:, f]))[:k] for f in range(exact.shape[1])])
    return rows, np.take_along_axis(values_nf.T, rows, 1)


def same_files(a: Path, b: Path) -> None:
    files = sorted(p.relative_to(a) for p in a.rglob("*") if p.is_file())
    assert files == sorted(p.relative_to(b) for p in b.rglob("*") if p.is_file())
    for name in files:
        assert (a / name).read_bytes() == (b / name).read_bytes(), name
