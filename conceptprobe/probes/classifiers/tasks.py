"""What a probe's own classifiers learn to tell, and which images they learn from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from conceptprobe.models.layers import suggest
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.responses import image_generators

ENOUGH = 10
VALIDATION = 0.25


@dataclass(frozen=True, eq=False)
class Task:
    """Something to tell of images.

    Attributes:
        column: What is told: a column of the source, or "label" where labels are mapped to classes.
        targets_n: The number of each image's class, int64 [n].
        classes: Names of the classes.
        units: One name an image; images of the same unit are never on two sides of a split.
    """

    column: str
    targets_n: np.ndarray
    classes: tuple[str, ...]
    units: tuple[str, ...]

    def caveat(self, split: "Split") -> str:
        """What was told, from how many images, and how images were kept apart."""
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
    """Three sides of the images, each bool [n]: to fit on, to choose settings on, to test on."""

    train_n: np.ndarray
    validation_n: np.ndarray
    test_n: np.ndarray

    @property
    def learnt_n(self) -> np.ndarray:
        """All that a classifier may see before its test."""
        return self.train_n | self.validation_n

    def repeat(self, times: int) -> "Split":
        """The split of so many versions of the images, one version after the other."""
        return Split(*(np.tile(side_n, times) for side_n in (self.train_n, self.validation_n, self.test_n)))


def choose_task(items: Items, target: str | None = None, together: str | None = None) -> Task:
    """What to tell of images.

    Args:
        target: The column to tell. None takes the items' labels where the images have ten a label on average, and else
            the finest other column for which that holds and which is the same for all images of a label, such as a
            label's group.
        together: The column whose values are units. None takes the labels where they are finer than what is told, so
            that an object that is told by its group is never on both sides; else each image is a unit.

    Raises:
        ProbeError: There is no such column, an image has no value there, all have the same, or no column fits.
    """
    column, names = ("", ()) if target is None else (target, column_values(items, target))
    if target is None:
        column, names = _enough_images(items)
    classes = tuple(sorted({*names}))
    if len(classes) < 2:
        raise ProbeError(f"all {len(items)} images have the same {column}, {classes[0]!r}: nothing is left to tell")
    number = {name: i for i, name in enumerate(classes)}
    targets_n = np.array([number[name] for name in names], np.int64)
    units = _finer(items, names) if together is None else column_values(items, together)
    return Task(column, targets_n, classes, units)


def split_units(units: Sequence[str], seed: int, test: float) -> Split:
    """Put each unit on a side at random, by the seed and its own name.

    Args:
        test: The share of units to test on; a quarter of the rest is to choose settings on.

    Raises:
        ProbeError: A side is left without images.
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
        ProbeError: A side is left without images, or all to fit on have the same class.
    """
    split = split_units(task.units, seed, test)
    if len(np.unique(task.targets_n[split.train_n])) < 2:
        raise ProbeError(f"all images to fit on have the same {task.column}: give more images, or another seed")
    return split


def column_values(items: Items, column: str) -> tuple[str, ...]:
    """A column's values for the items, as text.

    Raises:
        ProbeError: There is no such column of single values, or an image has none.
    """
    table = items.source.table
    if column not in _single_valued(table):
        raise ProbeError(
            f"{items.source.spec} has no column {column!r} of one value an image."
            f"{suggest(column, _single_valued(table))}"
        )
    values = table[column].take(items.rows).to_pylist()
    if missing := sum(value is None for value in values):
        raise ProbeError(f"{missing} of {len(items)} images of {items.source.spec} have no {column}")
    return tuple(map(str, values))


def _enough_images(items: Items) -> tuple[str, tuple[str, ...]]:
    """The labels, or the finest column of groups of labels, that has enough images a class."""
    assert items.classes is not None, items
    if len(items) >= ENOUGH * len({*items.classes}):
        return _own_column(items) or "label", items.classes
    found = {}
    for column in _groups_of_labels(items):
        values = column_values(items, column)
        if 2 <= len({*values}) <= len(items) / ENOUGH:
            found[column] = values
    if not found:
        raise ProbeError(
            f"{len(items)} images of {len({*items.classes})} labels are fewer than {ENOUGH} a label, and no column of "
            f"{items.source.spec} that groups labels has as many: give more images, or name a column as target="
        )
    finest = max(found, key=lambda column: len({*found[column]}))
    return finest, found[finest]


def _groups_of_labels(items: Items) -> list[str]:
    """Columns with one value for each label, in the whole source."""
    table, own = items.source.table, _own_column(items)
    others = [name for name in _single_valued(table) if name != own and table[name].null_count == 0]
    if own is None or not others:
        return []
    grouped = table.group_by(own).aggregate([(name, "count_distinct") for name in others])
    return [name for name in others if max(grouped[f"{name}_count_distinct"].to_pylist()) == 1]


def _own_column(items: Items) -> str | None:
    """The column that the items' labels are from; None where they are mapped to other names."""
    table = items.source.table
    for name in _single_valued(table):
        if tuple(table[name].take(items.rows).to_pylist()) == items.classes:
            return name
    return None


def _finer(items: Items, names: Sequence[str]) -> tuple[str, ...]:
    """Labels that are finer than what is told: all images of one have the same name, and some name has several."""
    table = items.source.table
    candidates = [items.classes] if items.classes is not None else []
    if "label" in _single_valued(table) and table["label"].take(items.rows).null_count == 0:
        candidates.append(column_values(items, "label"))
    for units in candidates:
        if len({*units}) > len({*names}) and len({*zip(units, names, strict=True)}) == len({*units}):
            return units
    return items.ids


def _single_valued(table: pa.Table) -> list[str]:
    """Columns of text, whole numbers or truth values, but for the id."""
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
