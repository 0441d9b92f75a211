"""Types of probe settings, and a probe's settings made from the values that a user gave."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, FiniteFloat

from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.probe import Probe
from conceptprobe.validation import make_settings

T = TypeVar("T")


def _check_distinct(values: tuple[T, ...]) -> tuple[T, ...]:
    if repeated := [value for value in values if values.count(value) > 1]:
        raise ValueError(f"{repeated[0]!r} is listed twice: list each value once")
    return values


Distinct = Annotated[tuple[T, ...], AfterValidator(_check_distinct)]
Several = Annotated[tuple[T, ...], Field(min_length=1), AfterValidator(_check_distinct)]
Share = Annotated[float, Field(ge=0, le=1)]
ProperShare = Annotated[float, Field(gt=0, lt=1)]
"""A share that is neither nothing nor all."""

PositiveNumber = Annotated[FiniteFloat, Field(gt=0)]
NonNegativeNumber = Annotated[FiniteFloat, Field(ge=0)]


def make_probe_settings(probe: Probe, values: Mapping[str, Any]) -> Any:
    """The settings of a probe, with its defaults for those that are not named.

    Args:
        probe: Whose settings they are.
        values: Value by setting's name.

    Raises:
        ProbeError: A name is not a setting of the probe, or a value is not allowed.
    """
    return make_settings(probe.settings, values, what=f"the probe {probe.name}", error=ProbeError)
