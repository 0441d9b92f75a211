"""What can be maximised: a feature, a direction, a text, a class, the look of an image, and sums of them."""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from conceptprobe.feature import FeatureId
from conceptprobe.models.layers import LOGITS, MODULE
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.objectives.expressions import Objective
from conceptprobe.visualization.objectives.latents import SAE, load_sae
from conceptprobe.visualization.objectives.specific import specific
from conceptprobe.visualization.objectives.terms import (
    EMBEDDING,
    Caricature,
    Direction,
    Distance,
    Feature,
    Latent,
    Leaf,
    Logit,
    Similarity,
    Text,
    print_pooling,
)

__all__ = [
    "SAE",
    "Feature",
    "Objective",
    "caricature",
    "cls",
    "direction",
    "distance",
    "diversity",
    "feature",
    "latent",
    "load_sae",
    "logit",
    "negative",
    "specific",
    "text",
    "token",
]


def feature(layer: str | FeatureId, index: int | None = None, pooling: str | int = "mean") -> Objective:
    """The activation of one feature, pooled over the patches.

    Args:
        layer: A layer's name, or the whole feature (`blocks.5.mlp.hidden:12`) where there is no index.
        pooling: `mean` or `max` over the patches, the `cls` token, or the number of a patch in reading order. A vector
            (an embedding, logits) is taken as it is.
    """
    if index is None:
        both = FeatureId.parse(layer)
        return Feature(both.layer, both.index, print_pooling(pooling))
    return Feature(_name(layer), _whole(index), print_pooling(pooling))


def cls(layer: str, index: int) -> Objective:
    """The activation of one feature at the CLS token."""
    return feature(layer, index, "cls")


def token(layer: str, index: int, position: int) -> Objective:
    """The activation of one feature at one token.

    Args:
        position: From the first of all tokens, CLS and registers too; in a map the number of a patch in reading order.
    """
    return feature(layer, index, f"token {_whole(position)}")


def direction(layer: str, vector: Any, pooling: str | int = "mean", *, cosine: bool = False) -> Objective:
    """The inner product of each patch with a vector, pooled as `feature` does.

    Args:
        vector: As many numbers as the layer has features: a tensor, an array or a list.
        cosine: The cosine of each patch with the vector instead.

    Raises:
        VisualizeError: It is no vector, or one that is not finite or without a direction.
    """
    try:
        with torch.inference_mode(False):
            vector_c = torch.as_tensor(vector, device="cpu").detach().to(torch.float32).clone()
    except (TypeError, ValueError, RuntimeError) as error:
        raise VisualizeError(f"a direction is one vector of numbers, got {type(vector).__name__} ({error})") from error
    if vector_c.ndim != 1 or not vector_c.isfinite().all() or not vector_c.any():
        raise VisualizeError(
            f"a direction is one vector of finite numbers that are not all 0, got shape {list(vector_c.shape)}"
        )
    return Direction(_name(layer), vector_c, print_pooling(pooling), cosine)


def text(words: str, against: str | None = None) -> Objective:
    """The cosine of the image's embedding with that of words, for models with a text tower.

    Args:
        against: Words whose cosine is subtracted, such as those for everything of the same kind.
    """
    for given in (words, against):
        if given is not None and (not isinstance(given, str) or not given.strip()):
            raise VisualizeError(f"text(...) takes words, got {given!r}")
    own = Text(EMBEDDING, words)
    return own if against is None else own - Text(EMBEDDING, against)


def logit(which: str | int) -> Objective:
    """The score of a class before the softmax.

    Args:
        which: The class by its name, or one of the names between commas; or by its number.
    """
    return Logit(LOGITS, which) if isinstance(which, str) else feature(LOGITS, which)


def negative(objective: Objective) -> Objective:
    """What an objective is least fulfilled by. A contrast is `a - b`."""
    return -objective


def diversity(
    target: Objective | FeatureId | str, images: int = 4, weight: float = 1.0, layer: str | None = None
) -> Objective:
    """A set of images that all maximise an objective and are kept apart.

    From each image's value is subtracted `weight` times its mean similarity to the others: the cosine between the
    covariances of the features over the patches, 0 to 1 (Olah et al. 2017, distill.pub/2017/feature-visualization, take
    Gram matrices, which do not subtract the mean); for a vector layer the cosine between the vectors.

    Args:
        target: What all of them maximise; the name of a layer for the second term alone, to be added to something.
        images: How many, two or more.
        weight: In units of the objective.
        layer: Where they are to differ; the first layer of the objective where it is None.
    """
    if _whole(images) < 2:
        raise VisualizeError(f"a set that is kept apart has 2 images or more, not {images}")
    if isinstance(target, str) and (
        ":" not in target.removeprefix(MODULE) or not target.rpartition(":")[2].isdecimal()
    ):
        return -weight * Similarity(_name(layer or target), images)
    goal = target if isinstance(target, Objective) else feature(target)
    if layer is None:
        layer = next((leaf.layer for leaf in goal.leaves() if isinstance(leaf, Leaf)), "")
    return goal - weight * Similarity(_name(layer), images)


def caricature(image: Image.Image | Tensor, layers: str | Sequence[str], power: float = 1.0) -> Objective:
    """An image's activations, exaggerated: their inner product with the image's times a power of the cosine.

    For each layer, over all patches at their places: a.b / b.b * max(cos(a, b), 0.1)^power, which is 1 for the image
    itself; the layers' values are added. The product of inner product and cosine, and its floor, are those of Lucid
    (github.com/tensorflow/lucid, recipes/caricature.py); it does not divide by b.b.

    Args:
        image: A PIL image, which the model preprocesses, or pixels [3,H,W] in [0,1].
        layers: One layer or several.
        power: 0 or more; the larger it is, the closer the image stays.
    """
    if not power >= 0:
        raise VisualizeError(f"the power of a caricature is 0 or more, not {power}")
    names = [layers] if isinstance(layers, str) else list(layers)
    if not names:
        raise VisualizeError("a caricature looks at one layer or more, got none")
    own = _checked(image)
    return functools.reduce(operator.add, (Caricature(_name(name), own, float(power)) for name in names))


def distance(image: Image.Image | Tensor, layer: str) -> Objective:
    """How far an image is from another in a layer: the mean squared difference over all patches and features, relative
    to the mean square of the other's activations.

    Take it with a minus to stay near an image, as feature accentuation does (Hamblin et al. 2024, arXiv 2402.10039).

    Args:
        image: A PIL image, which the model preprocesses, or pixels [3,H,W] in [0,1].
    """
    return Distance(_name(layer), _checked(image))


def latent(sae: SAE, index: int, pooling: str | int = "mean") -> Objective:
    """The activation of one latent of a sparse autoencoder on the layer that it reads, pooled as `feature` does."""
    return Latent(sae.layer, sae, _whole(index), print_pooling(pooling))


def _name(layer: object) -> str:
    if not isinstance(layer, str) or not layer:
        raise VisualizeError(f"{layer!r} is not the name of a layer, such as blocks.5.mlp.hidden")
    return layer


def _whole(number: object) -> int:
    try:
        return operator.index(number)  # type: ignore[arg-type]
    except TypeError as error:
        raise VisualizeError(f"{number!r} is not a whole number") from error


def _checked(image: Any) -> Image.Image | Tensor:
    """A copy that nobody else changes."""
    if isinstance(image, Image.Image):
        return image.convert("RGB").copy()
    if isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] == 3 and image.is_floating_point():
        return image.detach().to("cpu", torch.float32).clone()
    got = f"a tensor {list(image.shape)} of {image.dtype}" if isinstance(image, Tensor) else type(image).__name__
    raise VisualizeError(f"an image is a PIL image or float pixels [3,H,W] in [0,1], got {got}")
