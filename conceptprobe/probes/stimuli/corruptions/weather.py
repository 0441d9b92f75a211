"""Weather: snow, frost, fog and brightness."""

import numpy as np
from PIL import Image

from conceptprobe.probes.stimuli.corruptions.blur import motion
from conceptprobe.probes.stimuli.corruptions.frost import TEXTURES, crystals
from conceptprobe.probes.stimuli.corruptions.grids import convolve, plasma, scale_of, stretch

SNOW = (
    (0.1, 0.3, 3, 0.5, (10, 4), 0.8),
    (0.2, 0.3, 2, 0.5, (12, 4), 0.7),
    (0.55, 0.3, 4, 0.9, (12, 8), 0.7),
    (0.55, 0.3, 4.5, 0.85, (12, 8), 0.65),
    (0.55, 0.3, 2.5, 0.85, (12, 12), 0.55),
)
FROST = ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75))
FOG = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))
BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)
GREY = np.array([0.299, 0.587, 0.114])
FOG_CROP = 8 / 7
"""How much wider the map of fog is than the image: 256 pixels for 224."""


def snow(image_hwc: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """White flakes blown downwards, as one layer and the same layer turned round; the image is paler below."""
    mean, std, cell, threshold, wind, kept = SNOW[severity - 1]
    scale = scale_of(image_hwc)
    height, width = image_hwc.shape[:2]
    # Flakes may be smaller than a pixel, so they are made for at least 224 pixels and then averaged.
    fine = [round(side / min(scale, 1)) for side in (height, width)]
    wide = cell * max(scale, 1)
    cells = [int(np.ceil(side / wide)) + 1 for side in fine]
    noise = mean + std * rng.standard_normal(cells)
    flakes = stretch(fine[0], cells[0], wide) @ noise @ stretch(fine[1], cells[1], wide).T
    flakes = np.where(flakes < threshold, 0, flakes.clip(0, 1))
    layer = convolve(shrink(flakes, height, width)[..., None], motion(wind, scale, rng.uniform(-135, -45)), "edge")
    paler = np.maximum(image_hwc, 1.5 * (image_hwc @ GREY)[..., None] + 0.5)
    return np.asarray(kept * image_hwc + (1 - kept) * paler + layer + layer[::-1, ::-1])


def frost(image_hwc: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Ice on a window: drawn crystals, where the public code puts photographs over the image."""
    kept, ice = FROST[severity - 1]
    texture = crystals(int(rng.integers(TEXTURES)))
    shown = [round(side / scale_of(image_hwc)) for side in image_hwc.shape[:2]]
    shown = [min(side, *texture.shape[:2]) for side in shown]
    top, left = (int(rng.integers(whole - side + 1)) for whole, side in zip(texture.shape, shown, strict=False))
    cut = texture[top : top + shown[0], left : left + shown[1]]
    layer = np.stack([shrink(cut[..., c], *image_hwc.shape[:2]) for c in range(3)], -1)
    return np.asarray(kept * image_hwc + ice * layer)


def fog(image_hwc: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """A pale cloudy layer in front of the image."""
    strength, decay = FOG[severity - 1]
    height, width = image_hwc.shape[:2]
    longer = max(height, width)
    side = 1 << int(np.ceil(np.log2(longer * FOG_CROP)))
    cut = plasma(side, decay, rng)[: round(side / FOG_CROP), : round(side / FOG_CROP)]
    layer = shrink(cut, longer, longer)[:height, :width, None]
    brightest = image_hwc.max()
    return np.asarray((image_hwc + strength * layer) * brightest / (brightest + strength))


def brightness(image_hwc: np.ndarray, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Lighter: the value of HSV is raised, hue and saturation stay."""
    value = image_hwc.max(-1, keepdims=True)
    raised = np.minimum(value + BRIGHTNESS[severity - 1], 1)
    return np.asarray(np.where(value > 0, image_hwc * raised / np.where(value > 0, value, 1), raised))


def shrink(field: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map [h,w] at another size; where it shrinks, each pixel is the mean of the pixels that it covers."""
    how = Image.Resampling.BOX if field.shape[0] >= height else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(field.astype(np.float32)).resize((width, height), how), np.float64)
