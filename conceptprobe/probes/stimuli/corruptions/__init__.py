"""The fifteen corruptions of ImageNet-C at five severities, written anew for images of any size.

Kinds and strengths at 224 px are those of the public code of Hendrycks & Dietterich 2019 (arXiv 1903.12261;
github.com/hendrycks/robustness, `imagenet_c/corruptions.py`). Lengths grow with the image's shorter side; where there
is no length to scale, a rule comes close to their figures for 64 and 299 px. Images are not saved as JPEG afterwards,
as those of ImageNet-C are.
"""

from collections.abc import Callable

import numpy as np

from conceptprobe.models.layers import suggest
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.stimuli.corruptions.blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from conceptprobe.probes.stimuli.corruptions.digital import contrast, elastic_transform, jpeg_compression, pixelate
from conceptprobe.probes.stimuli.corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from conceptprobe.probes.stimuli.corruptions.weather import brightness, fog, frost, snow

SEVERITIES = (1, 2, 3, 4, 5)
CORRUPTIONS: dict[str, Callable[[np.ndarray, int, np.random.Generator], np.ndarray]] = {
    function.__name__: function
    for function in (
        gaussian_noise, shot_noise, impulse_noise, defocus_blur, glass_blur, motion_blur, zoom_blur, snow, frost, fog,
        brightness, contrast, elastic_transform, pixelate, jpeg_compression,
    )
}  # fmt: skip
SMALLEST = 32


def corrupt(image_hwc: np.ndarray, name: str, severity: int, rng: np.random.Generator) -> np.ndarray:
    """Corrupt one image.

    Args:
        image_hwc: RGB in [0,1], no side shorter than 32 pixels.
        name: One of `CORRUPTIONS`.
        severity: 1 to 5.
        rng: Draws the noise.

    Returns:
        float32 [h,w,3], in whole steps of 1/255 as in an image file.

    Raises:
        ProbeError: There is no such corruption or severity, or the image is too small.
    """
    check_corruption(name)
    if severity not in SEVERITIES:
        raise ProbeError(f"severity is {severity!r}: choose from {', '.join(map(str, SEVERITIES))}")
    if image_hwc.ndim != 3 or image_hwc.shape[2] != 3 or min(image_hwc.shape[:2]) < SMALLEST:
        raise ProbeError(f"corruptions take RGB images [h,w,3] of at least {SMALLEST} pixels, got {image_hwc.shape}")
    changed = CORRUPTIONS[name](image_hwc.astype(np.float64), severity, rng)
    return (changed.clip(0, 1) * 255).round().astype(np.float32) / np.float32(255)


def check_corruption(name: str) -> str:
    """The name, if there is such a corruption.

    Raises:
        ProbeError: There is none; the message says which names are near.
    """
    if name not in CORRUPTIONS:
        raise ProbeError(f"no corruption {name!r}.{suggest(name, CORRUPTIONS)}")
    return name
