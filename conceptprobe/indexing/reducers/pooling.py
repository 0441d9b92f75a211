"""How the activations of one image become one number a feature."""

import math
from collections.abc import Sequence
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

    def to(self, device: torch.device) -> "Pooled":
        """The same values on a device."""
        positions = self.positions_bf
        return Pooled(self.values_bf.to(device), None if positions is None else positions.to(device))

    def __getitem__(self, places: torch.Tensor) -> "Pooled":
        """Of some of the images."""
        positions = self.positions_bf
        return Pooled(self.values_bf[places], None if positions is None else positions[places])


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
    return Pooled(*_first_maximum(patches_bpf))


def pool_each(acts: torch.Tensor, layer: Layer, poolings: Sequence[str]) -> dict[str, Pooled]:
    """Pool one batch in several ways; see `pool`."""
    acts = acts.float()
    return {pooling: pool(acts, layer, pooling) for pooling in poolings}


def _first_maximum(patches_bpf: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The largest value and its patch, of equal ones the first; `torch.max` promises no order. NaN is at patch 0.

    Patches are looked at in groups: every patch once for the maxima of the groups, then only the group that holds the
    largest.
    """
    patches = patches_bpf.shape[1]
    size = math.isqrt(patches)
    whole = patches // size * size
    groups_bgf = patches_bpf[:, :whole].unflatten(1, (-1, size)).amax(2)
    if whole < patches:
        groups_bgf = torch.cat([groups_bgf, patches_bpf[:, whole:].amax(1, keepdim=True)], 1)
    values_bf = groups_bgf.amax(1)
    start_bf = _first(groups_bgf == values_bf[:, None]) * size
    offsets = torch.arange(size, device=patches_bpf.device)[:, None]
    near_bsf = patches_bpf.gather(1, (start_bf[:, None] + offsets).clamp(max=patches - 1))
    return values_bf, start_bf + _first(near_bsf == values_bf[:, None])


def _first(found_bnf: torch.Tensor) -> torch.Tensor:
    """The place of the first that is true, int32 [b,f]; 0 where none is."""
    count = found_bnf.shape[1]
    countdown = torch.arange(count, 0, -1, dtype=torch.int16, device=found_bnf.device)[:, None]
    return (count - (found_bnf * countdown).amax(1).int()) % count
