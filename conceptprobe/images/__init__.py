"""Images from folders, archives, tables and datasets, with stable ids in one global order."""

from conceptprobe.images.decode import LoadedImage
from conceptprobe.images.errors import ImageError, SourceError, UnknownImageError, UnreadableImageError
from conceptprobe.images.load import ImagesLike, as_images, load_images
from conceptprobe.images.source import ImageSource

__all__ = [
    "ImageError",
    "ImageSource",
    "ImagesLike",
    "LoadedImage",
    "SourceError",
    "UnknownImageError",
    "UnreadableImageError",
    "as_images",
    "load_images",
]
