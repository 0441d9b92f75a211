"""Errors of building and reading an index."""

from conceptprobe.errors import ConceptProbeError


class IndexingError(ConceptProbeError):
    """An index cannot be built, or a directory is not an index."""


class MissingFaissError(IndexingError):
    """FAISS is not installed."""

    def __init__(self, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs FAISS, which is not installed. Take one extra: pip install 'conceptprobe[cpu]' on any "
            "machine, or pip install 'conceptprobe[gpu]' with CUDA."
        )
