import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conceptprobe.concepts.looks.descriptors import COLOURS, describe_images, gradients, rgb_to_lab, standardise
from conceptprobe.images import load_images

# CIELAB of the corners of sRGB under D65, as in Lindbloom's calculator and every colour library
KNOWN = {
    (255, 255, 255): (100.0, 0.0, 0.0),
    (0, 0, 0): (0.0, 0.0, 0.0),
    (255, 0, 0): (53.24, 80.09, 67.20),
    (0, 255, 0): (87.74, -86.18, 83.18),
    (0, 0, 255): (32.30, 79.19, -107.86),
    (128, 128, 128): (53.59, 0.0, 0.0),
    (5, 5, 5): (1.37, 0.0, 0.0),
}


@pytest.mark.parametrize("rgb", KNOWN)
def test_lab_of_known_colours(rgb: tuple[int, int, int]) -> None:
    pixels = torch.tensor(rgb, dtype=torch.float32).reshape(1, 3, 1, 1) / 255
    np.testing.assert_allclose(rgb_to_lab(pixels).flatten(), KNOWN[rgb], atol=0.03)


def slow_gradients(grey: np.ndarray) -> list[float]:
    """Dalal & Triggs' descriptor, pixel by pixel."""
    cells = np.zeros((4, 4, 9))
    for y in range(64):
        for x in range(64):
            dy = grey[y + 1, x] - grey[y - 1, x] if 0 < y < 63 else 0.0
            dx = grey[y, x + 1] - grey[y, x - 1] if 0 < x < 63 else 0.0
            place = (math.atan2(dy, dx) % math.pi) / (math.pi / 9) - 0.5
            low = math.floor(place)
            cells[y // 16, x // 16, low % 9] += math.hypot(dx, dy) * (1 - (place - low)) / 256
            cells[y // 16, x // 16, (low + 1) % 9] += math.hypot(dx, dy) * (place - low) / 256
    result: list[float] = []
    for row in range(3):
        for column in range(3):
            block = cells[row : row + 2, column : column + 2].ravel()
            block = block / max(math.sqrt((block**2).sum()), 1e-5)
            block = np.minimum(block, 0.2)
            result.extend(block / max(math.sqrt((block**2).sum()), 1e-5))
    return result


def test_gradients_equal_the_slow_ones() -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 9), dtype=np.uint8))
    grey = np.asarray(coarse.resize((64, 64), Image.Resampling.BICUBIC)) / 255
    found = gradients(torch.tensor(grey)[None])[0]
    np.testing.assert_allclose(found, slow_gradients(grey), atol=1e-6)
    assert gradients(torch.zeros(1, 64, 64)).isfinite().all()


def test_standardise_gives_each_group_the_same_weight() -> None:
    rng = np.random.default_rng(1)
    values = np.concatenate([100 * rng.standard_normal((400, 5)) + 7, 0.01 * rng.standard_normal((400, 5))], axis=1)
    found = standardise(values, 5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    shares = np.square(found).mean(0).reshape(2, 5).sum(1)
    np.testing.assert_allclose(shares, 0.5, atol=0.05)
    assert np.isfinite(standardise(np.ones((3, 4)), 2)).all()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Squares and discs in four colours, on white."""
    from PIL import ImageDraw

    for i, colour in enumerate(["red", "darkred", "blue", "navy"]):
        for shape in ("rectangle", "ellipse"):
            image = Image.new("RGB", (90, 60), "white")
            getattr(ImageDraw.Draw(image), shape)((20, 12, 70, 48), fill=colour)
            image.save(tmp_path / f"{shape}{i}.png")
    Image.new("RGB", (30, 30), "white").save(tmp_path / "white.png")
    return tmp_path


def test_descriptors_tell_colours_and_shapes(folder: Path) -> None:
    source = load_images(f"folder:{folder}")
    found = describe_images(source, workers=0, cache=None)
    assert found.shape == (9, 372)
    assert found.dtype == np.float32
    row = {
        id_.removesuffix(".png"): found[i].astype(np.float64) for i, id_ in enumerate(source.table["id"].to_pylist())
    }
    red, blue = row["rectangle0"], row["rectangle2"]
    assert red[:COLOURS] @ row["ellipse0"][:COLOURS] > red[:COLOURS] @ blue[:COLOURS]
    assert red[COLOURS:] @ blue[COLOURS:] > red[COLOURS:] @ row["ellipse0"][COLOURS:]


def test_descriptors_are_cached(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, cache = load_images(f"folder:{folder}"), tmp_path / "cache"
    first = describe_images(source, np.array([4, 1, 2]), workers=0, cache=cache)
    monkeypatch.setattr(
        "conceptprobe.concepts.looks.descriptors.descriptors", lambda pixels: pixels.new_zeros(len(pixels), 372)
    )
    again = describe_images(source, np.array([2, 4, 1]), workers=0, cache=cache)
    np.testing.assert_allclose(again, first[[2, 0, 1]], atol=1e-6)
