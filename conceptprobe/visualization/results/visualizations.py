"""Visualizations: images with their records, and the folder that keeps them."""

import io
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pandas as pd
from filelock import FileLock
from PIL import Image

from conceptprobe.display import figures, html
from conceptprobe.images import ImageSource
from conceptprobe.indexing.index import Index
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.results.contact_sheet import SECONDS, caption, draw_contact_sheet, encode_animation
from conceptprobe.visualization.results.record import SCHEMA_VERSION, VisualizationRecord, file_stem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "visualizations.json"
LOCK = "visualizations.lock"
COMMON = ("model", "preset", "steps", "views", "size")


MOST_SHOWN = 24


@dataclass(frozen=True, repr=False)
class Visualization:
    """One image with its record; a notebook shows the image."""

    image: Image.Image
    record: VisualizationRecord

    def __repr__(self) -> str:
        return f"Visualization({self.image.width} x {self.image.height}, {self.record!r})"

    def _repr_png_(self) -> bytes:
        return _png(np.asarray(self.image))


@dataclass(frozen=True, eq=False, repr=False)
class Visualizations:
    """Images that were optimised, each with its record.

    Attributes:
        images_nhwc: uint8 [n,h,w,3].
        records: One an image.
        frames_nthwc: uint8 [n,t,h,w,3], the images on their way, the last of them finished; None where none were kept.
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
        known = [record for record in self.records if record.natural is not None]
        if known:
            above = sum(bool(record.exceeds) for record in known)
            first_rank = sum(record.natural is not None and record.natural.rank == 1 for record in known)
            parts.append(f"{above} of {len(known)} above every natural image, {first_rank} rank first of their layer")
        stopped = sum(record.stopped is not None for record in self.records)
        return f"Visualizations({'; '.join(parts + ([f'{stopped} stopped'] if stopped else []))})"

    @overload
    def __getitem__(self, chosen: int | str) -> Visualization: ...
    @overload
    def __getitem__(self, chosen: slice | Sequence[int] | np.ndarray) -> "Visualizations": ...
    def __getitem__(self, chosen: Any) -> "Visualization | Visualizations":
        """One by its number or target (of several of a target the first), or some of them.

        Raises:
            KeyError: No image has the target.
        """
        if isinstance(chosen, str):
            places = [i for i, record in enumerate(self.records) if record.target == chosen]
            if not places:
                some = ", ".join(record.target for record in self.records[:5])
                raise KeyError(f"no image of {chosen!r}; there are {some}{', ...' if len(self) > 5 else ''}")
            chosen = places[0]
        if isinstance(chosen, int | np.integer):
            return Visualization(Image.fromarray(self.images_nhwc[chosen]), self.records[chosen])
        rows = np.arange(len(self))[chosen]
        frames = None if self.frames_nthwc is None else self.frames_nthwc[rows]
        return Visualizations(self.images_nhwc[rows], tuple(self.records[row] for row in rows), frames)

    def __iter__(self) -> Iterator[Visualization]:
        return (self[row] for row in range(len(self)))

    @property
    def frame(self) -> pd.DataFrame:
        """One row an image: target, layer, feature, pooling, seed, restart, member, activation, natural_maximum,
        quantile, how, z, rank, of, exceeds, stopped, file. What only an index tells is missing without one."""
        return pd.DataFrame([_row(record) for record in self.records])

    def save(self, out: str | os.PathLike[str], *, animate: str | None = None) -> "Visualizations":
        """Write `<layer>/<feature>.png` and `.json` for each image, and what they have in common to
        `visualizations.json`. A folder that holds others already gets these added; those of the same target and seed
        are replaced. Each file is there whole or not at all, and an image is listed once its files are there.

        Args:
            out: The folder; made where it is not there.
            animate: `gif` or `webp`, where frames were kept: also write them beside the PNG.

        Returns:
            The same, with the names of the files in the records.

        Raises:
            VisualizeError: The folder holds visualizations of another model, preset, number of steps or views, or
                size; or `animate` is unknown, or there are no frames.
        """
        if animate is not None and (animate not in SECONDS or self.frames_nthwc is None):
            unknown = f"animate is {animate!r}: use {' or '.join(SECONDS)}"
            missing = "there are no frames to animate: visualize with frames=N"
            raise VisualizeError(unknown if animate not in SECONDS else missing)
        folder = Path(out)
        common = _common(self.records)
        if self.records:
            check_folder(folder, common)
        folder.mkdir(parents=True, exist_ok=True)
        records = []
        for row, record in enumerate(self.records):
            stem = file_stem(record)
            (folder / stem).parent.mkdir(parents=True, exist_ok=True)
            animation = None
            if animate is not None and self.frames_nthwc is not None:
                animation = f"{stem}.{animate}"
                _write(folder / animation, encode_animation(self.frames_nthwc[row], animate))
            records.append(replace(record, file=f"{stem}.png", animation=animation))
            _write(folder / f"{stem}.png", _png(self.images_nhwc[row]))
            _write(folder / f"{stem}.json", _json(records[-1].as_dict()))
        with FileLock(folder / LOCK):
            listed = _read_list(folder)["files"] if (folder / NAME).is_file() else []
            files = list(dict.fromkeys([*listed, *(f"{file_stem(record)}.json" for record in records)]))
            _write(folder / NAME, _json({"schema_version": SCHEMA_VERSION, "common": common, "files": files}))
        return replace(self, records=tuple(records))

    def _repr_html_(self) -> str:
        tiles = []
        for pixels_hwc, record in zip(self.images_nhwc[:MOST_SHOWN], self.records, strict=False):
            image = Image.fromarray(pixels_hwc)
            image.thumbnail((html.LARGE_SIDE, html.LARGE_SIDE), Image.Resampling.LANCZOS)
            tiles.append(html.Tile(image, *caption(record)))
        left = len(self) - len(tiles)
        notes = [f"{left:,} more are not shown"] if left else []
        return html.block(repr(self), html.tiles(tiles, html.LARGE_SIDE), notes)

    def figure(self, columns: int = 5) -> "Figure":
        """All images with their targets as a matplotlib figure; needs the extra `plots`."""
        captions = ["\n".join(caption(record)) for record in self.records]
        return figures.images_figure(list(self.images_nhwc), captions, columns)

    def contact_sheet(
        self, index: Index | None = None, *, images: ImageSource | None = None, tops: int = 4,
        columns: int | None = None,
    ) -> Image.Image:  # fmt: skip
        """All images on one sheet, each with its feature, quantile and rank.

        Args:
            index: Puts the top natural images of each feature beside it.
            images: Where those are now, if not where the index was built from.
            tops: How many of them.
            columns: By default about as many as rows.
        """
        return draw_contact_sheet(self.images_nhwc, self.records, index, images=images, tops=tops, columns=columns)


def join_visualizations(parts: Sequence[Visualizations]) -> Visualizations:
    """Visualizations of the same size, one after the other; frames are kept where all have as many."""
    if not parts:
        return Visualizations(np.empty((0, 1, 1, 3), np.uint8), ())
    frames = [part.frames_nthwc for part in parts if part.frames_nthwc is not None]
    together = len(frames) == len(parts) and len({each.shape[1] for each in frames}) == 1
    return Visualizations(
        np.concatenate([part.images_nhwc for part in parts]),
        tuple(record for part in parts for record in part.records),
        np.concatenate(frames) if together else None,
    )


def load_visualizations(path: str | os.PathLike[str]) -> Visualizations:
    """Read what `Visualizations.save` wrote, in the order in which it was first written; frames stay on the disk.

    Raises:
        VisualizeError: The folder holds no visualizations, or of another version, or files are missing or damaged.
    """
    folder = Path(path)
    files = _read_list(folder)["files"]
    images, records = [], []
    for name in files:
        try:
            stored = json.loads((folder / name).read_text(encoding="utf-8"))
            record = VisualizationRecord.from_dict(stored)
            with Image.open(folder / str(record.file)) as opened:
                pixels = np.asarray(opened.convert("RGB"))
        except VisualizeError as error:
            raise VisualizeError(f"{folder / name}: {error}; visualize again") from error
        except (OSError, ValueError, SyntaxError) as error:
            raise VisualizeError(
                f"{folder / name} or its PNG is missing or damaged ({error}): visualize its target again into {folder}"
            ) from error
        if pixels.shape[:2] != record.size:
            raise VisualizeError(f"{folder / str(record.file)} is {pixels.shape[:2]}, its record says {record.size}")
        images.append(pixels)
        records.append(record)
    return Visualizations(np.stack(images) if images else np.empty((0, 1, 1, 3), np.uint8), tuple(records))


def check_folder(out: str | os.PathLike[str], common: Mapping[str, Any]) -> None:
    """Refuse a folder that holds visualizations made otherwise.

    Args:
        common: model, preset, steps, views and size of those that are to come.

    Raises:
        VisualizeError: Its own differ; says in what.
    """
    folder = Path(out)
    if folder.exists() and not folder.is_dir():
        raise VisualizeError(f"{folder} is a file: choose a folder")
    if not (folder / NAME).is_file():
        return
    kept, wanted = _read_list(folder)["common"], json.loads(_json(common))
    wrong = [name for name in COMMON if kept and kept.get(name) != wanted.get(name)]
    if wrong:
        shown = "; ".join(f"{name} {_short(kept.get(name))} there, {_short(wanted.get(name))} here" for name in wrong)
        raise VisualizeError(f"{folder} holds visualizations made otherwise ({shown}): choose another folder")


def _common(records: Sequence[VisualizationRecord]) -> dict[str, Any]:
    if not records:
        return {}
    every = [{name: value for name, value in record.as_dict().items() if name in COMMON} for record in records]
    wrong = [name for name in COMMON if any(own[name] != every[0][name] for own in every)]
    if wrong:
        raise VisualizeError(f"one folder holds images of the same {', '.join(wrong)}: save these into several")
    return every[0]


def _read_list(folder: Path) -> dict[str, Any]:
    path = folder / NAME
    if not path.is_file():
        raise VisualizeError(f"{folder} holds no {NAME}: make one with `conceptprobe visualize --out {folder}`")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        version, _, _ = stored["schema_version"], stored["common"], [name + "" for name in stored["files"]]
    except (ValueError, KeyError, TypeError) as error:
        raise VisualizeError(f"{path} is damaged ({type(error).__name__}): visualize into another folder") from error
    if version != SCHEMA_VERSION:
        raise VisualizeError(f"{path} has schema version {version}, this conceptprobe reads {SCHEMA_VERSION}")
    return dict(stored)


def _row(record: VisualizationRecord) -> dict[str, Any]:
    natural = {} if record.natural is None else asdict(record.natural)
    names = ("target", "layer", "feature", "pooling", "seed", "restart", "member", "activation")
    return {
        **{name: getattr(record, name) for name in names},
        "natural_maximum": natural.get("maximum"),
        **{name: natural.get(name) for name in ("quantile", "how", "z", "rank", "of")},
        **{name: getattr(record, name) for name in ("exceeds", "stopped", "file")},
    }


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("spec") or value.get("name")
    return json.dumps(value)


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode()


def _png(pixels_hwc: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels_hwc).save(out, "PNG")
    return out.getvalue()


def _write(path: Path, data: bytes) -> None:
    """All of a file or nothing of it."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", suffix=".tmp", delete=False) as file:
        file.write(data)
    Path(file.name).chmod(0o644)
    os.replace(file.name, path)
