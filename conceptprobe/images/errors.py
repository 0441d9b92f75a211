"""Errors about image sources."""

from conceptprobe.errors import ConceptProbeError


class ImageError(ConceptProbeError):
    """Base of all errors about images."""


class SourceError(ImageError):
    """A source cannot be used because its spec, its listing or its metadata is wrong."""


class UnknownImageError(ImageError):
    """The source has no image with this id."""


class UnreadableImageError(ImageError):
    """One image cannot be read; the message is a short reason that is the same on every run."""
