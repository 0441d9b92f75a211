"""The entries of a manifest that describe a model, an image source, layers and versions."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from conceptprobe.images import ImageSource, load_images
from conceptprobe.indexing.streaming.loader import fast_decoder
from conceptprobe.models import Layer, VisionModel
from conceptprobe.models.hooks import is_hooked

PACKAGES = ("conceptprobe", "torch", "torchvision", "timm", "open_clip_torch", "numpy", "pillow", "pyarrow")


def describe_model(model: VisionModel) -> dict[str, Any]:
    """A manifest's entry of a model."""
    about = {
        "spec": model.spec,
        "fingerprint": model.fingerprint,
        "preprocessing": model.preprocessing,
        "device": model.device.type,
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    return {**about, "intervened": True} if is_hooked(model) else about


def describe_source(images: ImageSource, model: VisionModel | None = None) -> dict[str, Any]:
    """A manifest's entry of an image source that a model looks at."""
    about = {"spec": images.spec, "fingerprint": images.fingerprint, "background": images.background}
    decoder = None if model is None else fast_decoder(images, model.preprocess, model.device)
    return about if decoder is None else {**about, "fast_decode": decoder}


def load_source(about: Mapping[str, Any], spec: str | None = None) -> ImageSource:
    """The image source that a manifest's entry describes, decoded in the same way.

    Args:
        spec: Where it is now, if not where the entry says.

    Raises:
        SourceError: There is none.
    """
    return load_images(spec or about["spec"], background=about["background"], fast_decode="fast_decode" in about)


def describe_layers(layers: Sequence[Layer]) -> dict[str, dict[str, Any]]:
    """A manifest's entry of some layers."""
    return {layer.name: {key: value for key, value in asdict(layer).items() if key != "name"} for layer in layers}


def versions() -> dict[str, str]:
    """A manifest's entry of what decides the bytes of lists and tables."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}
