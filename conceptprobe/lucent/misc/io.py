"""Showing images."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from conceptprobe.display.sheets import draw_grid


def show(thing: Any, domain: tuple[float, float] = (0.0, 1.0)) -> None:
    """Show an image [h,w,3], several images [n,h,w,3] side by side, or a list of these, in the notebook or a viewer.

    Args:
        thing: An array, or a list of arrays.
        domain: The values that are black and white.
    """
    low, high = domain
    for array in [thing] if isinstance(thing, np.ndarray) else thing:
        levels = np.clip((np.asarray(array) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
        if levels.ndim == 4:
            picture = draw_grid([Image.fromarray(image) for image in levels], len(levels))
        else:
            picture = Image.fromarray(levels)
        try:
            get_ipython  # type: ignore[name-defined]  # noqa: B018
        except NameError:
            picture.show()
        else:
            from IPython import display

            show_in_notebook: Callable[..., Any] = display.display
            show_in_notebook(picture)
