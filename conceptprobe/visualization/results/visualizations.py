"""Visualizations: images with their records."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pandas as pd
from PIL import Image

from conceptprobe.display import figures, html
from conceptprobe.images import ImageSource
from conceptprobe.indexing.index import Index
from conceptprobe.output.folder import locked
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.results.animation import KINDS
from conceptprobe.visualization.results.contact_sheet import caption, draw_contact_sheet
from conceptprobe.visualization.results.record import VisualizationRecord
from conceptprobe.visualization.results.storage import png_bytes, read_images, write_images

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SHOWN = 24
WAIT = 60.0  # seconds that a save waits for another process which saves to the same folder


@dataclass(frozen=True, repr=False)
class Visualization:
    """One image with its record; a notebook shows the image."""

    image: Image.Image
    record: VisualizationRecord

    def __repr__(self) -> str:
        return f"Visualization({self.image.width} x {self.image.height}, {self.record!r})"

    def _repr_png_(self) -> bytes:
        return png_bytes(np.asarray(self.image))


@dataclass(frozen=True, eq=False, repr=False)
class Visualizations:
    """Optimised images with their records.

    Attributes:
        images_nhwc: uint8 [n,h,w,3].
        records: A record for each image.
        frames_nthwc: uint8 [n,t,h,w,3], the images during their optimisation, the last of them finished; or None.
    """

    images_nhwc: np.ndarray
    records: tuple[VisualizationRecord, ...]
    frames_nthwc: np.ndarray | None = None

    def __post_init__(self) -> None:
        shape = self.images_nhwc.shape
        assert self.images_nhwc.dtype == np.uint8, self.images_nhwc.dtype
        assert shape[3:] == (3,), shape
        assert len(self.records) == len(self.images_nhwc), (len(self.records), shape)
        assert self.frames_nthwc is None or len(self.frames_nthwc) == len(self.records), len(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        if not self.records:
            return "Visualizations(none)"
        first, (height, width) = self.records[0], self.images_nhwc.shape[1:3]
        presets = sorted({str(record.preset.get("name")) for record in self.records})
        parts = [f"{len(self)} images of {height} x {width}", f"{first.model.get('spec')}", ", ".join(presets)]
        total = self.summary().drop(columns="layer").sum()
        if total["compared"]:
            above = f"{total['exceeds']} of {total['compared']} above every natural image"
            parts.append(f"{above}, {total['first']} rank first of their layer")
        if total["stopped"]:
            parts.append(f"{total['stopped']} stopped")
        return f"Visualizations({'; '.join(parts)})"

    @overload
    def __getitem__(self, chosen: int | str) -> Visualization: ...
    @overload
    def __getitem__(self, chosen: slice | Sequence[int] | np.ndarray) -> "Visualizations": ...
    def __getitem__(self, chosen: Any) -> "Visualization | Visualizations":
        """One visualization by its number or target (the first with this target), or several by their numbers.

        Raises:
            KeyError: No image has the target.
        """
        if isinstance(chosen, str):
            rows = [i for i, record in enumerate(self.records) if record.target == chosen]
            if not rows:
                some = ", ".join(record.target for record in self.records[:5])
                raise KeyError(f"no image of {chosen!r}; there are {some}{', ...' if len(self) > 5 else ''}")
            chosen = rows[0]
        if isinstance(chosen, int | np.integer):
            return Visualization(Image.fromarray(self.images_nhwc[chosen]), self.records[chosen])
        rows = np.arange(len(self))[chosen]
        frames = None if self.frames_nthwc is None else self.frames_nthwc[rows]
        return Visualizations(self.images_nhwc[rows], tuple(self.records[row] for row in rows), frames)

    def __iter__(self) -> Iterator[Visualization]:
        return (self[row] for row in range(len(self)))

    @property
    def frame(self) -> pd.DataFrame:
        """One row an image, with the entries of its record.

        The columns are target, layer, feature, pooling, seed, restart, member, activation, natural_maximum, quantile,
        how, z, rank, of, exceeds, stopped and file. Those from natural_maximum to exceeds are missing without an index.
        """
        return pd.DataFrame([_row(record) for record in self.records])

    def summary(self) -> pd.DataFrame:
        """One row a layer: layer, images, compared, exceeds, first, stopped.

        `compared` counts the images that an index compared with natural ones. Of these, `exceeds` counts those whose
        activation is above that of every natural image, and `first` those whose feature ranks first of its layer.
        """
        rows = {
            "layer": [record.layer for record in self.records],
            "images": 1,
            "compared": [record.natural is not None for record in self.records],
            "exceeds": [record.exceeds is True for record in self.records],
            "first": [record.natural is not None and record.natural.rank == 1 for record in self.records],
            "stopped": [record.stopped is not None for record in self.records],
        }
        counts = pd.DataFrame(rows).groupby("layer", sort=False, dropna=False).sum()
        return counts.astype(np.int64).reset_index()

    def save(self, folder: str | os.PathLike[str], *, animate: str | None = None) -> Path:
        """Write `<layer>/<feature>.png` and `.json` for each image, and `visualizations.json`.

        The images are added to those that the folder holds already, and replace those of the same target and seed. A
        kill leaves no file half-written, and an image is listed only when its files are complete.

        Args:
            folder: The folder; it is made where there is none.
            animate: `gif` or `webp` also writes the frames as animations.

        Raises:
            FolderBusyError: Another process writes to the folder, and still does after a minute.
            OutputError: The folder cannot be written.
            VisualizeError: The folder holds visualizations of another model, preset, number of steps or views, or
                size; or `animate` is unknown, or there are no frames.
        """
        if animate is not None and animate not in KINDS:
            raise VisualizeError(f"animate is {animate!r}: choose {' or '.join(KINDS)}")
        if animate is not None and self.frames_nthwc is None:
            raise VisualizeError("there are no frames to animate: visualize with frames=N")
        path = Path(folder)
        busy = f"another process is writing {path}: wait for it, or choose another folder"
        with locked(path.resolve(), busy, timeout=WAIT):
            write_images(path, self.images_nhwc, self.records, self.frames_nthwc, animate)
        return path

    def _repr_html_(self) -> str:
        tiles = []
        for pixels_hwc, record in zip(self.images_nhwc[:MOST_SHOWN], self.records, strict=False):
            image = Image.fromarray(pixels_hwc)
            image.thumbnail((html.LARGE_SIDE, html.LARGE_SIDE), Image.Resampling.LANCZOS)
            tiles.append(html.Tile(image, *caption(record)))
        left = len(self) - len(tiles)
        notes = [f"{left:,} more images are not shown"] if left else []
        return html.block(repr(self), html.tiles(tiles, html.LARGE_SIDE), notes)

    def figure(self, columns: int = 5) -> "Figure":
        """All images with their targets as a matplotlib figure; needs the extra `plots`.

        Raises:
            DisplayError: matplotlib is not installed, there is no image, or columns is below 1.
        """
        captions = ["\n".join(caption(record)) for record in self.records]
        return figures.images_figure(list(self.images_nhwc), captions, columns)

    def contact_sheet(
        self, index: Index | None = None, *, images: ImageSource | None = None, tops: int = 4,
        columns: int | None = None,
    ) -> Image.Image:  # fmt: skip
        """All images on one sheet, each with its feature, quantile and rank.

        Args:
            index: Puts the top natural images of each feature beside its image.
            images: Where the natural images are now; by default where the index was built from.
            tops: Number of natural images.
            columns: By default the number that makes the sheet nearly square.
        """
        return draw_contact_sheet(self.images_nhwc, self.records, index, images=images, tops=tops, columns=columns)


def join_visualizations(parts: Sequence[Visualizations]) -> Visualizations:
    """Join visualizations of one size; frames are kept if all parts have the same number of them."""
    if not parts:
        return Visualizations(np.empty((0, 1, 1, 3), np.uint8), ())
    frames = [part.frames_nthwc for part in parts if part.frames_nthwc is not None]
    together = len(frames) == len(parts) and len({each.shape[1] for each in frames}) == 1
    return Visualizations(
        np.concatenate([part.images_nhwc for part in parts]),
        tuple(record for part in parts for record in part.records),
        np.concatenate(frames) if together else None,
    )


def load_visualizations(folder: str | os.PathLike[str]) -> Visualizations:
    """Read the visualizations of a folder in the order in which they were first written, without their frames.

    Raises:
        VisualizeError: The folder holds no visualizations, or those of another version; or a file is missing or
            damaged.
    """
    return Visualizations(*read_images(Path(folder)))


def _row(record: VisualizationRecord) -> dict[str, Any]:
    natural = {} if record.natural is None else asdict(record.natural)
    names = ("target", "layer", "feature", "pooling", "seed", "restart", "member", "activation")
    return {
        **{name: getattr(record, name) for name in names},
        "natural_maximum": natural.get("maximum"),
        **{name: natural.get(name) for name in ("quantile", "how", "z", "rank", "of")},
        **{name: getattr(record, name) for name in ("exceeds", "stopped", "file")},
    }
