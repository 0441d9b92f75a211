"""Contact sheets of visualizations, with the top natural images beside them."""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from conceptprobe.display import sheets
from conceptprobe.images import ImageSource
from conceptprobe.indexing.index import Index
from conceptprobe.indexing.source import source_of
from conceptprobe.visualization.results.record import VisualizationRecord

TILE = 160


def draw_contact_sheet(
    images_nhwc: np.ndarray,
    records: Sequence[VisualizationRecord],
    index: Index | None = None,
    *,
    images: ImageSource | None = None,
    tops: int = 4,
    columns: int | None = None,
    tile: int = TILE,
) -> Image.Image:
    """All images on one sheet, each above its target and its quantile and rank, or else its activation.

    Args:
        images_nhwc: uint8 [n,h,w,3].
        records: n records.
        index: Puts the top natural images beside each image whose target is a feature of the index.
        images: Where the natural images are now; by default where the index was built from.
        tops: Number of natural images, which share a square.
        columns: By default the number that makes the sheet nearly square.
        tile: Height and width of an image on the sheet.
    """
    tiles = [sheets.fit_square(Image.fromarray(pixels_hwc), tile) for pixels_hwc in images_nhwc]
    if index is not None:
        source = source_of(index, images)
        naturals = [_natural_square(record, index, source, tops, tile) for record in records]
        tiles = [
            sheets.draw_grid([image, natural], 2, gap=sheets.GAP // 3)
            for image, natural in zip(tiles, naturals, strict=True)
        ]
    return sheets.draw_contact_sheet(tiles, [caption(record) for record in records], columns)


def caption(record: VisualizationRecord) -> tuple[str, str]:
    """Two lines: the target of an image, and how well the image activates it."""
    natural, name = record.natural, record.target
    if record.layer is not None and record.feature is not None:  # the key of a `specific` objective is long
        name = f"{record.layer}:{record.feature}" + ("" if record.pooling == "mean" else f" {record.pooling}")
    if natural is None:
        return name, f"activation {record.activation:.4g}"
    above = f"above all {natural.images:,}" if record.exceeds else f"above {natural.quantile:.1%}"
    return name, f"{above}, rank {natural.rank} of {natural.of}"


def _natural_square(
    record: VisualizationRecord, index: Index, source: ImageSource, tops: int, tile: int
) -> Image.Image | None:
    """The top natural images of a record's feature in a square; None where the index does not have the feature."""
    known = record.layer in index.layers and record.pooling in index.manifest.pooling
    if not known or record.layer is None or record.feature is None or tops < 1:
        return None
    top = index.top(f"{record.layer}:{record.feature}", min(tops, index.manifest.k), record.pooling)
    columns = math.ceil(math.sqrt(tops))
    side = tile // columns - 1
    naturals = [sheets.fit_square(source.load(source.row_of(id_)).image, side) for id_ in top.ids]
    return sheets.draw_grid(naturals, columns, rows=columns, gap=1)
