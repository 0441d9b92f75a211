"""Stream images through a model once: exact top images, statistics, FAISS."""

from conceptprobe.feature import FeatureId
from conceptprobe.indexing.append import append_index
from conceptprobe.indexing.build import build_index
from conceptprobe.indexing.errors import IndexingError, MissingFaissError, TooManySkippedError
from conceptprobe.indexing.external import index_activations
from conceptprobe.indexing.index import Index, IndexLike, as_index, open_index
from conceptprobe.indexing.merge import merge_indices
from conceptprobe.indexing.top_images import TopImages
from conceptprobe.indexing.verification.verify import Verification, load_verification, verify_index

__all__ = [
    "FeatureId",
    "Index",
    "IndexLike",
    "IndexingError",
    "MissingFaissError",
    "TooManySkippedError",
    "TopImages",
    "Verification",
    "append_index",
    "as_index",
    "build_index",
    "index_activations",
    "load_verification",
    "merge_indices",
    "open_index",
    "verify_index",
]
