"""What can be wrong with an image source."""

from conceptprobe.errors import ConceptProbeError


class ImageError(ConceptProbeError):
    """Base of the errors about images."""


class SourceError(ImageError):
    """A source as a whole cannot be used: its spec, its listing or its metadata."""


class UnknownImageError(ImageError):
    """An id that the source does not have."""


class UnreadableImageError(ImageError):
    """One image cannot be read; its message is the reason, short and the same on every run."""
