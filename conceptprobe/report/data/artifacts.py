"""The artifacts of a probe as pictures: photographs unchanged, numbers in the colours of one scale."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from conceptprobe.display.text import shorten
from conceptprobe.report.scripts import Json, number

ROWS, COLUMNS = 8, 12
MOST_PICTURES = 400
LARGEST_SIDE = 512
STEEP = 100
RAMPS = {
    "sequential": ((0, 0, 4), (81, 18, 124), (183, 55, 121), (252, 137, 97), (252, 253, 191)),
    "diverging": ((16, 60, 140), (110, 160, 225), (245, 244, 240), (240, 160, 105), (150, 55, 5)),
}
"""Five colours from the lowest to the highest value: Magma's (matplotlib), and blue to brown with 0 in the middle."""


@dataclass(frozen=True)
class Scale:
    """The values that colours stand for.

    Attributes:
        kind: `linear`, `log`, or `diverging` with 0 in the middle.
        low: The value of the first colour.
        high: The value of the last colour.
    """

    kind: str
    low: float
    high: float

    @property
    def ramp(self) -> str:
        """The name of its colours in `RAMPS`."""
        return "diverging" if self.kind == "diverging" else "sequential"

    @classmethod
    def of(cls, values: np.ndarray) -> "Scale":
        """A scale of all finite values; logarithmic if none is negative and the largest is far above the median."""
        finite = values[np.isfinite(values)].astype(np.float64)
        low, high = float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf))
        if not len(finite):
            return cls("linear", 0.0, 0.0)
        if low < 0 < high:
            return cls("diverging", -max(-low, high), max(-low, high))
        positive = finite[finite > 0]
        if low >= 0 and len(positive) and high > STEEP * float(np.median(positive)):
            return cls("log", float(positive.min()), high)
        return cls("linear", low, high)

    def colours(self, values_hw: np.ndarray) -> np.ndarray:
        """The colours of a map, uint8 [h,w,4]; values that are not finite are transparent."""
        values = values_hw.astype(np.float64)
        low, high = self.low, self.high
        if self.kind == "log":
            values, low, high = np.log(np.maximum(values, low)), np.log(low), np.log(high)
        share = (values - low) / (high - low) if high > low else np.zeros(values.shape)
        at = np.linspace(0, 1, len(RAMPS[self.ramp]))
        known = np.isfinite(values)
        share = np.where(known, share, 0.0)
        channels = [np.interp(share, at, levels) for levels in np.transpose(RAMPS[self.ramp])]
        return np.stack([*(channel.round() for channel in channels), 255.0 * known], -1).astype(np.uint8)


def write_artifacts(artifacts: Mapping[str, np.ndarray], specs: Sequence[str], folder: Path) -> list[Json]:
    """Write the arrays that have the shape of pictures; arrays of one name share one scale across models.

    Arrays of uint8 with three channels, first or last, are photographs. Other arrays of two and more dimensions are
    maps, whose last two dimensions are rows and columns.

    Returns:
        For each name its scale and, by model, the files row by row and the number of all pictures.
    """
    written_artifacts: list[Json] = []
    written = 0
    for name, arrays in grouped(artifacts, specs).items():
        tiles = {model: tiles_of(array) for model, array in arrays.items()}
        maps = [tile.values for tile in tiles.values() if tile is not None and not tile.photograph]
        scale = Scale.of(np.concatenate([values.ravel() for values in maps])) if maps else None
        if scale is not None:
            write_ramp(scale.ramp, folder.parent)
        by_model = []
        for model, array in arrays.items():
            files: list[list[str]] = []
            tile = tiles[model]
            if tile is not None and written < MOST_PICTURES:
                for values in tile.values[:ROWS]:
                    files.append([])
                    for picture in values[:COLUMNS]:
                        path = folder / f"{written}.webp"
                        save_picture(picture if tile.photograph or scale is None else scale.colours(picture), path)
                        files[-1].append(f"probes/{folder.name}/{path.name}")
                        written += 1
            whole = 0 if tile is None else tile.values.shape[0] * tile.values.shape[1]
            by_model.append(
                {"model": model, "shape": list(array.shape), "type": str(array.dtype), "files": files,
                 "pictures": whole, "size": [] if tile is None else list(tile.values.shape[2:4])}
            )  # fmt: skip
        written_artifacts.append({"name": shorten(name), "scale": scale_data(scale), "models": by_model})
    return written_artifacts


@dataclass(frozen=True, eq=False)
class Tiles:
    """Pictures in rows and columns: [r,c,h,w,3] of photographs, else [r,c,h,w]."""

    values: np.ndarray
    photograph: bool


def tiles_of(array: np.ndarray) -> Tiles | None:
    """View an array as pictures; None if it does not have the shape of pictures."""
    if array.size == 0 or array.ndim < 2 or array.dtype.kind not in "biuf":
        return None
    if array.dtype == np.uint8 and array.ndim > 2 and 3 in (array.shape[-3], array.shape[-1]):
        channels_last = array if array.shape[-3] != 3 else np.moveaxis(array, -3, -1)
        return Tiles(in_rows(channels_last, 3), True)
    if min(array.shape[-2:]) < 2:
        return None
    return Tiles(in_rows(array, 2), False)


def in_rows(array: np.ndarray, dimensions: int) -> np.ndarray:
    """Reshape all but the last dimensions, which are those of a picture, to two: rows and columns."""
    leading = array.shape[: array.ndim - dimensions]
    columns = leading[-1] if leading else 1
    return array.reshape(-1, columns, *array.shape[array.ndim - dimensions :])


def grouped(artifacts: Mapping[str, np.ndarray], specs: Sequence[str]) -> dict[str, dict[int, np.ndarray]]:
    """Group artifacts by their names without the model's spec, and by the position of the model; -1 without a spec."""
    groups: dict[str, dict[int, np.ndarray]] = {}
    longest_first = sorted(range(len(specs)), key=lambda at: -len(specs[at]))
    for name, array in artifacts.items():
        model = next((at for at in longest_first if name.startswith(f"{specs[at]}/")), -1)
        short = name if model < 0 else name[len(specs[model]) + 1 :]
        groups.setdefault(short, {})[model] = array
    return groups


def save_picture(values: np.ndarray, path: Path) -> None:
    """Write a picture as lossless WebP; a large one is shrunk to `LARGEST_SIDE`."""
    picture = Image.fromarray(np.ascontiguousarray(values))
    if max(picture.size) > LARGEST_SIDE:
        picture.thumbnail((LARGEST_SIDE, LARGEST_SIDE), Image.Resampling.BOX)
    picture.save(path, "WEBP", lossless=True)


def write_ramp(name: str, folder: Path) -> None:
    """Write the colours of a scale from left to right as a picture, once."""
    path = folder / f"{name}.webp"
    if not path.exists():
        share = np.linspace(0, 1, 256)
        at = np.linspace(0, 1, len(RAMPS[name]))
        channels = [np.interp(share, at, levels) for levels in np.transpose(RAMPS[name])]
        save_picture(np.stack(channels, -1).round().astype(np.uint8)[None], path)


def scale_data(scale: Scale | None) -> Json | None:
    """The data of a scale, with the file of its colours."""
    if scale is None:
        return None
    return {
        "kind": scale.kind,
        "low": number(scale.low),
        "high": number(scale.high),
        "file": f"probes/{scale.ramp}.webp",
    }
