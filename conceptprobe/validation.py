"""Settings that come from a user, checked by pydantic and refused in one line."""

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any, TypeVar, cast

import numpy as np
from pydantic import ConfigDict, ValidationError

from conceptprobe.errors import ConceptProbeError

T = TypeVar("T")

CONFIG = ConfigDict(strict=True, arbitrary_types_allowed=True)
"""Configuration of every settings dataclass: no text becomes a number, no number a truth value."""


def make_settings(kind: type[T], values: Mapping[str, Any], *, what: str, error: type[ConceptProbeError]) -> T:
    """Make a dataclass of settings from values that a user gave.

    The dataclass checks types and the constraints of `Annotated[..., pydantic.Field(...)]`. Lists are taken for tuples,
    numbers of NumPy for Python's, whole numbers for decimal ones, and nothing else is converted.

    Args:
        kind: A pydantic dataclass, with `CONFIG` as its config.
        values: Value by setting's name.
        what: What the settings belong to, as an error says it, such as "an index".
        error: Which error is raised.

    Raises:
        ConceptProbeError: A setting is unknown, missing, of another type or out of range; of the type `error`.
    """
    known = [field.name for field in fields(cast(type, kind)) if field.init]
    for name in values:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise error(f"{name!r} is not a setting of {what}{hint} Settings: {', '.join(known) or 'none'}")
    try:
        return kind(**{name: _plain(value) for name, value in values.items()})
    except ValidationError as invalid:
        raise error(f"{what}: {first_fault(invalid)}{_range_hint(kind, invalid)}") from invalid


def first_fault(invalid: ValidationError) -> str:
    """The first thing that pydantic refused: the setting, the value given, and what is allowed."""
    fault = invalid.errors(include_url=False)[0]
    name = ".".join(str(step) for step in fault["loc"])
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] in ("missing", "missing_argument"):
        return f"{name} is missing"
    return f"{name} is {fault['input']!r}: {message[:1].lower()}{message[1:]}" if name else message


def _range_hint(kind: type, invalid: ValidationError) -> str:
    """Both ends of the range of a number that is outside of it; pydantic names only the end that was passed."""
    fault = invalid.errors(include_url=False)[0]
    if not str(fault["type"]).startswith(("greater_than", "less_than")) or len(fault["loc"]) != 1:
        return ""
    constraints = getattr(kind, "__pydantic_fields__")[fault["loc"][0]].metadata  # noqa: B009 (pydantic's, not typed)
    bounds = {
        key: getattr(entry, key) for entry in constraints for key in ("ge", "gt", "le", "lt") if hasattr(entry, key)
    }
    if len(bounds) < 2:
        return ""
    low = f"from {bounds['ge']:,}" if "ge" in bounds else f"above {bounds['gt']:,}"
    high = f"to {bounds['le']:,}" if "le" in bounds else f"below {bounds['lt']:,}"
    return f"; allowed is {low} {'' if 'ge' in bounds and 'le' in bounds else 'and '}{high}"


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return tuple(_plain(item) for item in value) if isinstance(value, list) else value
