"""Where parameters are made: on the device of the model that they are rendered for."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_DEVICE: ContextVar[torch.device | None] = ContextVar("device", default=None)


def device() -> torch.device:
    """The device of the model that is being rendered for, otherwise the CPU."""
    return _DEVICE.get() or torch.device("cpu")


@contextmanager
def made_on(where: torch.device) -> Iterator[None]:
    """Parameters made meanwhile are made there."""
    token = _DEVICE.set(where)
    try:
        yield
    finally:
        _DEVICE.reset(token)
