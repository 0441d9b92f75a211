"""Objectives as expressions: what can be maximised, and its arithmetic."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Literal, Union

from conceptprobe.models import VisionModel
from conceptprobe.visualization.errors import VisualizeError

Operator = Literal["+", "-", "*"]


class Objective(ABC):
    """Something to maximise: a number for each image, which a model's activations give.

    Objectives and numbers are added, subtracted and multiplied; the result is a new objective, and `a - b` is the
    difference of the two values. Two objectives are equal if their keys are.

    Attributes:
        key: Its printed identity, the same in every process. Random streams are derived from it, so it names vectors
            and images by a hash of what they hold.
        images: How many images one unit of it makes: one, but several where a set is kept apart.
    """

    @property
    @abstractmethod
    def key(self) -> str: ...

    @property
    def images(self) -> int:
        return 1

    @abstractmethod
    def leaves(self) -> Iterator["Objective"]:
        """What it is made of, without the numbers, from left to right."""

    @abstractmethod
    def on(self, model: VisionModel) -> "Objective":
        """The same for a model: layer names in full, classes by number.

        Raises:
            VisualizeError, UnknownLayerError: It is not to be had from the model; says what is.
        """

    def __repr__(self) -> str:
        return f"Objective({self.key})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objective) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __add__(self, other: Union["Objective", Real, float]) -> "Objective":
        return _combine("+", self, other)

    def __radd__(self, other: Union["Objective", Real, float]) -> "Objective":
        if isinstance(other, Real) and other == 0:  # where sum() starts
            return self
        return _combine("+", other, self)

    def __sub__(self, other: Union["Objective", Real, float]) -> "Objective":
        return _combine("-", self, other)

    def __rsub__(self, other: Union["Objective", Real, float]) -> "Objective":
        return _combine("-", other, self)

    def __mul__(self, other: Union["Objective", Real, float]) -> "Objective":
        return _combine("*", self, other)

    def __rmul__(self, other: Union["Objective", Real, float]) -> "Objective":
        return _combine("*", other, self)

    def __neg__(self) -> "Objective":
        return -1 * self


@dataclass(frozen=True, repr=False, eq=False)
class Number(Objective):
    """The same number for every image."""

    value: float

    @property
    def key(self) -> str:
        return print_number(self.value)

    def leaves(self) -> Iterator[Objective]:
        return iter(())

    def on(self, model: VisionModel) -> "Number":
        return self


@dataclass(frozen=True, repr=False, eq=False)
class Combination(Objective):
    """Two objectives and what is done with their values."""

    operator: Operator
    left: Objective
    right: Objective

    def __post_init__(self) -> None:
        sets = sorted({side.images for side in (self.left, self.right)} - {1})
        if len(sets) > 1:
            raise VisualizeError(
                f"{self.key}: one side makes {sets[0]} images and the other {sets[1]}; give both sets as many"
            )

    @property
    def key(self) -> str:
        text = f"{self.left.key} {self.operator} {self.right.key}"
        return text if self.operator == "*" else f"({text})"

    @property
    def images(self) -> int:
        return max(self.left.images, self.right.images)

    def leaves(self) -> Iterator[Objective]:
        yield from self.left.leaves()
        yield from self.right.leaves()

    def on(self, model: VisionModel) -> "Combination":
        return Combination(self.operator, self.left.on(model), self.right.on(model))


def print_number(value: float) -> str:
    """A number with all its digits, whole ones without a point."""
    return repr(float(value)).removesuffix(".0")


def _combine(operator: Operator, left: object, right: object) -> Objective:
    sides = []
    for side in (left, right):
        if isinstance(side, Objective):
            sides.append(side)
        elif isinstance(side, Real):
            if not math.isfinite(side):
                raise VisualizeError(f"an objective cannot be combined with {side}: give a finite number")
            sides.append(Number(float(side)))
        else:
            return NotImplemented
    return Combination(operator, *sides)
