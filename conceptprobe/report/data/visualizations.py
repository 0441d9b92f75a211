"""The visualizations of a report: pictures that activate a feature, with their numbers."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from conceptprobe.display.text import shorten
from conceptprobe.report.collect.models import ReportModel
from conceptprobe.report.errors import ReportError
from conceptprobe.report.pictures.thumbnails import GRID, SMALL_TILE, shrink, write_sheet
from conceptprobe.report.scripts import Json, number, plain
from conceptprobe.visualization.results.animation import encode_animation
from conceptprobe.visualization.results.record import VisualizationRecord
from conceptprobe.visualization.results.visualizations import Visualizations, load_visualizations

CURVE_POINTS = 64
Given = Visualizations | str | os.PathLike[str]
Loaded = tuple[Visualizations, Path | None]
"""With the folder that they were saved to, where it is known."""


@dataclass(frozen=True, eq=False)
class Shown:
    """The visualizations of a report.

    Attributes:
        of_feature: By the number of a feature its visualizations, in their order.
        other: Those that are of no feature of the report.
        count: All of them.
    """

    of_feature: Mapping[int, list[Json]]
    other: Sequence[Json]
    count: int

    def of_layer(self, start: int, width: int) -> dict[int, list[Json]]:
        """By the index of a feature of a layer its visualizations."""
        return {g - start: own for g, own in self.of_feature.items() if start <= g < start + width}

    @property
    def first(self) -> dict[int, int]:
        """The number of the first visualization of each feature that has one."""
        return {feature: own[0]["n"] for feature, own in self.of_feature.items()}


def load_given(given: Sequence[Given], models: Sequence[ReportModel]) -> list[Loaded]:
    """Read visualizations that are given by their folder, and check that all are of models of the report.

    Raises:
        ReportError: They are of a model that is not in the report.
        VisualizeError: A folder holds none, or damaged ones.
    """
    loaded: list[Loaded] = [
        (own, None) if isinstance(own, Visualizations) else (load_visualizations(own), Path(own)) for own in given
    ]
    for own, _ in loaded:
        check_model(own, models)
    return loaded


def write_visualizations(loaded: Sequence[Loaded], models: Sequence[ReportModel], folder: Path) -> Shown:
    """Write the pictures as WebP, each by itself and all on sheets of small tiles."""
    of_feature: dict[int, list[Json]] = {}
    other: list[Json] = []
    tiles: dict[int, Image.Image] = {}
    count = 0
    if loaded:
        (folder / "vis").mkdir()
    for own, origin in loaded:
        for row, record in enumerate(own.records):
            picture = Image.fromarray(own.images_nhwc[row])
            picture.save(folder / f"vis/{count}.webp", "WEBP", quality=90)
            frames = None if own.frames_nthwc is None else own.frames_nthwc[row]
            animated = write_animation(record, frames, origin, folder / f"vis/{count}-animation.webp")
            tiles[count % GRID**2] = shrink(picture, SMALL_TILE)
            if len(tiles) == GRID**2:
                write_sheet(tiles, folder / f"vis/sheet-{count // GRID**2}.webp")
                tiles = {}
            data = record_data(record, count, animated)
            feature = feature_of(record, models)
            other.append(data) if feature is None else of_feature.setdefault(feature, []).append(data)
            count += 1
    if tiles:
        write_sheet(tiles, folder / f"vis/sheet-{(count - 1) // GRID**2}.webp")
    return Shown(of_feature, other, count)


def check_model(visualizations: Visualizations, models: Sequence[ReportModel]) -> None:
    known = {model.index.manifest.model.fingerprint for model in models}
    for record in visualizations.records:
        if record.model.get("fingerprint") not in known:
            specs = ", ".join(model.label for model in models)
            raise ReportError(
                f"the visualization of {record.target} is of {record.model.get('spec')}, which is none of the models "
                f"of this report with the same weights ({specs}): leave it out, or add an index of that model"
            )


def feature_of(record: VisualizationRecord, models: Sequence[ReportModel]) -> int | None:
    """The number of the feature that a visualization is of; None where it is of none of the report."""
    for model in models:
        if model.index.manifest.model.fingerprint == record.model.get("fingerprint"):
            start = model.starts.get(record.layer or "")
            if start is not None and record.feature is not None and record.feature < model.widths[str(record.layer)]:
                return start + record.feature
    return None


def write_animation(
    record: VisualizationRecord, frames_thwc: np.ndarray | None, origin: Path | None, path: Path
) -> bool:
    """Write the animation of a visualization, where it has one."""
    if frames_thwc is not None:
        path.write_bytes(encode_animation(frames_thwc, "webp"))
        return True
    if origin is None or record.animation is None or not (origin / record.animation).is_file():
        return False
    if record.animation.endswith(".webp"):
        shutil.copyfile(origin / record.animation, path)
    else:
        encoded = BytesIO()
        with Image.open(origin / record.animation) as animation:
            animation.save(encoded, "WEBP", save_all=True, quality=90)
        path.write_bytes(encoded.getvalue())
    return True


def record_data(record: VisualizationRecord, at: int, animated: bool) -> Json:
    curve = record.curve
    if len(curve) > CURVE_POINTS:
        curve = tuple(curve[i] for i in np.linspace(0, len(curve) - 1, CURVE_POINTS).round().astype(int).tolist())
    return {
        "n": at,
        "target": shorten(record.target),
        "pooling": record.pooling,
        "seed": record.seed,
        "restart": record.restart,
        "member": record.member,
        "preset": plain(record.preset.get("name")),
        "steps": record.steps,
        "views": record.views,
        "size": list(record.size),
        "activation": number(record.activation),
        "natural": None if record.natural is None else {k: plain(v) for k, v in asdict(record.natural).items()},
        "exceeds": record.exceeds,
        "curve": [number(value) for value in curve],
        "stopped": record.stopped,
        "animation": animated,
    }
