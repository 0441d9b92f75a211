"""The record of a visualization, which is the JSON file beside its PNG."""

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
    """The activation of a visualization compared with those of the natural images of an index.

    Attributes:
        index: Name of the index directory.
        images: Number of natural images with a finite activation of the feature.
        maximum: The largest natural activation.
        quantile: Share of the natural activations below that of the visualization, 0 to 1.
        how: Source of the quantile: `vectors` (the activations of all images, exact), `top list` (exact above its last
            image), or `quantiles` (interpolated between the quantiles of the index).
        z: The activation minus the natural mean, in natural standard deviations; NaN for a feature that never varies.
        rank: Rank of the feature among the live features of its layer by z, 1 for the first; None where z is NaN.
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
    """The record of one visualization.

    Attributes:
        target: Key of the objective.
        layer: The layer, if the target is one feature or `specific` for it; otherwise None.
        feature: Number of that feature, or None.
        pooling: Pooling of that feature, or None.
        seed: The random stream of an image is derived from `target`, `seed`, `restart` and `member`.
        restart: Number of the restart.
        member: Number of the image within a set; 0 for other images.
        preset: Description of the preset, with the numbers that were used.
        steps: Number of steps.
        views: Views of the image in a step.
        size: Rows and columns of the image.
        model: Spec and fingerprint of the model.
        activation: The activation of the feature, or the value of another objective, for the saved image: rounded to 8
            bits, without views, resized (antialiased, not cropped) to the model's size.
        natural: Comparison of the activation with an index; None without one, or where the target is no feature.
        curve: Value of the objective at every step, averaged over views.
        stopped: Step at which the image stopped because its loss was not finite; None where it did not.
        versions: Versions of the packages.
        file: Path of the image in the folder that it was saved to, or None.
        animation: Path of the animation, or None.
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
        """Whether the activation is above that of every natural image; None without an index."""
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
        """All entries in JSON's types; NaN and infinity are None."""
        return {"schema_version": SCHEMA_VERSION, **_plain(asdict(self))}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> "VisualizationRecord":
        """The record with the entries of `as_dict`.

        Raises:
            VisualizeError: The schema version is another one, or entries are missing, unknown or of another type.
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
    """The path of a record's files inside a folder, without a suffix.

    It is `<layer>/<feature>`, with whatever differs from the defaults, or `objectives/` and the objective's key. Names
    that are no file names are percent-encoded.
    """
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
    """A file name from an objective's key: its first letters, and a hash, since keys may share these letters."""
    name = "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in key)
    return f"{name[:LONGEST_NAME]}-{sha256(key.encode()).hexdigest()[:8]}"


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
