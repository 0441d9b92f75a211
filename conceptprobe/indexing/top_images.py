"""Lists of images in order: of one feature, and of all features of a layer."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from conceptprobe.display import figures, html
from conceptprobe.display.text import shorten
from conceptprobe.indexing.pictures import find_pictures

MOST_SHOWN = 40
FIGURE_SIDE = 256

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class TopImages:
    """Images in order, best first.

    Attributes:
        ids: Image ids.
        values: float32 [k], what they are ordered by.
        positions: int32 [k], the patch of each in reading order, or None where the list is not of single patches.
        origin: The index that they were read from: it knows where the images are. Lists are equal without it.
    """

    ids: tuple[str, ...]
    values: np.ndarray
    positions: np.ndarray | None = None
    origin: Path | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        shown = ", ".join(f"{id_} {value:.4g}" for id_, value in zip(self.ids[:5], self.values, strict=False))
        return f"TopImages({len(self)}: {shown}{', ...' if len(self) > 5 else ''})"

    def _repr_html_(self) -> str:
        ids = self.ids[:MOST_SHOWN]
        pictures = find_pictures(self.origin, ids, html.SIDE)
        tiles = []
        for at, (id_, value, image) in enumerate(zip(ids, self.values.tolist(), pictures.images, strict=False)):
            patch = "" if self.positions is None else f", patch {int(self.positions[at])}"
            tiles.append(html.Tile(image, id_, f"{value:.4g}{patch}"))
        notes = [f"{len(self) - len(ids):,} more are not shown"] if len(self) > len(ids) else []
        notes += [f"Some images cannot be shown. {shorten(pictures.reason)}"] if pictures.reason else []
        return html.block(f"{html.count_of(len(self), 'image')}, best first", html.tiles(tiles, html.SIDE), notes)

    def figure(self, columns: int = 5) -> "Figure":
        """The images as a matplotlib figure, each with its value; needs the extra `plots`.

        Raises:
            DisplayError: matplotlib is not installed, the list is empty, or columns is below 1.
        """
        images = find_pictures(self.origin, self.ids, FIGURE_SIDE).images
        pictures = [None if image is None else np.asarray(image) for image in images]
        captions = [f"{value:.3g}" if np.isfinite(value) else "–" for value in self.values.tolist()]
        return figures.images_figure(pictures, captions, columns)


@dataclass(frozen=True, eq=False)
class ImageLists:
    """A list of images for every feature of a layer.

    Attributes:
        rows: Rows of `Index.images`, int64 [f,k], of a strip [f,10,8]; -1 past the end of a list.
        values: What the lists are ordered by, float32 of the same shape; NaN past the end.
        positions: The patch of each in reading order, int32 of the same shape; None where lists are not of patches.
    """

    rows: np.ndarray
    values: np.ndarray
    positions: np.ndarray | None
