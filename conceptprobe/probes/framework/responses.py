"""Conditions, and what a model makes of images under a condition."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from conceptprobe.indexing.reducers.pooling import pool
from conceptprobe.models import VisionModel
from conceptprobe.probes.framework.batches import pixel_batches
from conceptprobe.probes.framework.probed_model import ProbedModel

BATCH = 64


@dataclass(frozen=True, eq=False)
class Condition:
    """A change of the images or of the model.

    Attributes:
        series: The curve that it belongs to, such as `random`.
        x: Its point on that curve, such as the share of patches dropped.
        draw: Which of several random draws of the same.
        change: From pixels float32 [b,3,h,w] in [0,1] and the numbers of the images int64 [b] to other pixels.
        context: Changes the model as long as it is open.
    """

    series: str
    x: float
    draw: int = 0
    change: Callable[[Tensor, np.ndarray], Tensor] | None = None
    context: Callable[[VisionModel], AbstractContextManager[object]] = field(default=lambda model: nullcontext())


@dataclass(frozen=True, eq=False)
class Response:
    """What a model made of n images, all float32.

    Attributes:
        scores_nc: Class scores; None without a head.
        embedding_nd: The layer that stands for the whole image.
        acts: Pooled activations [n,f] of each layer that is followed.
    """

    scores_nc: np.ndarray | None
    embedding_nd: np.ndarray
    acts: dict[str, np.ndarray]

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        scores = 0 if self.scores_nc is None else self.scores_nc.nbytes
        return scores + self.embedding_nd.nbytes + sum(values_nf.nbytes for values_nf in self.acts.values())

    def at(self, numbers: np.ndarray) -> "Response":
        """The embeddings and activations of some of the images, without scores."""
        return Response(None, self.embedding_nd[numbers], {name: acts[numbers] for name, acts in self.acts.items()})


def respond(probed: ProbedModel, levels_nchw: Tensor, condition: Condition, batch: int = BATCH) -> Response:
    """Show a model images under a condition, one forward pass a batch.

    Args:
        probed: The model.
        levels_nchw: uint8, as `ProbeImages.pixels` returns them.
        condition: What is changed.
        batch: Images in a batch.
    """
    model, head = probed.model, probed.head
    names = [probed.embedding_layer, *([head.layer] if head else []), *(layer.name for layer in probed.layers)]
    embedding_layer = model.resolve(probed.embedding_layer)[0]
    embedding_pooling = "cls" if embedding_layer.cls is not None else "mean"
    batches: dict[str, list[np.ndarray]] = {"scores": [], "embedding": []}
    acts: dict[str, list[np.ndarray]] = {layer.name: [] for layer in probed.layers}
    with torch.inference_mode(), condition.context(model):
        for numbers, pixels_bchw in pixel_batches(model, levels_nchw, batch):
            if condition.change is not None:
                pixels_bchw = condition.change(pixels_bchw, numbers)
            captured = model.capture(pixels_bchw, list(dict.fromkeys(names)))
            if head is not None:
                batches["scores"].append(_array(head(captured[head.layer])))
            pooled = pool(captured[embedding_layer.name], embedding_layer, embedding_pooling)
            batches["embedding"].append(_array(pooled.values_bf))
            for layer in probed.layers:
                pooled = pool(captured[layer.name], layer, probed.pooling_of(layer))
                acts[layer.name].append(_array(pooled.values_bf))
    return Response(
        np.concatenate(batches["scores"]) if head is not None else None,
        np.concatenate(batches["embedding"]),
        {name: np.concatenate(values) for name, values in acts.items()},
    )


def _array(value: Tensor) -> np.ndarray:
    return value.float().cpu().numpy()
