"""Which cells of an image's grid matter most: by the object's mask, or by what a model's CLS attends to."""

import numpy as np
import torch
from torch import Tensor

from conceptprobe.models import Layer, VisionModel
from conceptprobe.models.preprocessing import as_floats
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.responses import image_generators
from conceptprobe.probes.stimuli.grid import cell_means, upsample

BATCH = 32


def mask_saliency(items: Items, model: VisionModel, grid: tuple[int, int]) -> np.ndarray:
    """The share of each cell that the object covers, float64 [n,cells]; an image without a mask is all object."""
    has_n = items.masked()
    share_nc = np.ones((len(items), grid[0] * grid[1]))
    if has_n.any():
        share_nc[has_n] = cell_means(items.at(np.flatnonzero(has_n)).masks(model), grid).numpy()
    return np.nan_to_num(share_nc)


def attention_saliency(guide: VisionModel, items: Items, grid: tuple[int, int], head: int | None) -> np.ndarray:
    """What the last block's CLS pays to each cell, float64 [n,cells].

    The guide's own patches are spread over its image and averaged in the cells, as far as its image shows the same.

    Args:
        head: One head; None takes the mean of all.
    """
    layer = cls_attention_layer(guide, head)
    assert layer.cls is not None, layer
    assert layer.grid is not None, layer
    parts: list[Tensor] = []
    levels_nchw = items.pixels(guide)
    with torch.inference_mode():
        for start in range(0, len(items), BATCH):
            pixels_bchw = as_floats(levels_nchw[start : start + BATCH].to(guide.device))
            probs_bhp = guide.capture(pixels_bchw, layer.name)[layer.name][:, :, layer.cls, layer.prefix :].double()
            paid_bp = probs_bhp.mean(1) if head is None else probs_bhp[:, head]
            paid_bgg = paid_bp.cpu().reshape(-1, *layer.grid)
            parts.append(cell_means(upsample(paid_bgg, guide.image_size), grid))
    return np.nan_to_num(torch.cat(parts).numpy())


def cls_attention_layer(guide: VisionModel, head: int | None) -> Layer:
    """The last attention of a model, where its CLS can be asked.

    Raises:
        ProbeError: It has no attention, no CLS token, no grid of patches or no such head.
    """
    layer = last_attention(guide)
    if layer is None:
        raise ProbeError(
            f"{guide.spec} has no CLS token whose attention to patches could say what is salient: give another guide, "
            "or kinds without salient and non-salient"
        )
    if head is not None and not 0 <= head < layer.width:
        raise ProbeError(f"head {head}: {layer.name} of {guide.spec} has heads 0 to {layer.width - 1}")
    return layer


def attention_layers(model: VisionModel) -> list[Layer]:
    """The attention probabilities of all blocks."""
    return [layer for layer in model.layers if layer.kind == "attention"]


def last_attention(model: VisionModel) -> Layer | None:
    """The last attention that has a CLS token and a grid of patches."""
    found = [layer for layer in attention_layers(model) if layer.cls is not None and layer.grid is not None]
    return found[-1] if found else None


def ranked(saliency_nc: np.ndarray, ids: tuple[str, ...], seed: int) -> np.ndarray:
    """The cells of each image, the most salient first, int64 [n,cells]; equal ones in a random order of the image."""
    chance_nc = np.stack([rng.random(saliency_nc.shape[1]) for rng in image_generators(seed, ids, "saliency", 0)])
    return np.lexsort((chance_nc, -saliency_nc), axis=1)


def holding(saliency_nc: np.ndarray, order_nc: np.ndarray, share: float) -> np.ndarray:
    """The fewest cells, in the order given, that hold a share of an image's saliency: bool [...,cells], none for 0.

    What rounding adds to a sum counts for nothing. An image without any has no such cells.
    """
    sorted_nc = np.take_along_axis(saliency_nc, order_nc, -1)
    before_nc = sorted_nc.cumsum(-1) - sorted_nc
    held_nc = np.zeros(saliency_nc.shape, bool)
    np.put_along_axis(held_nc, order_nc, before_nc < share * saliency_nc.sum(-1, keepdims=True) * (1 - 1e-9), -1)
    return held_nc
