"""Showing images."""

from typing import Any

import numpy as np
from PIL import Image


def show(thing: Any, domain: tuple[float, float] = (0.0, 1.0)) -> None:
    """Show an image [h,w,3], several [n,h,w,3] or a list of either: in the notebook, or in a viewer outside of one.

    Args:
        domain: The values that are black and white.
    """
    parts = [thing] if isinstance(thing, np.ndarray) else list(thing)
    images = [np.concatenate(part, 1) if part.ndim == 4 else part for part in map(np.asarray, parts)]
    low, high = domain
    for image in images:
        levels = np.clip((image - low) / (high - low) * 255, 0, 255).astype(np.uint8)
        picture = Image.fromarray(levels)
        try:
            get_ipython  # type: ignore[name-defined]  # noqa: B018
        except NameError:
            picture.show()
        else:
            from IPython.display import display

            display(picture)
