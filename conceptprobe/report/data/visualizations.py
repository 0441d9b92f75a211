"""The visualizations of a report: images that were optimised to activate a feature, and their records."""

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
VisualizationsLike = Visualizations | str | os.PathLike[str]
"""Visualizations, or the folder that they were saved to."""
Loaded = tuple[Visualizations, Path | None]
"""Visualizations, and their folder if it is known."""


@dataclass(frozen=True, eq=False)
class WrittenVisualizations:
    """The visualizations that were written into a report.

    Attributes:
        of_feature: The visualizations of each feature that has some, by the feature's number.
        other: The visualizations that target no feature of the report.
        count: The number of all visualizations.
    """

    of_feature: Mapping[int, list[Json]]
    other: Sequence[Json]
    count: int

    def of_layer(self, start: int, width: int) -> dict[int, list[Json]]:
        """The visualizations of the features of a layer, by the feature's index in the layer."""
        return {g - start: records for g, records in self.of_feature.items() if start <= g < start + width}

    @property
    def first(self) -> dict[int, int]:
        """The number of the first visualization of each feature that has one."""
        return {feature: records[0]["n"] for feature, records in self.of_feature.items()}


def read_visualizations(visualizations: Sequence[VisualizationsLike], models: Sequence[ReportModel]) -> list[Loaded]:
    """Load visualizations from their folders, and check that their models are in the report.

    Raises:
        ReportError: The model of a visualization is not in the report.
        VisualizeError: A folder holds no visualizations, or damaged ones.
    """
    loaded: list[Loaded] = [
        (made, None) if isinstance(made, Visualizations) else (load_visualizations(made), Path(made))
        for made in visualizations
    ]
    for made, _ in loaded:
        check_model(made, models)
    return loaded


def write_visualizations(
    loaded: Sequence[Loaded], models: Sequence[ReportModel], folder: Path
) -> WrittenVisualizations:
    """Write the images as WebP, each as a file and all on sheets of small tiles."""
    of_feature: dict[int, list[Json]] = {}
    other: list[Json] = []
    tiles: dict[int, Image.Image] = {}
    count = 0
    if loaded:
        (folder / "vis").mkdir()
    for made, origin in loaded:
        for row, record in enumerate(made.records):
            picture = Image.fromarray(made.images_nhwc[row])
            picture.save(folder / f"vis/{count}.webp", "WEBP", quality=90)
            frames = None if made.frames_nthwc is None else made.frames_nthwc[row]
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
    return WrittenVisualizations(of_feature, other, count)


def check_model(visualizations: Visualizations, models: Sequence[ReportModel]) -> None:
    """Check that the models of visualizations are in the report.

    Raises:
        ReportError: A model is not in the report.
    """
    known = {model.index.manifest.model.fingerprint for model in models}
    for record in visualizations.records:
        if record.model.get("fingerprint") not in known:
            specs = ", ".join(model.label for model in models)
            raise ReportError(
                f"the visualization of {record.target} is of {record.model.get('spec')}, but this report has no model "
                f"with the same weights ({specs}): leave the visualization out, or add an index of its model"
            )


def feature_of(record: VisualizationRecord, models: Sequence[ReportModel]) -> int | None:
    """The number of the feature that a visualization targets; None if the feature is not in the report."""
    for model in models:
        if model.index.manifest.model.fingerprint == record.model.get("fingerprint"):
            start = model.starts.get(record.layer or "")
            if start is not None and record.feature is not None and record.feature < model.widths[str(record.layer)]:
                return start + record.feature
    return None


def write_animation(
    record: VisualizationRecord, frames_thwc: np.ndarray | None, origin: Path | None, path: Path
) -> bool:
    """Write the animation of a visualization; False if it has none."""
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
    """The data of a visualization, with its number `at`."""
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
