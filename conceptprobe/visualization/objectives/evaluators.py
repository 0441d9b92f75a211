"""Terms of equal structure, evaluated together: one value for each unit, image and view.

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
from conceptprobe.visualization.objectives.specific import RivalEvaluator, Rivals
from conceptprobe.visualization.objectives.terms import (
    Caricature,
    Direction,
    Distance,
    Feature,
    Latent,
    Similarity,
    Term,
    Text,
    first_patch,
    one_layer,
    position,
)

T = TypeVar("T", bound=Term)
_NEAR_ZERO = 1e-6  # keeps the gradient of a patch of zeros finite
_HIDDEN, _PRE = ".mlp.hidden", ".mlp.pre"


@dataclass(frozen=True)
class TermEvaluator:
    """The function that evaluates n terms of one layer.

    Attributes:
        layer: The layer to capture.
        value: From the layer's activations [n,g,e,p,c] to float32 [n,g,e].
    """

    layer: str
    value: Callable[[Tensor], Tensor]

    def __call__(self, acts: Mapping[str, Tensor]) -> Tensor:
        """Values float32 [n,g,e]."""
        return self.value(acts[self.layer])


def structure(term: Objective) -> Hashable:
    """A key that is equal for terms which one evaluator can evaluate."""
    assert isinstance(term, Term), term
    pooled = term.pooling.split()[0] if isinstance(term, Feature | Direction | Latent | Rivals) else None
    return type(term), term.layer, pooled, isinstance(term, Direction) and term.cosine


def by_position(acts: Tensor, layer: Layer) -> Tensor:
    """Activations of any kind of layer as [b,p,c]."""
    if layer.kind == "tokens":
        return acts
    return acts.flatten(2).transpose(1, 2) if layer.kind == "map" else acts[:, None]


def make_evaluator(model: VisionModel, terms: Sequence[Objective], *, early: bool) -> TermEvaluator:
    """The evaluator of terms of one structure, in their order.

    Args:
        model: The model.
        terms: Terms with the same `structure`.
        early: Whether features that are off must get a gradient, as at the start of an optimisation. Features and
            directions of `X.mlp.hidden` are then read from `X.mlp.pre`, where the model has it, and latents before
            their ReLU.
    """
    first = terms[0]
    assert isinstance(first, Term), first
    layer = one_layer(model, first.layer)
    device = model.device
    if isinstance(first, Feature | Direction) and early:
        layer = _before_activation(model, layer)
    if isinstance(first, Feature):
        index_n = torch.tensor([term.index for term in _all(Feature, terms)], device=device)
        return TermEvaluator(layer.name, _Pooled(layer, _Features(index_n), *_pooling_of(layer, terms, device)))
    if isinstance(first, Direction | Text):
        vectors_nc, cosine = _vectors(model, terms)
        return TermEvaluator(
            layer.name, _Pooled(layer, _Directions(vectors_nc, cosine), *_pooling_of(layer, terms, device))
        )
    if isinstance(first, Latent):
        return TermEvaluator(
            layer.name, _Pooled(layer, _latents(terms, early, device), *_pooling_of(layer, terms, device))
        )
    if isinstance(first, Rivals):
        pooled = _Pooled(layer, Tensor.float, *_pooling_of(layer, terms, device))
        return TermEvaluator(layer.name, RivalEvaluator.of(_all(Rivals, terms), pooled, device))
    if isinstance(first, Similarity):
        return TermEvaluator(layer.name, _Patches(layer, similarity))
    targets_npc = _targets(model, layer, terms)
    if isinstance(first, Distance):
        return TermEvaluator(layer.name, _Patches(layer, distance, (targets_npc,)))
    power_n = torch.tensor([term.power for term in _all(Caricature, terms)], device=device, dtype=torch.float32)
    return TermEvaluator(layer.name, _Patches(layer, caricature, (targets_npc, power_n)))


@dataclass(frozen=True)
class _Pooled:
    """Values at the positions of a layer, pooled to one value.

    Attributes:
        layer: The layer.
        value: From activations [n,g,e,p,c] to values [n,g,e,p].
        pooling: `mean`, `max` or `position`.
        position_n: The position of each unit; one number where it is the same for all units.
    """

    layer: Layer
    value: Callable[[Tensor], Tensor]
    pooling: str
    position_n: Tensor | int | None

    def __call__(self, acts_ngepc: Tensor) -> Tensor:
        if isinstance(self.position_n, int):
            acts_ngepc = acts_ngepc[..., self.position_n : self.position_n + 1, :]
        elif self.position_n is not None:
            acts_ngepc = acts_ngepc.take_along_dim(self.position_n[:, None, None, None, None], dim=3)
        else:
            acts_ngepc = acts_ngepc[..., first_patch(self.layer) :, :]
        value_ngep = self.value(acts_ngepc)
        return value_ngep.amax(3) if self.pooling == "max" else value_ngep.mean(3)


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
    """A value of all patches of an image, computed with the patches [n,p,c] of a target where there is one."""

    layer: Layer
    value: Callable[..., Tensor]
    targets: tuple[Tensor, ...] = ()

    def __call__(self, acts_ngepc: Tensor) -> Tensor:
        patches_ngepc = acts_ngepc[..., first_patch(self.layer) :, :].float()
        if self.targets and self.targets[0].shape[1:] != patches_ngepc.shape[3:]:
            raise VisualizeError(
                f"{self.layer.name}: the image to compare with has {self.targets[0].shape[1]} patches, a view has "
                f"{patches_ngepc.shape[3]}; use views of the model's image size"
            )
        return self.value(patches_ngepc, *self.targets)


def _before_activation(model: VisionModel, layer: Layer) -> Layer:
    name = layer.name.removesuffix(_HIDDEN) + _PRE
    if not layer.name.endswith(_HIDDEN) or name not in {known.name for known in model.layers}:
        return layer
    pre = one_layer(model, name)
    return pre if pre.width == layer.width else layer


def _pooling_of(layer: Layer, terms: Sequence[Objective], device: torch.device) -> tuple[str, Tensor | int | None]:
    """How the terms are pooled, and the position of each where that is one position."""
    poolings = [term.pooling for term in terms if isinstance(term, Feature | Direction | Latent | Rivals)]
    if layer.kind == "vector" or not poolings:
        return "position", 0
    kind = poolings[0].split()[0]
    if kind in ("mean", "max"):
        return kind, None
    before = first_patch(layer) if kind == "patch" else 0
    at = [(layer.cls if kind == "cls" else position(pooling)) or 0 for pooling in poolings]
    same = len(set(at)) == 1
    return "position", before + at[0] if same else before + torch.tensor(at, device=device)


def _vectors(model: VisionModel, terms: Sequence[Objective]) -> tuple[Tensor, bool]:
    """Vectors [n,c] of directions or of texts, and whether their cosine is taken."""
    if isinstance(terms[0], Text):
        with torch.no_grad():
            words = [term.words for term in _all(Text, terms)]
            return model.encode_text(words).to(model.device, torch.float32), True
    directions = _all(Direction, terms)
    vectors_nc = torch.stack([term.vector_c for term in directions])
    cosine = directions[0].cosine
    return (F.normalize(vectors_nc, dim=1) if cosine else vectors_nc).to(model.device), cosine


def _latents(terms: Sequence[Objective], early: bool, device: torch.device) -> _Latents:
    latents = _all(Latent, terms)
    return _Latents(
        torch.stack([term.sae.encoder_df[:, term.index] for term in latents]).to(device),
        torch.stack([term.sae.centre_d for term in latents]).to(device),
        torch.stack([term.sae.bias_f[term.index] for term in latents]).to(device),
        torch.stack([term.sae.threshold_f[term.index] for term in latents]).to(device),
        early,
    )


@torch.no_grad()
def _targets(model: VisionModel, layer: Layer, terms: Sequence[Objective]) -> Tensor:
    """The patches [n,p,c] of the images to compare with; the model sees an image that units share once."""
    seen: dict[int, Tensor] = {}
    targets = []
    for term in terms:
        assert isinstance(term, Caricature | Distance), term
        if id(term.image) not in seen:
            pixels_chw = term.image if isinstance(term.image, Tensor) else model.preprocess(term.image)
            pixels_bchw = pixels_chw[None].to(model.device)
            if tuple(pixels_bchw.shape[2:]) != model.image_size:
                pixels_bchw = F.interpolate(pixels_bchw, model.image_size, mode="bilinear", antialias=True)
            acts_bpc = by_position(model.capture(pixels_bchw, [layer.name])[layer.name], layer)
            seen[id(term.image)] = acts_bpc[0, first_patch(layer) :].float()
        targets.append(seen[id(term.image)])
    return torch.stack(targets)


def _all(kind: type[T], terms: Sequence[Objective]) -> list[T]:
    return [term for term in terms if isinstance(term, kind)]
