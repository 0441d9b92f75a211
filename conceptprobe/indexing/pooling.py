"""How the activations of one image become one number a feature."""

from dataclasses import dataclass

import torch

from conceptprobe.indexing.errors import IndexingError
from conceptprobe.models import Layer

POOLINGS = ("mean", "max", "cls")


@dataclass(frozen=True)
class Pooled:
    """Values float32 [b,f]; for `max` also where: the number of the patch in reading order, int32 [b,f]."""

    values_bf: torch.Tensor
    positions_bf: torch.Tensor | None = None


def check_pooling(layer: Layer, pooling: str) -> None:
    """Refuse a pooling that a layer cannot have.

    Raises:
        IndexingError: The pooling is unknown, or asks for a CLS token or patches where there are none.
    """
    if pooling not in POOLINGS:
        raise IndexingError(f"pooling {pooling!r} is unknown: choose from {', '.join(POOLINGS)}")
    if layer.kind == "attention":
        raise IndexingError(f"{layer.name} holds attention maps, which have no features to index")
    if pooling == "cls" and layer.cls is None:
        raise IndexingError(f"{layer.name} has no CLS token: index it with mean or max")
    if pooling == "max" and layer.kind == "vector":
        raise IndexingError(f"{layer.name} is one vector an image: index it with pooling mean, which takes it as it is")


def pool(acts: torch.Tensor, layer: Layer, pooling: str) -> Pooled:
    """Pool one batch.

    Args:
        acts: tokens [b,t,f], map [b,f,h,w] or vector [b,f], as `VisionModel.capture` gives them.
        layer: Where they come from; says which tokens are patches.
        pooling: `mean` over patches (a vector is taken as it is), `max` over patches, or the `cls` token.
    """
    acts = acts.float()
    if layer.kind == "vector":
        return Pooled(acts)
    if pooling == "cls":
        assert layer.cls is not None, layer
        return Pooled(acts[:, layer.cls])
    patches_bpf = acts[:, layer.prefix :] if layer.kind == "tokens" else acts.flatten(2).transpose(1, 2)
    if pooling == "mean":
        return Pooled(patches_bpf.mean(1))
    # Of equal patches the first; torch.max promises no order, argmax of a comparison with the maximum does.
    values_bf = patches_bpf.amax(1)
    positions_bf = (patches_bpf == values_bf[:, None]).int().argmax(1)
    return Pooled(values_bf, positions_bf.int())
