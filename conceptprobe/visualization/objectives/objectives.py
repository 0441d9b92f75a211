"""Objectives to maximise: a feature, a direction, a text, a class, similarity to an image, and their sums."""

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
    Logit,
    Similarity,
    Term,
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
        layer: A layer's name; without an index the whole feature, such as `blocks.5.mlp.hidden:12`.
        index: Number of the feature.
        pooling: `mean` or `max` over the patches, the `cls` token, or the number of a patch in reading order. A vector
            (an embedding, logits) is not pooled.
    """
    if index is None:
        feature_id = FeatureId.parse(layer)
        return Feature(feature_id.layer, feature_id.index, print_pooling(pooling))
    return Feature(_name(layer), _whole(index), print_pooling(pooling))


def cls(layer: str, index: int) -> Objective:
    """The activation of one feature at the CLS token."""
    return feature(layer, index, "cls")


def token(layer: str, index: int, position: int) -> Objective:
    """The activation of one feature at one token.

    Args:
        layer: A layer's name.
        index: Number of the feature.
        position: Number of the token, CLS and registers included; in a map the number of a patch in reading order.
    """
    return feature(layer, index, f"token {_whole(position)}")


def direction(layer: str, vector: Any, pooling: str | int = "mean", *, cosine: bool = False) -> Objective:
    """The inner product of each patch with a vector, pooled as `feature` does.

    Args:
        layer: A layer's name.
        vector: A tensor, array or list with a number for each feature of the layer.
        pooling: As for `feature`.
        cosine: Take the cosine of each patch with the vector instead.

    Raises:
        VisualizeError: The vector is none, is not finite, or has only zeros.
    """
    try:
        with torch.inference_mode(False):
            vector_c = torch.as_tensor(vector, device="cpu").detach().to(torch.float32).clone()
    except (TypeError, ValueError, RuntimeError) as error:
        raise VisualizeError(f"a direction is a vector of numbers, not {type(vector).__name__} ({error})") from error
    if vector_c.ndim != 1 or not vector_c.isfinite().all() or not vector_c.any():
        raise VisualizeError(
            f"a direction is one vector of finite numbers that are not all 0; this one has shape {list(vector_c.shape)}"
        )
    return Direction(_name(layer), vector_c, print_pooling(pooling), cosine)


def text(words: str, against: str | None = None) -> Objective:
    """The cosine of the image's embedding with the embedding of words, for models with a text tower.

    Args:
        words: A text.
        against: A text whose cosine is subtracted, such as words for everything of the same kind.

    Raises:
        VisualizeError: A text is empty or not a string.
    """
    for each in (words, against):
        if each is not None and (not isinstance(each, str) or not each.strip()):
            raise VisualizeError(f"text(...) takes words, such as text('a red car'), not {each!r}")
    target = Text(EMBEDDING, words)
    return target if against is None else target - Text(EMBEDDING, against)


def logit(which: str | int) -> Objective:
    """The score of a class before the softmax.

    Args:
        which: The number of the class, its name, or one of the synonyms in its name.
    """
    return Logit(LOGITS, which) if isinstance(which, str) else feature(LOGITS, which)


def negative(objective: Objective) -> Objective:
    """The negative of an objective, for images that minimise it. A contrast is `a - b`."""
    return -objective


def diversity(
    target: Objective | FeatureId | str, images: int = 4, weight: float = 1.0, layer: str | None = None
) -> Objective:
    """A set of images that all maximise an objective and are kept apart.

    The value of an image is reduced by `weight` times its mean similarity to the others. The similarity is the cosine
    between the covariances of the features over the patches, 0 to 1, or, in a vector layer, the cosine between the
    vectors. Olah et al. 2017 (distill.pub/2017/feature-visualization) take Gram matrices, which do not subtract the
    mean.

    Args:
        target: The objective of all images; the name of a layer gives the similarity term alone, to add to others.
        images: Number of images, at least two.
        weight: Weight of the similarity, in units of the objective.
        layer: The layer in which the images are compared; by default the first layer of the objective.

    Raises:
        VisualizeError: There are fewer than two images.
    """
    if _whole(images) < 2:
        raise VisualizeError(f"a set has {images} images: at least 2 are needed to keep them apart")
    if isinstance(target, str) and (
        ":" not in target.removeprefix(MODULE) or not target.rpartition(":")[2].isdecimal()
    ):
        return -weight * Similarity(_name(layer or target), images)
    goal = target if isinstance(target, Objective) else feature(target)
    if layer is None:
        layer = next((term.layer for term in goal.terms() if isinstance(term, Term)), "")
    return goal - weight * Similarity(_name(layer), images)


def caricature(image: Image.Image | Tensor, layers: str | Sequence[str], power: float = 1.0) -> Objective:
    """The exaggerated activations of an image: inner products with them, times a power of the cosine.

    For the activations a of an optimised image and b of the given image over all patches, the value of a layer is
    a.b / b.b * max(cos(a, b), 0.1)^power, which is 1 for the image itself. The values of the layers are added. Inner
    product times cosine, with this floor, are those of Lucid (github.com/tensorflow/lucid, recipes/caricature.py),
    which does not divide by b.b.

    Args:
        image: A PIL image, which the model preprocesses, or pixels [3,H,W] in [0,1].
        layers: Names of one or several layers.
        power: At least 0; a larger power keeps the images closer to the given one.

    Raises:
        VisualizeError: The power is negative, there is no layer, or the image is none.
    """
    if not power >= 0:
        raise VisualizeError(f"the power of a caricature is {power}: it must be at least 0")
    names = [layers] if isinstance(layers, str) else list(layers)
    if not names:
        raise VisualizeError("a caricature needs at least one layer: give layers='blocks.5.resid' or several")
    copy = _copy(image)
    return functools.reduce(operator.add, (Caricature(_name(name), copy, float(power)) for name in names))


def distance(image: Image.Image | Tensor, layer: str) -> Objective:
    """The distance of an image from another in a layer.

    It is the mean squared difference over all patches and features, divided by the mean square of the other image's
    activations. Subtract it to stay near an image, as in feature accentuation (Hamblin et al. 2024, arXiv 2402.10039).

    Args:
        image: A PIL image, which the model preprocesses, or pixels [3,H,W] in [0,1].
        layer: A layer's name.
    """
    return Distance(_name(layer), _copy(image))


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


def _copy(image: Any) -> Image.Image | Tensor:
    """A copy, which later changes of the image do not reach."""
    if isinstance(image, Image.Image):
        return image.convert("RGB").copy()
    if isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] == 3 and image.is_floating_point():
        return image.detach().to("cpu", torch.float32).clone()
    got = f"a tensor {list(image.shape)} of {image.dtype}" if isinstance(image, Tensor) else type(image).__name__
    raise VisualizeError(f"an image is a PIL image or float pixels [3,H,W] in [0,1], not {got}")
