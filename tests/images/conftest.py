import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def encode_image(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


@pytest.fixture
def encode() -> Callable[..., bytes]:
    return encode_image


@pytest.fixture
def photo() -> Image.Image:
    """Every pixel its own colour, no symmetry, and wider than high."""
    rows, columns = np.mgrid[:12, :20]
    pixels = np.stack([rows * 20, columns * 12, (rows * 20 + columns) % 256], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


@pytest.fixture
def write_images() -> Callable[..., dict[str, bytes]]:
    def write(root: Path, names: list[str]) -> dict[str, bytes]:
        """A different small PNG at each name."""
        written = {}
        for i, name in enumerate(names):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            written[name] = encode_image(Image.new("RGB", (4, 3), (i, 255 - i, 7)), "PNG")
            path.write_bytes(written[name])
        return written

    return write
