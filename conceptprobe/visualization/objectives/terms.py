"""The single terms of which objectives are made, and what a model must have for them.

A pooling is printed as `mean`, `max`, `cls`, `patch K` (reading order) or `token K` (any token, from the first).
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from conceptprobe.models import Layer, ModelError, UnknownLayerError, VisionModel
from conceptprobe.models.layers import LOGITS, suggest
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.objectives.expressions import Objective, print_number
from conceptprobe.visualization.objectives.latents import SAE

EMBEDDING = "embedding"
_POOLING = re.compile(r"mean|max|cls|(patch|token) (0|[1-9][0-9]*)")


@dataclass(frozen=True, repr=False, eq=False)
class Leaf(Objective):
    """One reading of one layer."""

    layer: str

    def leaves(self) -> Iterator[Objective]:
        yield self

    def on(self, model: VisionModel) -> Objective:
        return replace(self, layer=one_layer(model, self.layer).name)


@dataclass(frozen=True, repr=False, eq=False)
class Feature(Leaf):
    """The pooled activation of one feature."""

    index: int
    pooling: str

    @property
    def key(self) -> str:
        return _pooled(f"{self.layer}:{self.index}", self.pooling)

    def on(self, model: VisionModel) -> "Feature":
        layer = one_layer(model, self.layer)
        check_index(f"{layer.name} has", self.index, layer.width, "features")
        check_pooling(model, layer, self.pooling)
        return replace(self, layer=layer.name)


@dataclass(frozen=True, repr=False, eq=False)
class Direction(Leaf):
    """The inner product of each patch with a vector, or their cosine, pooled.

    Attributes:
        vector_c: float32, on the CPU.
    """

    vector_c: Tensor
    pooling: str
    cosine: bool

    @property
    def key(self) -> str:
        kind = "cosine" if self.cosine else "direction"
        return _pooled(f"{self.layer} {kind} {short_hash(self.vector_c)}", self.pooling)

    def on(self, model: VisionModel) -> "Direction":
        layer = one_layer(model, self.layer)
        if len(self.vector_c) != layer.width:
            raise VisualizeError(
                f"{self.key}: the vector has {len(self.vector_c)} numbers, {layer.name} has {layer.width} features"
            )
        check_pooling(model, layer, self.pooling)
        return replace(self, layer=layer.name)


@dataclass(frozen=True, repr=False, eq=False)
class Text(Leaf):
    """The cosine of the image's embedding with that of words."""

    words: str

    @property
    def key(self) -> str:
        return f"text {self.words!r}"

    def on(self, model: VisionModel) -> Objective:
        if not model.has_text:
            raise VisualizeError(f"{self.key}: {model.spec} has no text tower; open_clip models and mini:clip have one")
        return super().on(model)


@dataclass(frozen=True, repr=False, eq=False)
class Logit(Leaf):
    """The score of a class, which is named and not numbered."""

    name: str

    @property
    def key(self) -> str:
        return f"logit {self.name!r}"

    def on(self, model: VisionModel) -> Feature:
        try:
            names = model.class_names
        except ModelError as error:
            raise VisualizeError(f"{self.key}: {error}; give the number of a class, or take text(...)") from error
        return Feature(LOGITS, _class_number(self.key, self.name, names), "mean").on(model)


@dataclass(frozen=True, repr=False, eq=False)
class Latent(Leaf):
    """The pooled activation of one latent of a sparse autoencoder."""

    sae: SAE
    index: int
    pooling: str

    @property
    def key(self) -> str:
        return _pooled(f"{self.layer} sae {self.sae.hash}:{self.index}", self.pooling)

    def on(self, model: VisionModel) -> "Latent":
        layer = one_layer(model, self.layer)
        if self.sae.inputs != layer.width:
            raise VisualizeError(
                f"{self.key}: the autoencoder reads {self.sae.inputs} features, {layer.name} has {layer.width}; "
                "say which layer it was trained on: load_sae(path, layer=...)"
            )
        check_index("the autoencoder has", self.index, self.sae.latents, "latents")
        check_pooling(model, layer, self.pooling)
        return replace(self, layer=layer.name)


@dataclass(frozen=True, repr=False, eq=False)
class Similarity(Leaf):
    """How alike an image is to the others of its set, in a layer."""

    members: int

    @property
    def key(self) -> str:
        return f"{self.layer} similarity in {self.members}"

    @property
    def images(self) -> int:
        return self.members


@dataclass(frozen=True, repr=False, eq=False)
class Caricature(Leaf):
    """Inner product times a power of the cosine with the activations of an image.

    Attributes:
        image: A PIL image, or pixels [3,H,W] in [0,1].
    """

    image: Any
    power: float

    @property
    def key(self) -> str:
        return f"{self.layer} caricature {short_hash(self.image)} power {print_number(self.power)}"


@dataclass(frozen=True, repr=False, eq=False)
class Distance(Leaf):
    """Mean squared distance to the activations of an image, as a share of their mean square."""

    image: Any

    @property
    def key(self) -> str:
        return f"{self.layer} distance {short_hash(self.image)}"


def print_pooling(pooling: str | int) -> str:
    """The printed form of a pooling; a number is a patch in reading order.

    Raises:
        VisualizeError: There is no such pooling.
    """
    text = pooling if isinstance(pooling, str) else f"patch {pooling}"
    if _POOLING.fullmatch(text) is None:
        raise VisualizeError(f"pooling {pooling!r} is unknown: choose mean, max, cls, or the number of a patch")
    return text


def position(pooling: str) -> int | None:
    """The number in a printed pooling, None where it has none."""
    match = _POOLING.fullmatch(pooling)
    return int(match[2]) if match and match[2] else None


def one_layer(model: VisionModel, name: str) -> Layer:
    """The one layer that a name selects.

    Raises:
        UnknownLayerError: It selects none; says which are near.
        VisualizeError: It selects several, or attention maps.
    """
    try:
        found = model.resolve(name)
    except UnknownLayerError as error:
        if name != LOGITS:
            raise
        raise VisualizeError(f"{model.spec} has no classifier, and so no logits; text(...) takes words") from error
    if len(found) > 1:
        some = ", ".join(layer.name for layer in found[:3])
        raise VisualizeError(f"{name!r} selects {len(found)} layers ({some}, ...): an objective looks at one")
    if found[0].kind == "attention":
        raise VisualizeError(f"{found[0].name} holds attention maps, which have no features to visualize")
    return found[0]


def check_index(whose: str, index: int, width: int, what: str) -> None:
    """Refuse a number that there is not."""
    if not 0 <= index < width:
        raise VisualizeError(f"{whose} {width} {what}, 0 to {width - 1}: there is no {index}")


def check_pooling(model: VisionModel, layer: Layer, pooling: str) -> None:
    """Refuse a pooling that a layer cannot have."""
    number = position(pooling)
    if layer.kind == "vector":
        if pooling != "mean":
            raise VisualizeError(f"{layer.name} is one vector an image: leave out pooling={pooling!r}")
    elif pooling == "cls":
        if layer.cls is None:
            raise VisualizeError(f"{layer.name} has no CLS token: choose mean, max, or the number of a patch")
    elif number is not None:
        what = "tokens" if pooling.startswith("token") and layer.kind == "tokens" else "patches"
        check_index(f"{layer.name} has", number, _count(model, layer, what), what)


def first_patch(layer: Layer) -> int:
    """Where the patches of a layer begin among its positions."""
    return layer.prefix if layer.kind == "tokens" else 0


def short_hash(value: Any) -> str:
    """Twelve hexadecimal digits over the numbers of a vector, pixels or an image, and its shape."""
    if isinstance(value, Tensor):
        array = value.detach().to("cpu", torch.float32).contiguous().numpy()
        shape, data = array.shape, array.tobytes()
    else:
        shape, data = (value.size[1], value.size[0], value.mode), value.tobytes()
    return hashlib.sha256(repr(shape).encode() + data).hexdigest()[:12]


def _pooled(key: str, pooling: str) -> str:
    return key if pooling == "mean" else f"{key} {pooling}"


def _count(model: VisionModel, layer: Layer, what: str) -> int:
    prefix = layer.prefix if what == "tokens" else 0
    if layer.grid is not None:
        return prefix + layer.grid[0] * layer.grid[1]
    with torch.no_grad():  # nobody has declared a grid: look at one blank image
        blank = torch.zeros(1, 3, *model.image_size, device=model.device)
        tokens = model.capture(blank, [layer.name])[layer.name].shape[1]
    return tokens - layer.prefix + prefix


def _class_number(key: str, name: str, names: tuple[str, ...]) -> int:
    """The class of that name, or the only one with that name among its synonyms (`tench, Tinca tinca`)."""
    wanted = name.casefold()
    exact = [i for i, known in enumerate(names) if known == name]
    found = exact or [i for i, known in enumerate(names) if wanted in (known.casefold(), *known.casefold().split(", "))]
    if len(found) > 1:
        which = ", ".join(f"{i} ({names[i]})" for i in found)
        raise VisualizeError(f"{key} fits several classes: give the number of one of {which}")
    if not found:
        raise VisualizeError(f"{key}: the model has no such class.{suggest(name, names)}")
    return found[0]
