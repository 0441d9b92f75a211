"""The folder of visualizations on the disk: a PNG and a JSON record for each image, and a list of the records."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from conceptprobe.output.atomic import replace_file
from conceptprobe.validation import first_fault
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.results.animation import encode_animation
from conceptprobe.visualization.results.record import SCHEMA_VERSION, VisualizationRecord, file_stem

NAME = "visualizations.json"
COMMON = ("model", "preset", "steps", "views", "size")


@dataclass(frozen=True)
class _Listing:
    """`visualizations.json`: the entries that all records share, and the paths of the records in order."""

    schema_version: int
    common: dict[str, Any]
    files: list[str]


def is_saved(folder: Path) -> bool:
    """Whether a folder holds visualizations."""
    return (folder / NAME).is_file()


def write_images(
    folder: Path,
    images_nhwc: np.ndarray,
    records: Sequence[VisualizationRecord],
    frames_nthwc: np.ndarray | None,
    animate: str | None,
) -> tuple[VisualizationRecord, ...]:
    """Add images to a folder that this process has locked. An image is listed once its files are complete.

    Args:
        folder: The folder; it is made where there is none.
        images_nhwc: uint8 [n,h,w,3].
        records: n records.
        frames_nthwc: uint8 [n,t,h,w,3], or None.
        animate: `gif` or `webp` writes the frames as animations; None does not.

    Returns:
        The records with the paths of the files.

    Raises:
        VisualizeError: The records, or those of the folder, differ in model, preset, steps, views or size.
    """
    common = _common(records)
    if records:
        check_folder(folder, common)
    folder.mkdir(parents=True, exist_ok=True)
    saved = []
    for row, record in enumerate(records):
        stem = file_stem(record)
        (folder / stem).parent.mkdir(parents=True, exist_ok=True)
        animation = None
        if animate is not None and frames_nthwc is not None:
            animation = f"{stem}.{animate}"
            replace_file(folder / animation, encode_animation(frames_nthwc[row], animate))
        saved.append(replace(record, file=f"{stem}.png", animation=animation))
        replace_file(folder / f"{stem}.png", png_bytes(images_nhwc[row]))
        replace_file(folder / f"{stem}.json", _json(saved[-1].as_dict()))
    earlier = _read_listing(folder).files if is_saved(folder) else []
    files = list(dict.fromkeys([*earlier, *(f"{file_stem(record)}.json" for record in records)]))
    replace_file(folder / NAME, _json(asdict(_Listing(SCHEMA_VERSION, common, files))))
    return tuple(saved)


def read_images(folder: Path) -> tuple[np.ndarray, tuple[VisualizationRecord, ...]]:
    """Read the images uint8 [n,h,w,3] of a folder, and their records, in the order in which they were first written.

    Raises:
        VisualizeError: The folder holds no visualizations, or those of another version; or a file is missing or
            damaged.
    """
    images, records = [], []
    for name in _read_listing(folder).files:
        try:
            record = VisualizationRecord.from_dict(json.loads((folder / name).read_text(encoding="utf-8")))
            with Image.open(folder / str(record.file)) as opened:
                pixels = np.asarray(opened.convert("RGB"))
        except VisualizeError as error:
            raise VisualizeError(f"{folder / name}: {error}; visualize again") from error
        except (OSError, ValueError, SyntaxError) as error:
            raise VisualizeError(
                f"{folder / name} or its PNG is missing or damaged ({error}): visualize its target again into {folder}"
            ) from error
        if pixels.shape[:2] != record.size:
            raise VisualizeError(
                f"{folder / str(record.file)} has {pixels.shape[:2]} pixels, but its record says {record.size}: "
                f"visualize its target again into {folder}"
            )
        images.append(pixels)
        records.append(record)
    return np.stack(images) if images else np.empty((0, 1, 1, 3), np.uint8), tuple(records)


def check_folder(folder: Path, common: Mapping[str, Any]) -> None:
    """Refuse a folder whose visualizations were made otherwise.

    Args:
        folder: The folder, which need not exist.
        common: model, preset, steps, views and size of the visualizations to add.

    Raises:
        VisualizeError: The entries differ; the error names them.
    """
    if folder.exists() and not folder.is_dir():
        raise VisualizeError(f"{folder} is a file: choose a folder")
    if not is_saved(folder):
        return
    stored, wanted = _read_listing(folder).common, json.loads(_json(common))
    wrong = [name for name in COMMON if stored and stored.get(name) != wanted.get(name)]
    if wrong:
        shown = "; ".join(f"{name} {_short(stored.get(name))} there, {_short(wanted.get(name))} here" for name in wrong)
        raise VisualizeError(f"{folder} holds visualizations made otherwise ({shown}): choose another folder")


def png_bytes(pixels_hwc: np.ndarray) -> bytes:
    """An image as a PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels_hwc).save(out, "PNG")
    return out.getvalue()


def _common(records: Sequence[VisualizationRecord]) -> dict[str, Any]:
    if not records:
        return {}
    every = [{name: value for name, value in record.as_dict().items() if name in COMMON} for record in records]
    wrong = [name for name in COMMON if any(entries[name] != every[0][name] for entries in every)]
    if wrong:
        raise VisualizeError(
            f"the images differ in {', '.join(wrong)}, and one folder holds images of the same settings: save them "
            "into several folders"
        )
    return every[0]


def _read_listing(folder: Path) -> _Listing:
    path = folder / NAME
    if not path.is_file():
        raise VisualizeError(f"{folder} holds no {NAME}: make one with `conceptprobe visualize --out {folder}`")
    try:
        listing = TypeAdapter(_Listing).validate_json(path.read_bytes())
    except ValidationError as error:
        raise VisualizeError(f"{path} is damaged ({first_fault(error)}): visualize into another folder") from error
    if listing.schema_version != SCHEMA_VERSION:
        raise VisualizeError(
            f"{path} has schema version {listing.schema_version}, this conceptprobe reads {SCHEMA_VERSION}: visualize "
            "into another folder"
        )
    return listing


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        value = value.get("spec") or value.get("name")
    return json.dumps(value)


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode()
