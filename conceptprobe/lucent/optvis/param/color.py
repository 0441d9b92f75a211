"""Colours."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from conceptprobe.visualization.parametrizations.colour import BASIS, LONGEST, correlate

color_correlation_svd_sqrt = np.asarray(BASIS, dtype=np.float32)
max_norm_svd_sqrt = np.float32(LONGEST)
color_correlation_normalized = color_correlation_svd_sqrt / max_norm_svd_sqrt
color_mean = [0.48, 0.46, 0.41]


def to_valid_rgb(image_f: Callable[[], Tensor], decorrelate: bool = False) -> Callable[[], Tensor]:
    """An image function with values in [0,1], by a sigmoid.

    Args:
        image_f: The image function.
        decorrelate: Whether its channels are decorrelated, and are converted to RGB first.
    """

    def inner() -> Tensor:
        values = image_f()
        return torch.sigmoid(correlate(values, longest=True) if decorrelate else values)

    return inner
