"""Textures of ice on a window, drawn because no photograph is shipped."""

import functools

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from conceptprobe.probes.stimuli.corruptions.grids import plasma

TEXTURES = 5
SIDE = 512
ROOTS = 70
SHADOW, LIGHT = np.array([0.2, 0.28, 0.4]), np.array([0.97, 0.99, 1.0])


@functools.cache
def crystals(number: int) -> np.ndarray:
    """A texture [512,512,3] in [0,1] of ice, the same in every process.

    Feathers of ice grow across a bluish haze, with side branches at 60 degrees as real ice has them.

    Args:
        number: Which of `TEXTURES`.
    """
    rng = np.random.default_rng([20190101, number])
    canvas = Image.new("L", (2 * SIDE, 2 * SIDE))
    draw = ImageDraw.Draw(canvas)
    leaning = rng.uniform(0, 360)
    for _ in range(ROOTS):
        at = rng.uniform(0, 2 * SIDE, 2)
        _feather(draw, at, leaning + rng.normal(0, 50), rng.uniform(0.3, 0.9) * SIDE, 2, rng)
    drawn = np.asarray(canvas.resize((SIDE, SIDE), Image.Resampling.BOX), np.float64) / 255
    glow = ndimage.gaussian_filter(drawn, 5, mode="wrap")
    haze = plasma(SIDE, 1.7, rng)
    ice = (0.45 * drawn + 0.7 * glow + 0.6 * haze**1.5).clip(0, 1)
    return np.asarray(SHADOW + ice[..., None] * (LIGHT - SHADOW))


def _feather(
    draw: ImageDraw.ImageDraw, at: np.ndarray, degrees: float, length: float, depth: int, rng: np.random.Generator
) -> None:
    """Draw a bent stem with smaller stems on both sides, shorter towards the tip."""
    steps = max(2, int(length / 20))
    bend = rng.normal(0, 2.5)
    for step in range(steps):
        rest = 1 - step / steps
        towards = np.array([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))])
        end = at + length / steps * towards
        level = int(90 + 120 * rest * rng.uniform(0.6, 1))
        draw.line([*at.tolist(), *end.tolist()], fill=level, width=1 + int(depth * rest * 1.5))
        if depth > 0:
            for side in (-60, 60):
                _feather(
                    draw,
                    end,
                    degrees + side + rng.normal(0, 4),
                    length * 0.4 * rest * rng.uniform(0.5, 1.2),
                    depth - 1,
                    rng,
                )
        at, degrees = end, degrees + bend
