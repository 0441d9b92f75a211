"""Images in batches, as models take them."""

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from conceptprobe.models import VisionModel
from conceptprobe.models.preprocessing import as_floats


def pixel_batches(model: VisionModel, levels_nchw: Tensor, batch: int) -> Iterator[tuple[np.ndarray, Tensor]]:
    """Batches of images on a model's device: their numbers int64 [b], and their pixels float32 [b,3,h,w] in [0,1].

    Args:
        model: The model that sees them.
        levels_nchw: uint8, as `ProbeImages.pixels` returns them.
        batch: Images in a batch.
    """
    for start in range(0, len(levels_nchw), batch):
        levels_bchw = levels_nchw[start : start + batch]
        yield np.arange(start, start + len(levels_bchw)), as_floats(levels_bchw.to(model.device))
