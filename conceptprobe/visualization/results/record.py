"""The record of a visualization: the numbers that every picture carries, in the JSON beside its PNG."""

import math
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from typing import Annotated, Any
from urllib.parse import quote

from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from conceptprobe.validation import first_fault
from conceptprobe.visualization.errors import VisualizeError

SCHEMA_VERSION = 1
OBJECTIVES = "objectives"
LONGEST_NAME = 60

_STORED = ConfigDict(extra="forbid")
Number = Annotated[float, BeforeValidator(lambda value: math.nan if value is None else value)]
"""JSON has no NaN and no infinity: both are stored as null, and read as NaN."""


@dataclass(frozen=True, config=_STORED)
class Natural:
    """How the activation of a visualization lies among those of the natural images of an index.

    Attributes:
        index: Name of the index directory.
        images: Natural images with a finite activation of the feature.
        maximum: The largest of their activations.
        quantile: Share of them below the visualization's, 0 to 1.
        how: Where the quantile is from: `vectors` (of every image, exact), `top list` (above its last, exact), or
            `quantiles` (interpolated between the quantiles that the index keeps).
        z: The activation minus the natural mean, in natural standard deviations; NaN for a feature that never varies.
        rank: Place of the feature among the live features of its layer by z, 1 for the first; None where z is NaN.
        of: Number of features that were ranked.
    """

    index: str
    images: int
    maximum: Number
    quantile: Number
    how: str
    z: Number
    rank: int | None
    of: int


@dataclass(frozen=True, config=_STORED)
class VisualizationRecord:
    """What is known of one visualization.

    Attributes:
        target: What was maximised, as `Objective.key` prints it.
        layer, feature, pooling: Where the target is one feature of a layer, or is specific for one; otherwise None.
        seed, restart, member: What decides its random stream; `member` is its number within a set, else 0.
        preset: All numbers of the preset, as `Preset.describe` gives them.
        steps, views, size: Steps asked for, views an image and step, and rows and columns of the image.
        model: spec and fingerprint.
        activation: The feature's, or else the objective's value, for the saved image: rounded to 8 bits, without views,
            resized (antialiased, not cropped) to the model's size.
        natural: The same against an index; None without one, or where the target is not one feature.
        curve: The objective's value at every step, the mean over views.
        stopped: Step at which the image was stopped because its loss was not finite; None where it was not.
        versions: Of the packages that computed it.
        file, animation: Paths inside the folder that it was saved to.
    """

    target: str
    layer: str | None
    feature: int | None
    pooling: str | None
    seed: int
    restart: int
    member: int
    preset: Mapping[str, Any]
    steps: int
    views: int
    size: tuple[int, int]
    model: Mapping[str, Any]
    activation: Number
    natural: Natural | None
    curve: tuple[Number, ...]
    stopped: int | None
    versions: Mapping[str, str]
    file: str | None = None
    animation: str | None = None

    @property
    def exceeds(self) -> bool | None:
        """Whether the activation is above that of every natural image; None where that is not known."""
        return None if self.natural is None else self.activation > self.natural.maximum

    def __repr__(self) -> str:
        parts = [f"{self.target}: activation {self.activation:.4g}"]
        if self.natural is not None:
            parts.append(f"{self.natural.quantile:.1%} of {self.natural.images} natural images below")
            parts.append(f"rank {self.natural.rank} of {self.natural.of}")
        if self.stopped is not None:
            parts.append(f"stopped at step {self.stopped}")
        return f"VisualizationRecord({', '.join(parts)})"

    def as_dict(self) -> dict[str, Any]:
        """Everything in JSON's types; what is not finite is None."""
        return {"schema_version": SCHEMA_VERSION, **_plain(asdict(self))}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "VisualizationRecord":
        """Read what `as_dict` gave.

        Raises:
            VisualizeError: It is of another schema version, or entries are missing or unknown.
        """
        version = stored.get("schema_version") if isinstance(stored, Mapping) else None
        if version != SCHEMA_VERSION:
            raise VisualizeError(f"the record has schema version {version}, this conceptprobe reads {SCHEMA_VERSION}")
        values = {name: value for name, value in stored.items() if name != "schema_version"}
        try:
            return TypeAdapter(cls).validate_python(values)
        except ValidationError as invalid:
            raise VisualizeError(f"the record is damaged: {first_fault(invalid)}") from invalid


def file_stem(record: VisualizationRecord) -> str:
    """The path of a record's files inside a folder, without an ending: `<layer>/<feature>` with what is not usual, or
    `objectives/` and the objective's key; names that are no file names are percent-encoded."""
    if record.layer is not None and record.feature is not None:
        name = f"{quote(record.layer, safe='')}/{record.feature}"
        plain = f"{record.layer}:{record.feature}"
        if record.pooling not in (None, "mean"):
            plain += f" {record.pooling}"
            name += f"-{quote(str(record.pooling), safe='')}"
        if record.target != plain:
            name += "-specific"
    else:
        name = f"{OBJECTIVES}/{_short(record.target)}"
    for word, number in (("seed", record.seed), ("restart", record.restart), ("member", record.member)):
        name += f"-{word}{number}" if number else ""
    return name


def _short(key: str) -> str:
    """A file name from an objective's key: its letters, shortened, and its hash, since others may share those."""
    name = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in key)
    return f"{name[:LONGEST_NAME]}-{sha256(key.encode()).hexdigest()[:8]}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(own) for own in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
