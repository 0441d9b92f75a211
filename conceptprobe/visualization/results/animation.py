"""Animations of an optimisation."""

import io

import numpy as np
from PIL import Image

KINDS = ("gif", "webp")
SECONDS = 4.0  # the length of an animation
REST = 1.0  # seconds on the finished image


def encode_animation(frames_thwc: np.ndarray, kind: str) -> bytes:
    """An endless animation of an image during its optimisation, which rests on the finished image.

    Args:
        frames_thwc: uint8 [t,h,w,3].
        kind: `gif` or `webp`.
    """
    frames = [Image.fromarray(frame) for frame in frames_thwc]
    step = max(20, round(1000 * SECONDS / len(frames) / 10) * 10)  # GIF counts in hundredths of a second
    durations = [step] * (len(frames) - 1) + [step + round(1000 * REST)]
    out = io.BytesIO()
    # Pillow joins equal frames of a GIF itself; WebP at this quality is a tenth of the lossless size.
    options = {"quality": 85} if kind == "webp" else {}
    frames[0].save(out, kind, save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    return out.getvalue()
