"""Objectives as expressions, with their arithmetic."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Literal, Union, cast

from conceptprobe.models import VisionModel
from conceptprobe.visualization.errors import VisualizeError

Operator = Literal["+", "-", "*"]


class Objective(ABC):
    """Something to maximise: a number for each image, computed from a model's activations.

    Objectives and numbers are added, subtracted and multiplied; the result is a new objective, and `a - b` is the
    difference of the two values. Two objectives are equal if their keys are.
    """

    @property
    @abstractmethod
    def key(self) -> str:
        """The printed identity, the same in every process; vectors and images are printed as a hash."""

    @property
    def images(self) -> int:
        """Number of images that one unit makes: one, or several for a set that is kept apart."""
        return 1

    @abstractmethod
    def terms(self) -> Iterator["Objective"]:
        """The single terms, without the numbers, from left to right."""

    @abstractmethod
    def on(self, model: VisionModel) -> "Objective":
        """The same objective for a model, with full layer names and the numbers of classes.

        Raises:
            VisualizeError: The model does not have what the objective needs.
            UnknownLayerError: There is no such layer; the error names similar layers.
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
        """The number."""
        return print_number(self.value)

    def terms(self) -> Iterator[Objective]:
        """None."""
        return iter(())

    def on(self, model: VisionModel) -> "Number":
        """The number is the same for every model."""
        return self


@dataclass(frozen=True, repr=False, eq=False)
class Combination(Objective):
    """Two objectives whose values are added, subtracted or multiplied."""

    operator: Operator
    left: Objective
    right: Objective

    def __post_init__(self) -> None:
        sets = sorted({side.images for side in (self.left, self.right)} - {1})
        if len(sets) > 1:
            raise VisualizeError(
                f"{self.key}: one side makes {sets[0]} images and the other {sets[1]}; give both sets the same number"
            )

    @property
    def key(self) -> str:
        """The keys of both sides with the operator; sums and differences are in brackets."""
        text = f"{self.left.key} {self.operator} {self.right.key}"
        return text if self.operator == "*" else f"({text})"

    @property
    def images(self) -> int:
        """Number of images that one unit makes."""
        return max(self.left.images, self.right.images)

    def terms(self) -> Iterator[Objective]:
        """The terms of the left side, then those of the right side."""
        yield from self.left.terms()
        yield from self.right.terms()

    def on(self, model: VisionModel) -> "Combination":
        """Both sides for a model."""
        return Combination(self.operator, self.left.on(model), self.right.on(model))


def print_number(value: float) -> str:
    """A number with all its digits; whole numbers are printed without a point."""
    return repr(float(value)).removesuffix(".0")


def _combine(operator: Operator, left: object, right: object) -> Objective:
    sides: list[Objective] = []
    for side in (left, right):
        if isinstance(side, Objective):
            sides.append(side)
        elif isinstance(side, Real):
            if not math.isfinite(side):
                raise VisualizeError(f"an objective cannot be combined with {side}: give a finite number")
            sides.append(Number(float(side)))
        else:
            return cast(Objective, NotImplemented)
    return Combination(operator, *sides)
