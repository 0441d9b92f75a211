"""Leaves of equal structure, read from a layer together: one value for each unit, image and view.

Letters: n units, g images of a unit, e views of an image, p positions (patches, or the one of a vector), c features.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from conceptprobe.models import Layer, VisionModel
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.objectives.expressions import Objective
from conceptprobe.visualization.objectives.latents import jump
from conceptprobe.visualization.objectives.similarity import caricature, distance, similarity
from conceptprobe.visualization.objectives.specific import Contest, Rivals
from conceptprobe.visualization.objectives.terms import (
    Caricature,
    Direction,
    Distance,
    Feature,
    Latent,
    Leaf,
    Similarity,
    Text,
    first_patch,
    one_layer,
    position,
)

T = TypeVar("T", bound=Leaf)
_NEAR_ZERO = 1e-6  # a patch that is all zeros must not get an endless gradient
_HIDDEN, _PRE = ".mlp.hidden", ".mlp.pre"


@dataclass(frozen=True)
class Reading:
    """What some leaves have in common.

    Attributes:
        layer: The layer to capture.
        read: From its activations [n,g,e,p,c] of the units to float32 [n,g,e].
    """

    layer: str
    read: Callable[[Tensor], Tensor]

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        return self.read(acts[self.layer])


def structure(leaf: Objective) -> Hashable:
    """What leaves must have in common to be read together."""
    assert isinstance(leaf, Leaf), leaf
    pooled = leaf.pooling.split()[0] if isinstance(leaf, Feature | Direction | Latent | Rivals) else None
    return type(leaf), leaf.layer, pooled, isinstance(leaf, Direction) and leaf.cosine


def by_position(acts: Tensor, layer: Layer) -> Tensor:
    """Activations of any kind of layer as [b,p,c]."""
    if layer.kind == "tokens":
        return acts
    return acts.flatten(2).transpose(1, 2) if layer.kind == "map" else acts[:, None]


def read_together(model: VisionModel, leaves: Sequence[Objective], *, early: bool) -> Reading:
    """The reading of leaves of one structure, in their order.

    Args:
        early: As it is at the start of an optimisation, where a unit that is off must still get a gradient: features
            and directions of `X.mlp.hidden` in `X.mlp.pre`, where the model has that, and latents before their ReLU.
    """
    first = leaves[0]
    assert isinstance(first, Leaf), first
    layer = one_layer(model, first.layer)
    device = model.device
    if isinstance(first, Feature | Direction) and early:
        layer = _before_activation(model, layer)
    if isinstance(first, Feature):
        index_n = torch.tensor([leaf.index for leaf in _all(Feature, leaves)], device=device)
        return Reading(layer.name, _Pooled(layer, _Features(index_n), *_place(layer, leaves, device)))
    if isinstance(first, Direction | Text):
        vectors_nc, cosine = _vectors(model, leaves)
        return Reading(layer.name, _Pooled(layer, _Directions(vectors_nc, cosine), *_place(layer, leaves, device)))
    if isinstance(first, Latent):
        return Reading(layer.name, _Pooled(layer, _latents(leaves, early, device), *_place(layer, leaves, device)))
    if isinstance(first, Rivals):
        pooled = _Pooled(layer, Tensor.float, *_place(layer, leaves, device))
        return Reading(layer.name, Contest.of(_all(Rivals, leaves), pooled, device))
    if isinstance(first, Similarity):
        return Reading(layer.name, _Patches(layer, similarity))
    targets_npc = _targets(model, layer, leaves)
    if isinstance(first, Distance):
        return Reading(layer.name, _Patches(layer, distance, (targets_npc,)))
    power_n = torch.tensor([leaf.power for leaf in _all(Caricature, leaves)], device=device, dtype=torch.float32)
    return Reading(layer.name, _Patches(layer, caricature, (targets_npc, power_n)))


@dataclass(frozen=True)
class _Pooled:
    """A value at each of the positions that a pooling looks at, and from them one.

    Attributes:
        how: `mean`, `max` or `at`.
        at_n: The position of each unit; one number where it is the same for all.
    """

    layer: Layer
    value: Callable[[Tensor], Tensor]
    how: str
    at_n: Tensor | int | None

    def __call__(self, acts_ngepc: Tensor) -> Tensor:
        if isinstance(self.at_n, int):
            acts_ngepc = acts_ngepc[..., self.at_n : self.at_n + 1, :]
        elif self.at_n is not None:
            acts_ngepc = acts_ngepc.take_along_dim(self.at_n[:, None, None, None, None], dim=3)
        else:
            acts_ngepc = acts_ngepc[..., first_patch(self.layer) :, :]
        value_ngep = self.value(acts_ngepc)
        return value_ngep.amax(3) if self.how == "max" else value_ngep.mean(3)


@dataclass(frozen=True)
class _Features:
    index_n: Tensor

    def __call__(self, acts_ngepc: Tensor) -> Tensor:
        return acts_ngepc.take_along_dim(self.index_n[:, None, None, None, None], dim=4).squeeze(4).float()


@dataclass(frozen=True)
class _Directions:
    vectors_nc: Tensor
    cosine: bool

    def __call__(self, acts_ngepc: Tensor) -> Tensor:
        acts_ngepc = acts_ngepc.float()
        if self.cosine:
            acts_ngepc = F.normalize(acts_ngepc, dim=4, eps=_NEAR_ZERO)
        return torch.einsum("ngepc,nc->ngep", acts_ngepc, self.vectors_nc)


@dataclass(frozen=True)
class _Latents:
    weights_nc: Tensor
    centres_nc: Tensor
    bias_n: Tensor
    threshold_n: Tensor
    early: bool

    def __call__(self, acts_ngepc: Tensor) -> Tensor:
        from_centre = acts_ngepc.float() - self.centres_nc[:, None, None, None]
        before_ngep = torch.einsum("ngepc,nc->ngep", from_centre, self.weights_nc) + self.bias_n[:, None, None, None]
        return before_ngep if self.early else jump(before_ngep, self.threshold_n[:, None, None, None])


@dataclass(frozen=True)
class _Patches:
    """A value of all patches of an image; where there are targets, [n,p,c], beside those of the unit's."""

    layer: Layer
    value: Callable[..., Tensor]
    targets: tuple[Tensor, ...] = ()

    def __call__(self, acts_ngepc: Tensor) -> Tensor:
        patches_ngepc = acts_ngepc[..., first_patch(self.layer) :, :].float()
        if self.targets and self.targets[0].shape[1:] != patches_ngepc.shape[3:]:
            raise VisualizeError(
                f"{self.layer.name}: the image to compare with has {self.targets[0].shape[1]} patches, a view has "
                f"{patches_ngepc.shape[3]}; look at views of the model's own size"
            )
        return self.value(patches_ngepc, *self.targets)


def _before_activation(model: VisionModel, layer: Layer) -> Layer:
    name = layer.name.removesuffix(_HIDDEN) + _PRE
    if not layer.name.endswith(_HIDDEN) or name not in {known.name for known in model.layers}:
        return layer
    pre = one_layer(model, name)
    return pre if pre.width == layer.width else layer


def _place(layer: Layer, leaves: Sequence[Objective], device: torch.device) -> tuple[str, Tensor | int | None]:
    """How the leaves are pooled, and where each looks if it is at one position."""
    poolings = [leaf.pooling for leaf in leaves if isinstance(leaf, Feature | Direction | Latent | Rivals)]
    if layer.kind == "vector" or not poolings:
        return "at", 0
    kind = poolings[0].split()[0]
    if kind in ("mean", "max"):
        return kind, None
    before = first_patch(layer) if kind == "patch" else 0
    at = [(layer.cls if kind == "cls" else position(pooling)) or 0 for pooling in poolings]
    same = len(set(at)) == 1
    return "at", before + at[0] if same else before + torch.tensor(at, device=device)


def _vectors(model: VisionModel, leaves: Sequence[Objective]) -> tuple[Tensor, bool]:
    """Vectors [n,c] of directions or of texts, and whether it is their cosine that counts."""
    if isinstance(leaves[0], Text):
        with torch.no_grad():
            words = [leaf.words for leaf in _all(Text, leaves)]
            return model.encode_text(words).to(model.device, torch.float32), True
    directions = _all(Direction, leaves)
    vectors_nc = torch.stack([leaf.vector_c for leaf in directions])
    cosine = directions[0].cosine
    return (F.normalize(vectors_nc, dim=1) if cosine else vectors_nc).to(model.device), cosine


def _latents(leaves: Sequence[Objective], early: bool, device: torch.device) -> _Latents:
    latents = _all(Latent, leaves)
    return _Latents(
        torch.stack([leaf.sae.encoder_df[:, leaf.index] for leaf in latents]).to(device),
        torch.stack([leaf.sae.centre_d for leaf in latents]).to(device),
        torch.stack([leaf.sae.bias_f[leaf.index] for leaf in latents]).to(device),
        torch.stack([leaf.sae.threshold_f[leaf.index] for leaf in latents]).to(device),
        early,
    )


@torch.no_grad()
def _targets(model: VisionModel, layer: Layer, leaves: Sequence[Objective]) -> Tensor:
    """The patches [n,p,c] of the images to compare with; an image that many units share is looked at once."""
    seen: dict[int, Tensor] = {}
    targets = []
    for leaf in leaves:
        assert isinstance(leaf, Caricature | Distance), leaf
        if id(leaf.image) not in seen:
            pixels_chw = leaf.image if isinstance(leaf.image, Tensor) else model.preprocess(leaf.image)
            pixels_bchw = pixels_chw[None].to(model.device)
            if tuple(pixels_bchw.shape[2:]) != model.image_size:
                pixels_bchw = F.interpolate(pixels_bchw, model.image_size, mode="bilinear", antialias=True)
            acts_bpc = by_position(model.capture(pixels_bchw, [layer.name])[layer.name], layer)
            seen[id(leaf.image)] = acts_bpc[0, first_patch(layer) :].float()
        targets.append(seen[id(leaf.image)])
    return torch.stack(targets)


def _all(kind: type[T], leaves: Sequence[Objective]) -> list[T]:
    return [leaf for leaf in leaves if isinstance(leaf, kind)]
