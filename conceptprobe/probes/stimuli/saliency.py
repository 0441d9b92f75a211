"""The saliency of an image's cells: by the mask of its object, or by the attention of a model's CLS token."""

import numpy as np
import torch
from torch import Tensor

from conceptprobe.models import Layer, VisionModel
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.batches import pixel_batches
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.randomness import image_generators
from conceptprobe.probes.stimuli.grid import cell_means, upsample

BATCH = 32


def mask_saliency(images: ProbeImages, model: VisionModel, grid: tuple[int, int]) -> np.ndarray:
    """The share of each cell that the object covers, float64 [n,cells]; 1 for an image without a mask."""
    has_n = images.masked()
    share_nc = np.ones((len(images), grid[0] * grid[1]))
    if has_n.any():
        share_nc[has_n] = cell_means(images.at(np.flatnonzero(has_n)).masks(model), grid).numpy()
    return np.asarray(np.nan_to_num(share_nc))


def attention_saliency(guide: VisionModel, images: ProbeImages, grid: tuple[int, int], head: int | None) -> np.ndarray:
    """The attention of the last block's CLS token to each cell, float64 [n,cells].

    The attention to the guide's patches is spread over its pixels and averaged in the cells.

    Args:
        guide: The model that attends.
        images: The images.
        grid: Rows and columns of the cells.
        head: The attention head; None takes the mean of all.
    """
    layer = cls_attention_layer(guide, head)
    assert layer.cls is not None, layer
    assert layer.grid is not None, layer
    batches: list[Tensor] = []
    levels_nchw = images.pixels(guide)
    with torch.inference_mode():
        for _, pixels_bchw in pixel_batches(guide, levels_nchw, BATCH):
            probs_bhp = guide.capture(pixels_bchw, layer.name)[layer.name][:, :, layer.cls, layer.prefix :].double()
            attention_bp = probs_bhp.mean(1) if head is None else probs_bhp[:, head]
            attention_bgg = attention_bp.cpu().reshape(-1, *layer.grid)
            batches.append(cell_means(upsample(attention_bgg, guide.image_size), grid))
    return np.asarray(np.nan_to_num(torch.cat(batches).numpy()))


def cls_attention_layer(guide: VisionModel, head: int | None) -> Layer:
    """The last attention layer of a model that can be a guide.

    Raises:
        ProbeError: The model has no attention, no CLS token, no grid of patches or no such head.
    """
    layer = last_attention(guide)
    if layer is None:
        raise ProbeError(
            f"{guide.spec} has no CLS token whose attention to patches could be the saliency: give another guide, or "
            "kinds without salient and non-salient"
        )
    if head is not None and not 0 <= head < layer.width:
        raise ProbeError(f"head {head}: {layer.name} of {guide.spec} has heads 0 to {layer.width - 1}")
    return layer


def attention_layers(model: VisionModel) -> list[Layer]:
    """The layers of attention probabilities of all blocks."""
    return [layer for layer in model.layers if layer.kind == "attention"]


def last_attention(model: VisionModel) -> Layer | None:
    """The last attention layer with a CLS token and a grid of patches."""
    layers = [layer for layer in attention_layers(model) if layer.cls is not None and layer.grid is not None]
    return layers[-1] if layers else None


def rank_cells(saliency_nc: np.ndarray, ids: tuple[str, ...], seed: int) -> np.ndarray:
    """The cells of each image, the most salient first, int64 [n,cells]; equal ones in an order drawn for the image."""
    chance_nc = np.stack([rng.random(saliency_nc.shape[1]) for rng in image_generators(seed, ids, "saliency", 0)])
    return np.lexsort((chance_nc, -saliency_nc), axis=1)


def top_cells(saliency_nc: np.ndarray, order_nc: np.ndarray, share: float) -> np.ndarray:
    """The fewest first cells of an order that hold a share of an image's saliency: bool [...,cells].

    Rounding errors of the sums are ignored. No cell holds a share of 0, nor any share of no saliency.

    Args:
        saliency_nc: The saliency of each cell.
        order_nc: The order of the cells.
        share: The share of the sum.
    """
    sorted_nc = np.take_along_axis(saliency_nc, order_nc, -1)
    before_nc = sorted_nc.cumsum(-1) - sorted_nc
    held_nc = np.zeros(saliency_nc.shape, bool)
    np.put_along_axis(held_nc, order_nc, before_nc < share * saliency_nc.sum(-1, keepdims=True) * (1 - 1e-9), -1)
    return held_nc
