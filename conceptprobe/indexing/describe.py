"""The entries of a manifest that describe a model, an image source and versions."""

import importlib.metadata

from conceptprobe.images import ImageSource, load_images
from conceptprobe.indexing.storage.manifest import ModelEntry, SourceEntry
from conceptprobe.indexing.streaming.loader import fast_decoder
from conceptprobe.models import VisionModel
from conceptprobe.models.hooks import is_hooked

PACKAGES = ("conceptprobe", "torch", "torchvision", "timm", "open_clip_torch", "numpy", "pillow", "pyarrow")


def describe_model(model: VisionModel) -> ModelEntry:
    """A manifest's entry of a model."""
    return ModelEntry(
        spec=model.spec,
        fingerprint=model.fingerprint,
        preprocessing=model.preprocessing,
        device=model.device.type,
        dtype=str(model.dtype).removeprefix("torch."),
        intervened=is_hooked(model),
    )


def describe_source(images: ImageSource, model: VisionModel | None = None) -> SourceEntry:
    """A manifest's entry of an image source that a model looks at."""
    decoder = None if model is None else fast_decoder(images, model.preprocess, model.device)
    return SourceEntry(images.spec, images.fingerprint, images.background, decoder)


def load_source(entry: SourceEntry, spec: str | None = None) -> ImageSource:
    """The image source that a manifest's entry describes, decoded in the same way.

    Args:
        entry: Of the manifest.
        spec: Where the images are now, if not where the entry says.

    Raises:
        SourceError: There is no such source.
    """
    return load_images(spec or entry.spec, background=entry.background, fast_decode=entry.fast_decode is not None)


def versions() -> dict[str, str]:
    """A manifest's entry of what decides the bytes of lists and tables."""
    return {name: importlib.metadata.version(name) for name in PACKAGES}
