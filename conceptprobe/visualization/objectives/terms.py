"""The single terms of objectives, and the checks that a model has what they need.

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
class Term(Objective):
    """A value that is computed from one layer."""

    layer: str

    def terms(self) -> Iterator[Objective]:
        """The term itself."""
        yield self

    def on(self, model: VisionModel) -> Objective:
        """The same term with the full name of the layer."""
        return replace(self, layer=one_layer(model, self.layer).name)


@dataclass(frozen=True, repr=False, eq=False)
class Feature(Term):
    """The pooled activation of one feature."""

    index: int
    pooling: str

    @property
    def key(self) -> str:
        """The feature, and its pooling where that is not the mean."""
        return _pooled(f"{self.layer}:{self.index}", self.pooling)

    def on(self, model: VisionModel) -> "Feature":
        """The same feature with the full name of the layer, which must have the feature and the pooling."""
        layer = one_layer(model, self.layer)
        check_number(f"{layer.name} has", self.index, layer.width, "features")
        check_pooling(model, layer, self.pooling)
        return replace(self, layer=layer.name)


@dataclass(frozen=True, repr=False, eq=False)
class Direction(Term):
    """The inner product of each patch with a vector, or their cosine, pooled.

    Attributes:
        vector_c: float32, on the CPU.
        pooling: The printed pooling.
        cosine: Whether the cosine is taken.
    """

    vector_c: Tensor
    pooling: str
    cosine: bool

    @property
    def key(self) -> str:
        """The layer, a hash of the vector, and the pooling where that is not the mean."""
        kind = "cosine" if self.cosine else "direction"
        return _pooled(f"{self.layer} {kind} {short_hash(self.vector_c)}", self.pooling)

    def on(self, model: VisionModel) -> "Direction":
        """The same direction with the full name of the layer, whose width must be that of the vector."""
        layer = one_layer(model, self.layer)
        if len(self.vector_c) != layer.width:
            raise VisualizeError(
                f"{self.key}: the vector has {len(self.vector_c)} numbers, {layer.name} has {layer.width} features"
            )
        check_pooling(model, layer, self.pooling)
        return replace(self, layer=layer.name)


@dataclass(frozen=True, repr=False, eq=False)
class Text(Term):
    """The cosine of the image's embedding with the embedding of words."""

    words: str

    @property
    def key(self) -> str:
        """The words."""
        return f"text {self.words!r}"

    def on(self, model: VisionModel) -> Objective:
        """The same term, for a model that has a text tower."""
        if not model.has_text:
            raise VisualizeError(f"{self.key}: {model.spec} has no text tower; open_clip models and mini:clip have one")
        return super().on(model)


@dataclass(frozen=True, repr=False, eq=False)
class Logit(Term):
    """The score of a class that is given by its name."""

    name: str

    @property
    def key(self) -> str:
        """The name of the class."""
        return f"logit {self.name!r}"

    def on(self, model: VisionModel) -> Feature:
        """The feature of the logits that is the score of the class."""
        try:
            names = model.class_names
        except ModelError as error:
            raise VisualizeError(f"{self.key}: {error}; give the number of a class, or take text(...)") from error
        return Feature(LOGITS, _class_number(self.key, self.name, names), "mean").on(model)


@dataclass(frozen=True, repr=False, eq=False)
class Latent(Term):
    """The pooled activation of one latent of a sparse autoencoder."""

    sae: SAE
    index: int
    pooling: str

    @property
    def key(self) -> str:
        """The layer, the autoencoder's hash, the latent, and the pooling where that is not the mean."""
        return _pooled(f"{self.layer} sae {self.sae.hash}:{self.index}", self.pooling)

    def on(self, model: VisionModel) -> "Latent":
        """The same latent with the full name of the layer, whose width the autoencoder must read."""
        layer = one_layer(model, self.layer)
        if self.sae.inputs != layer.width:
            raise VisualizeError(
                f"{self.key}: the autoencoder reads {self.sae.inputs} features, {layer.name} has {layer.width}; "
                "say which layer it was trained on: load_sae(path, layer=...)"
            )
        check_number("the autoencoder has", self.index, self.sae.latents, "latents")
        check_pooling(model, layer, self.pooling)
        return replace(self, layer=layer.name)


@dataclass(frozen=True, repr=False, eq=False)
class Similarity(Term):
    """The similarity of an image to the others of its set, in a layer."""

    members: int

    @property
    def key(self) -> str:
        """The layer and the number of images of the set."""
        return f"{self.layer} similarity in {self.members}"

    @property
    def images(self) -> int:
        """Number of images of the set."""
        return self.members


@dataclass(frozen=True, repr=False, eq=False)
class Caricature(Term):
    """Inner product times a power of the cosine with the activations of an image.

    Attributes:
        image: A PIL image, or pixels [3,H,W] in [0,1].
        power: Power of the cosine.
    """

    image: Any
    power: float

    @property
    def key(self) -> str:
        """The layer, a hash of the image, and the power."""
        return f"{self.layer} caricature {short_hash(self.image)} power {print_number(self.power)}"


@dataclass(frozen=True, repr=False, eq=False)
class Distance(Term):
    """Mean squared distance to the activations of an image, as a share of their mean square."""

    image: Any

    @property
    def key(self) -> str:
        """The layer and a hash of the image."""
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
    """The number in a printed pooling; None for poolings without a number."""
    match = _POOLING.fullmatch(pooling)
    return int(match[2]) if match and match[2] else None


def one_layer(model: VisionModel, name: str) -> Layer:
    """The one layer that a name selects.

    Raises:
        UnknownLayerError: The name selects no layer; the error names similar layers.
        VisualizeError: The name selects several layers, or attention maps.
    """
    try:
        layers = model.resolve(name)
    except UnknownLayerError as error:
        if name != LOGITS:
            raise
        raise VisualizeError(f"{model.spec} has no classifier, and so no logits: take text(...) instead") from error
    if len(layers) > 1:
        some = ", ".join(layer.name for layer in layers[:3])
        raise VisualizeError(f"{name!r} selects {len(layers)} layers ({some}, ...): name one of them")
    if layers[0].kind == "attention":
        raise VisualizeError(f"{layers[0].name} holds attention maps, which have no features to visualize")
    return layers[0]


def check_number(owner: str, index: int, width: int, what: str) -> None:
    """Refuse the number of a feature, latent or patch that does not exist."""
    if not 0 <= index < width:
        raise VisualizeError(f"{owner} {width} {what}, 0 to {width - 1}: there is no {index}")


def check_pooling(model: VisionModel, layer: Layer, pooling: str) -> None:
    """Refuse a pooling that a layer does not have."""
    number = position(pooling)
    if layer.kind == "vector":
        if pooling != "mean":
            raise VisualizeError(f"{layer.name} is one vector for an image: leave out pooling={pooling!r}")
    elif pooling == "cls":
        if layer.cls is None:
            raise VisualizeError(f"{layer.name} has no CLS token: choose mean, max, or the number of a patch")
    elif number is not None:
        what = "tokens" if pooling.startswith("token") and layer.kind == "tokens" else "patches"
        check_number(f"{layer.name} has", number, _count(model, layer, what), what)


def first_patch(layer: Layer) -> int:
    """The position at which the patches of a layer begin."""
    return layer.prefix if layer.kind == "tokens" else 0


def short_hash(value: Any) -> str:
    """Twelve hexadecimal digits of a hash of a vector, pixels or an image, with its shape."""
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
    with torch.no_grad():  # no grid is declared, so the patches of a blank image are counted
        blank = torch.zeros(1, 3, *model.image_size, device=model.device)
        tokens = model.capture(blank, [layer.name])[layer.name].shape[1]
    return tokens - layer.prefix + prefix


def _class_number(key: str, name: str, names: tuple[str, ...]) -> int:
    """The number of the class with a name, or with the name among its synonyms (`tench, Tinca tinca`)."""
    wanted = name.casefold()
    numbers = [i for i, known in enumerate(names) if known == name]
    numbers = numbers or [
        i for i, known in enumerate(names) if wanted in (known.casefold(), *known.casefold().split(", "))
    ]
    if len(numbers) > 1:
        which = ", ".join(f"{i} ({names[i]})" for i in numbers)
        raise VisualizeError(f"{key} fits several classes: give the number of one of {which}")
    if not numbers:
        raise VisualizeError(f"{key}: the model has no such class.{suggest(name, names)}")
    return numbers[0]
