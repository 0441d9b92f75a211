from typing import Annotated

import numpy as np
import pytest
from pydantic import Field
from pydantic.dataclasses import dataclass

from conceptprobe.errors import ConceptProbeError
from conceptprobe.validation import CONFIG, make_settings


class WrongError(ConceptProbeError):
    pass


@dataclass(frozen=True, config=CONFIG)
class Settings:
    layers: tuple[str, ...]
    k: Annotated[int, Field(ge=1, le=10)] = 5
    rate: Annotated[float, Field(gt=0, lt=2)] = 0.5
    fast: bool = False
    limit: int | None = None


def make(**values):
    return make_settings(Settings, values, what="a thing", error=WrongError)


def test_values_of_the_right_types_are_taken_lists_as_tuples_and_whole_numbers_as_decimal():
    made = make(layers=["a", "b"], k=3, rate=1, fast=True)
    assert made == Settings(layers=("a", "b"), k=3, rate=1.0, fast=True)
    assert isinstance(made.rate, float)


def test_numbers_of_numpy_are_taken():
    made = make(layers=("a",), k=np.int64(3), rate=np.float32(0.5), fast=np.bool_(True))
    assert made == Settings(layers=("a",), k=3, rate=0.5, fast=True)
    assert [type(value) for value in (made.k, made.rate, made.fast)] == [int, float, bool]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layers": ("a",), "kk": 1}, "'kk' is not a setting of a thing; did you mean 'k'?"),
        ({"k": 1}, "a thing: layers is missing"),
        (
            {"layers": ("a",), "k": 11},
            "a thing: k is 11: input should be less than or equal to 10; allowed is from 1 to 10",
        ),
        (
            {"layers": ("a",), "rate": 0.0},
            "rate is 0.0: input should be greater than 0; allowed is above 0 and below 2",
        ),
        ({"layers": ("a",), "k": "3"}, "a thing: k is '3': input should be a valid integer"),
        ({"layers": ("a",), "k": True}, "a thing: k is True: input should be a valid integer"),
        ({"layers": ("a",), "k": 2.0}, "a thing: k is 2.0: input should be a valid integer"),
        ({"layers": ("a",), "fast": 1}, "a thing: fast is 1: input should be a valid boolean"),
        ({"layers": ("a", 3)}, "a thing: layers.1 is 3: input should be a valid string"),
        ({"layers": "a"}, "a thing: layers is 'a': input should be a valid tuple"),
        ({"layers": ("a",), "rate": "1"}, "a thing: rate is '1': input should be a valid number"),
    ],
)
def test_what_is_not_allowed_is_named_with_its_value(values, message):
    with pytest.raises(WrongError) as error:
        make(**values)
    assert message in str(error.value)
