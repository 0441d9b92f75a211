"""Start images of an optimisation."""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import torch
from PIL import Image, ImageOps
from torch import Tensor

from conceptprobe.feature import FeatureId
from conceptprobe.images import ImageSource
from conceptprobe.images.decode import decode_image, parse_background
from conceptprobe.indexing import Index
from conceptprobe.indexing.source import source_of
from conceptprobe.models import VisionModel
from conceptprobe.models.preprocessing import Preprocessing, as_floats, levels_of
from conceptprobe.visualization.errors import VisualizeError

Start = Image.Image | Sequence[Image.Image] | Literal["top"]


def load_starts(
    start: Start, features: Sequence[tuple[FeatureId, str] | None], model: VisionModel, size: tuple[int, int], *,
    index: Index | None, images: ImageSource | None,
) -> list[Tensor]:  # fmt: skip
    """Load a start image for each target, preprocessed as for the model but at another size.

    Args:
        start: One image for all targets, one for each, or "top" for the image of an index that activates a target most.
        features: For each target its feature and pooling; None where it is no feature.
        model: The model.
        size: Rows and columns of the start images.
        index: The index for "top".
        images: Where the index's images are now; by default where it was built from.

    Returns:
        For each target an image float32 [3,h,w] in [0,1], on the CPU.

    Raises:
        VisualizeError: There is no index, a target is no feature, or the number of images is not that of the targets.
    """
    if isinstance(start, Image.Image):
        return [_fitted(model, start, size)] * len(features)
    if not isinstance(start, str):
        images_to_fit = list(start)
        if len(images_to_fit) != len(features):
            raise VisualizeError(
                f"there are {len(images_to_fit)} start images for {len(features)} targets: give one image, or one for "
                "each target"
            )
        return [_fitted(model, image, size) for image in images_to_fit]
    if start != "top":
        raise VisualizeError(f"start is {start!r}: give an image, one for each target, or 'top' with an index")
    if index is None:
        raise VisualizeError("start='top' takes the top image of an index: give an index (index=open_index(...))")
    source = source_of(index, images)
    return [_fitted(model, _top_image(feature, index, source), size) for feature in features]


def describe_start(start: Start, starts: Sequence[Tensor], index: Index | None) -> str:
    """The origin of start images for the records: the index of top images, or a hash of a user's images."""
    if isinstance(start, str) and index is not None:
        return f"{start} of {index.path.name}"
    digest = hashlib.sha256()
    for image_chw in starts[:1] if isinstance(start, Image.Image) else starts:
        digest.update(image_chw.numpy().tobytes())
    return digest.hexdigest()[:12]


def _top_image(feature: tuple[FeatureId, str] | None, index: Index, source: ImageSource) -> Image.Image:
    if feature is None:
        raise VisualizeError("start='top' is for single features: give start images for other objectives")
    name, pooling = feature
    top = index.top(name, 1, pooling if pooling in index.manifest.pooling else None)
    if not len(top):
        raise VisualizeError(f"{index.path} has no top image of {name}: give a start image for it")
    return source.load(source.row_of(top.ids[0])).image


def _fitted(model: VisionModel, image: Image.Image, size: tuple[int, int]) -> Tensor:
    if not isinstance(image, Image.Image):
        raise VisualizeError(f"a start image is a PIL image, not {type(image).__name__}: open it with PIL.Image.open")
    image = decode_image(image, parse_background("white")).image
    preprocess: Any = model.preprocess
    if not isinstance(preprocess, Preprocessing):
        return as_floats(levels_of(ImageOps.fit(image, size[::-1], Image.Resampling.BICUBIC)))
    rows, columns = (
        round(resized * wanted / cropped)
        for resized, wanted, cropped in zip(preprocess.resize, size, preprocess.size, strict=True)
    )
    return dataclasses.replace(preprocess, size=size, resize=(rows, columns))(image).to(torch.float32)
