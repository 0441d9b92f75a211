"""Digital: contrast, elastic transform, pixelation and JPEG."""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from conceptprobe.probes.stimuli.corruptions.grids import scale_of, smooth

CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)
ELASTIC = ((488.0, 170.8, 24.4), (488.0, 19.52, 48.8), (12.2, 2.44, 4.88), (17.08, 2.44, 4.88), (29.28, 2.44, 4.88))
PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)
JPEG_QUALITY = (25, 18, 15, 10, 7)


def contrast(image_hwc: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Each channel drawn towards its mean."""
    mean = image_hwc.mean((0, 1), keepdims=True)
    return np.asarray(mean + CONTRAST[severity - 1] * (image_hwc - mean))


def elastic_transform(image_hwc: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Stretched: three points of the image are moved at random, and each pixel also by a smooth random field.

    The image is sampled once, where the public code samples it for each of the two in turn.
    """
    scale = scale_of(image_hwc)
    strength, sigma, jitter = ELASTIC[severity - 1]
    shape = image_hwc.shape[:2]
    third = min(shape) / 3
    source = np.array(shape) / 2 + third * np.array([[1, 1], [1, -1], [-1, -1]])
    target = source + jitter * scale * rng.uniform(-1, 1, (3, 2))
    # Noise of smaller images is averaged over fewer pixels: the square keeps displacements in proportion.
    fields = [strength * scale**2 * smooth(rng.uniform(-1, 1, shape), sigma * scale) for _ in range(2)]
    back = np.linalg.solve(np.column_stack([target, np.ones(3)]), source)  # [row, column, 1] @ back
    moved = np.indices(shape) + np.stack(fields)
    row, column = np.einsum("ahw,ab->bhw", np.concatenate([moved, np.ones((1, *shape))]), back)
    channels = [ndimage.map_coordinates(image_hwc[..., c], (row, column), order=1, mode="mirror") for c in range(3)]
    return np.stack(channels, -1)


def pixelate(image_hwc: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Averaged over larger cells.

    The share of cells is raised to the square root of the scale, which is close to the public code's figures at 64, 224
    and 299 px.
    """
    share = PIXELATE[severity - 1] ** np.sqrt(scale_of(image_hwc))
    height, width = image_hwc.shape[:2]
    cells = (max(1, int(width * share)), max(1, int(height * share)))
    small = to_pil(image_hwc).resize(cells, Image.Resampling.BOX)
    return from_pil(small.resize((width, height), Image.Resampling.BOX))


def jpeg_compression(image_hwc: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Saved as a JPEG of low quality.

    The steps of the quantiser are in proportion to the scale, which is close to the public code's figures at 64, 224
    and 299 px.
    """
    file = io.BytesIO()
    to_pil(image_hwc).save(file, "JPEG", quality=jpeg_quality(severity, scale_of(image_hwc)))
    return from_pil(Image.open(file))


def jpeg_quality(severity: int, scale: float) -> int:
    """The JPEG quality whose quantiser has `scale` times the steps of the severity's quality.

    By libjpeg's rule, steps in per cent are 5000 / quality below a quality of 50, and 200 - 2 quality above.
    """
    steps = scale * 5000 / JPEG_QUALITY[severity - 1]
    return int(np.clip(round(5000 / steps if steps > 100 else 100 - steps / 2), 1, 95))


def to_pil(image_hwc: np.ndarray) -> Image.Image:
    """An image of 8 bits."""
    return Image.fromarray((image_hwc.clip(0, 1) * 255).round().astype(np.uint8))


def from_pil(image: Image.Image) -> np.ndarray:
    """Values in [0,1], float64."""
    return np.asarray(image.convert("RGB"), np.float64) / 255
