"""The tasks that a probe's classifiers learn, and the split of the images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from conceptprobe.models.layers import suggest
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.randomness import image_generators

ENOUGH = 10
VALIDATION = 0.25


@dataclass(frozen=True, eq=False)
class Task:
    """A classification of images.

    Attributes:
        column: The column to predict, or "label" where labels are mapped to classes.
        targets_n: The index of each image's class, int64 [n].
        classes: Names of the classes.
        units: One name for each image; images of the same unit are always on the same side of a split.
    """

    column: str
    targets_n: np.ndarray
    classes: tuple[str, ...]
    units: tuple[str, ...]

    def caveat(self, split: "Split") -> str:
        """What was predicted, from how many images, and how images were kept apart."""
        text = (
            f"Told is {self.column}, one of {len(self.classes)}: learnt from {split.learnt_n.sum()} images, tested on "
            f"{split.test_n.sum()} others."
        )
        units = len({*self.units})
        if units == len(self.units):
            return text
        return (
            f"{text} All are of {units} units, none of them on both sides; intervals count images, and those of a unit "
            "are not independent."
        )


@dataclass(frozen=True, eq=False)
class Split:
    """Three sides of the images, each bool [n].

    Attributes:
        train_n: Images to fit on.
        validation_n: Images to select settings on.
        test_n: Images to test on.
    """

    train_n: np.ndarray
    validation_n: np.ndarray
    test_n: np.ndarray

    @property
    def learnt_n(self) -> np.ndarray:
        """The images that a classifier may see before its test."""
        return np.asarray(self.train_n | self.validation_n)

    def repeat(self, times: int) -> "Split":
        """The split of several versions of the images, one version after the other."""
        return Split(*(np.tile(side_n, times) for side_n in (self.train_n, self.validation_n, self.test_n)))


def choose_task(images: ProbeImages, target: str | None = None, together: str | None = None) -> Task:
    """The task of predicting a column.

    Args:
        images: The images.
        target: The column to predict. None takes the labels if there are ten images a label on average; otherwise it
            takes the finest column with ten images a value that is the same for all images of a label, such as a
            label's group.
        together: The column whose values are units. None takes the labels if they are finer than the target, so that an
            object whose group is predicted is never on both sides; otherwise each image is a unit.

    Raises:
        ProbeError: There is no such column, an image has no value there, all images have the same, or no column fits.
    """
    column, names = ("", ()) if target is None else (target, column_values(images, target))
    if target is None:
        column, names = _enough_images(images)
    classes = tuple(sorted({*names}))
    if len(classes) < 2:
        raise ProbeError(f"all {len(images)} images have the same {column}, {classes[0]!r}: nothing is left to tell")
    index = {name: i for i, name in enumerate(classes)}
    targets_n = np.array([index[name] for name in names], np.int64)
    units = _finer(images, names) if together is None else column_values(images, together)
    return Task(column, targets_n, classes, units)


def split_units(units: Sequence[str], seed: int, test: float) -> Split:
    """Put each unit on a side at random, by the seed and the unit's name.

    Args:
        units: The unit of each image.
        seed: Seed of the draws.
        test: The share of units to test on; a quarter of the others is for validation.

    Raises:
        ProbeError: A side has no images.
    """
    names = tuple(dict.fromkeys(units))
    drawn = [stream.random() for stream in image_generators(seed, names, "split", 0)]
    side_of = dict(zip(names, drawn, strict=True))
    draw_n = np.array([side_of[unit] for unit in units])
    first = test + (1 - test) * VALIDATION
    split = Split(draw_n >= first, (draw_n >= test) & (draw_n < first), draw_n < test)
    if min(side_n.sum() for side_n in (split.train_n, split.validation_n, split.test_n)) == 0:
        raise ProbeError(
            f"{len(units)} images of {len(side_of)} units cannot be split into some to fit on, to choose on and to "
            "test on: give more images, or another seed"
        )
    return split


def split_task(task: Task, seed: int, test: float) -> Split:
    """The split of a task's units.

    Raises:
        ProbeError: A side has no images, or all train images have the same class.
    """
    split = split_units(task.units, seed, test)
    if len(np.unique(task.targets_n[split.train_n])) < 2:
        raise ProbeError(f"all images to fit on have the same {task.column}: give more images, or another seed")
    return split


def column_values(images: ProbeImages, column: str) -> tuple[str, ...]:
    """A column's values for the images, as text.

    Raises:
        ProbeError: There is no such column of single values, or an image has no value.
    """
    table = images.source.table
    if column not in _single_valued(table):
        raise ProbeError(
            f"{images.source.spec} has no column {column!r} of one value an image."
            f"{suggest(column, _single_valued(table))}"
        )
    values = table[column].take(images.rows).to_pylist()
    if missing := sum(value is None for value in values):
        raise ProbeError(f"{missing} of {len(images)} images of {images.source.spec} have no {column}")
    return tuple(map(str, values))


def _enough_images(images: ProbeImages) -> tuple[str, tuple[str, ...]]:
    """The labels, or the finest column of groups of labels, with enough images a class; its name and its values."""
    assert images.classes is not None, images
    if len(images) >= ENOUGH * len({*images.classes}):
        return _label_column(images) or "label", images.classes
    candidates = {}
    for column in _groups_of_labels(images):
        values = column_values(images, column)
        if 2 <= len({*values}) <= len(images) / ENOUGH:
            candidates[column] = values
    if not candidates:
        raise ProbeError(
            f"{len(images)} images of {len({*images.classes})} labels are fewer than {ENOUGH} a label, and no column "
            f"of {images.source.spec} that groups labels has as many: give more images, or name a column as target="
        )
    finest = max(candidates, key=lambda column: len({*candidates[column]}))
    return finest, candidates[finest]


def _groups_of_labels(images: ProbeImages) -> list[str]:
    """Columns with one value for each label, in the whole source."""
    table, labels = images.source.table, _label_column(images)
    others = [name for name in _single_valued(table) if name != labels and table[name].null_count == 0]
    if labels is None or not others:
        return []
    grouped = table.group_by(labels).aggregate([(name, "count_distinct") for name in others])
    return [name for name in others if max(grouped[f"{name}_count_distinct"].to_pylist()) == 1]


def _label_column(images: ProbeImages) -> str | None:
    """The column that the labels come from; None where they are mapped to other names."""
    table = images.source.table
    for name in _single_valued(table):
        if tuple(table[name].take(images.rows).to_pylist()) == images.classes:
            return name
    return None


def _finer(images: ProbeImages, names: Sequence[str]) -> tuple[str, ...]:
    """Labels that are finer than the target; the ids of the images where no labels are."""
    table = images.source.table
    candidates = [images.classes] if images.classes is not None else []
    if "label" in _single_valued(table) and table["label"].take(images.rows).null_count == 0:
        candidates.append(column_values(images, "label"))
    for units in candidates:
        if len({*units}) > len({*names}) and len({*zip(units, names, strict=True)}) == len({*units}):
            return units
    return images.ids


def _single_valued(table: pa.Table) -> list[str]:
    """Columns of text, whole numbers or truth values, except the id."""
    return [
        field.name
        for field in table.schema
        if field.name != "id"
        and (
            pa.types.is_string(field.type)
            or pa.types.is_large_string(field.type)
            or pa.types.is_integer(field.type)
            or pa.types.is_boolean(field.type)
            or pa.types.is_dictionary(field.type)
        )
    ]
