"""The images of an index again, from where it says that they are."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from conceptprobe.images import ImageSource
from conceptprobe.indexing.contents import changed_images
from conceptprobe.indexing.describe import load_source
from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.index import Index

CHECKED_IMAGES = 16


def source_of(index: Index, images: ImageSource | None = None) -> ImageSource:
    """The images of an index, its rows aligned with `Index.images`: those that were skipped are left out.

    Args:
        index: The index.
        images: Where they are now; by default they are looked for where they were when the index was built.

    Raises:
        IndexingError: They are not there any more, or are others. Images whose fingerprint has changed, because a
            column came or went, are compared by the content hashes of a few.
        SourceError: The source that the index names does not exist any more.
    """
    source = index.manifest.source
    if images is None:
        if source.spec.startswith("dataset:"):
            raise IndexingError(
                f"{index.path} is of the Python dataset {source.spec.removeprefix('dataset:')}, which cannot be "
                "loaded by name: give it as images=load_images(dataset)"
            )
        images = load_source(source)
    wanted = pa.chunked_array([pa.array(index.images["id"], pa.string())])
    places = pc.index_in(wanted, value_set=images.table["id"])
    if places.null_count:
        lost = wanted.filter(pc.is_null(places))
        raise IndexingError(
            f"{images.spec} lacks {len(lost)} of the {len(wanted)} images of {index.path}, such as "
            f"{lost[0].as_py()!r}: give the images that it was built from, as images=load_images(...)"
        )
    rows = places.to_numpy().astype(np.int64)
    if images.fingerprint != source.fingerprint:
        _check_contents(index, images, rows)
    return images if len(rows) == len(images) else images.subset(rows)


def _check_contents(index: Index, images: ImageSource, rows: np.ndarray) -> None:
    if images.background != index.manifest.source.background:
        raise IndexingError(
            f"{index.path} saw its images on {index.manifest.source.background}, these are on {images.background}"
        )
    checked = np.linspace(0, len(rows) - 1, min(CHECKED_IMAGES, len(rows)), dtype=int)
    for position, _ in changed_images(images, rows[checked].tolist(), index.images["content_hash"].iloc[checked]):
        raise IndexingError(
            f"{images.spec} has changed since {index.path} was built: {index.images['id'][checked[position]]!r} is "
            "another image now. Rebuild the index, or give the images that it was built from, as "
            "images=load_images(...)"
        )
