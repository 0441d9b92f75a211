"""A probe's settings, checked."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.probe import Probe


def make_settings(probe: Probe, given: Mapping[str, Any]) -> Any:
    """The probe's settings with some changed.

    Raises:
        ProbeError: One is not a setting of the probe, or has an impossible value.
    """
    known = [field.name for field in dataclasses.fields(probe.settings)]
    if unknown := sorted(set(given) - set(known)):
        raise ProbeError(f"{probe.name} has no setting {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    defaults = probe.settings()
    for name, value in given.items():
        if not _is_like(value, getattr(defaults, name)):
            raise ProbeError(f"{probe.name}: {name} takes a value such as {getattr(defaults, name)!r}, got {value!r}")
    try:
        return probe.settings(**given)
    except TypeError as error:
        example = {name: getattr(defaults, name) for name in given}
        raise ProbeError(f"{probe.name} cannot take {dict(given)}: give values such as {example}") from error


def _is_like(value: Any, default: Any) -> bool:
    """Whether a value is of the default's kind; None says nothing of what else is possible."""
    match default:
        case None:
            return True
        case bool() | str():
            return isinstance(value, type(default))
        case tuple():
            return isinstance(value, tuple | list)
        case int():
            return isinstance(value, int) and not isinstance(value, bool)
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)
