"""The colours of natural images: a basis in which the three channels vary independently.

The channels of natural images are correlated. Steps of equal size in a decorrelated basis give natural colours, and
steps in RGB garish ones (Olah et al., "Feature Visualization", 2017). The matrix is Lucid's square root of the
covariance of ImageNet's colours; its columns are lightness, blue to yellow, and green to magenta.
"""

import torch
from torch import Tensor

BASIS = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
LONGEST = sum(row[0] ** 2 for row in BASIS) ** 0.5  # the norm of the longest column, by which Lucid divides


def mix(matrix: Tensor, values_nchw: Tensor) -> Tensor:
    """Multiply the channels of every pixel by a matrix.

    The product is written as a sum, since a matrix product may round differently in a batch of another size.

    Args:
        matrix: [3, 3], on any device.
        values_nchw: [n, 3, h, w].
    """
    columns = matrix.to(device=values_nchw.device, dtype=values_nchw.dtype)[:, :, None, None]
    return sum((columns[:, c] * values_nchw[:, c : c + 1] for c in range(1, 3)), columns[:, 0] * values_nchw[:, :1])


def correlate(values_nchw: Tensor, longest: bool = False) -> Tensor:
    """Map independent channels of unit variance to RGB about its mean.

    Args:
        values_nchw: [n, 3, h, w].
        longest: Divide by the norm of the longest column, as Lucid does.
    """
    return mix(_basis(longest), values_nchw)


def decorrelate(rgb_nchw: Tensor, longest: bool = False) -> Tensor:
    """The inverse of `correlate`."""
    return mix(torch.linalg.inv(_basis(longest)), rgb_nchw)


def _basis(longest: bool) -> Tensor:
    return torch.tensor(BASIS, device="cpu", dtype=torch.float64) / (LONGEST if longest else 1.0)
