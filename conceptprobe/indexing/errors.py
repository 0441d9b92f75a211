"""Errors of building and reading an index."""

from conceptprobe.errors import ConceptProbeError


class IndexingError(ConceptProbeError):
    """An index cannot be built, or a directory is not an index."""


class MissingRayError(IndexingError):
    """Ray is not installed."""

    def __init__(self) -> None:
        super().__init__("building on a cluster needs Ray, which is not installed: pip install 'conceptprobe[ray]'")


class MissingFaissError(IndexingError):
    """FAISS is not installed."""

    def __init__(self, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs FAISS, which is not installed. Take one extra: pip install 'conceptprobe[cpu]' on any "
            "machine, or pip install 'conceptprobe[gpu]' with CUDA."
        )


class TooManySkippedError(IndexingError):
    """More images could not be read than were allowed."""

    def __init__(self, skipped: int, done: int, limit: int, reason: str) -> None:
        super().__init__(
            f"{skipped} of the first {done} images could not be read, more than the {limit} allowed; the last: "
            f"{reason}. See that the images can be read, and run the same again; or allow more (max_skipped)."
        )
