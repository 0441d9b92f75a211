"""The device of parameters, which is that of the model that is rendered."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

_DEVICE: ContextVar[torch.device | None] = ContextVar("device", default=None)


def device() -> torch.device:
    """The device of the model that is rendered, or the CPU outside of a rendering."""
    return _DEVICE.get() or torch.device("cpu")


@contextmanager
def parameters_on(where: torch.device) -> Iterator[None]:
    """Make the parameters of the block on a device."""
    token = _DEVICE.set(where)
    try:
        yield
    finally:
        _DEVICE.reset(token)
