"""Stream images through a model once: exact top images, statistics, FAISS."""

from conceptprobe.indexing.build import build_index
from conceptprobe.indexing.errors import IndexingError, MissingFaissError
from conceptprobe.indexing.feature import FeatureId
from conceptprobe.indexing.index import Index, TopImages, open_index

__all__ = ["FeatureId", "Index", "IndexingError", "MissingFaissError", "TopImages", "build_index", "open_index"]
