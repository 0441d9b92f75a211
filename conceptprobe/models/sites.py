"""Where in a torch module a layer's tensor can be read and changed.

A family declares a site for each of its layers. Capture and intervention both go through `touching`, so whatever can be
read in its declared layout can be written back in the module's own.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from conceptprobe.models.errors import ModelError
from conceptprobe.models.layers import Layer

Touch = Callable[[Tensor], Tensor | None]


class Layout(NamedTuple):
    """From a module's own layout to the declared one, and back (given the module's own tensor for its shape)."""

    read: Callable[[Tensor], Tensor]
    write: Callable[[Tensor, Tensor], Tensor]


AS_IS = Layout(lambda x: x, lambda value, own: value)
TIME_FIRST = Layout(lambda x_tbc: x_tbc.transpose(0, 1), lambda value, own: value.transpose(0, 1))
CHANNELS_LAST = Layout(lambda x_bhwc: x_bhwc.permute(0, 3, 1, 2), lambda value, own: value.permute(0, 2, 3, 1))
MAP_AS_TOKENS = Layout(
    lambda x_bchw: x_bchw.flatten(2).transpose(1, 2), lambda value, own: value.transpose(1, 2).reshape(own.shape)
)
CHANNELS_LAST_AS_TOKENS = Layout(lambda x_bhwc: x_bhwc.flatten(1, 2), lambda value, own: value.reshape(own.shape))


def _flatten(pooled: Tensor) -> Tensor:
    if pooled.shape[1:].numel() != pooled.shape[1]:
        raise ModelError(f"the classifier is given {list(pooled.shape)}, which is not pooled: it is no embedding")
    return pooled.flatten(1)


POOLED = Layout(_flatten, lambda value, own: value.reshape(own.shape))


@dataclass(frozen=True)
class Site:
    """One side of one module.

    Attributes:
        side: The module's output, or its first input.
        exposing: Makes the tensor exist while the site is in use, where the module usually hides it (fused attention).
        copy: The tensor may be changed in place later in the forward, so a capture must copy it.
        readonly: Why no intervention is possible; None where it is.
    """

    module: nn.Module
    side: Literal["input", "output"] = "output"
    layout: Layout = AS_IS
    exposing: Callable[[], AbstractContextManager[None]] = nullcontext
    copy: bool = False
    readonly: str | None = None


class Placed(NamedTuple):
    """A layer and where it is."""

    layer: Layer
    site: Site


@contextmanager
def touching(site: Site, touch: Touch) -> Iterator[None]:
    """Show every tensor that passes the site to `touch`; what it returns, unless None, takes the tensor's place."""

    def change(value: Any) -> Any:
        own = first_tensor(value)
        changed = touch(site.layout.read(own))
        if changed is None:
            return None
        changed = site.layout.write(changed, own)
        return changed if own is value else type(value)((changed, *value[1:]))

    with site.exposing():
        if site.side == "output":
            handle = site.module.register_forward_hook(lambda module, args, output: change(output))
        else:
            handle = site.module.register_forward_pre_hook(lambda module, args: change(args))
        try:
            yield
        finally:
            handle.remove()


def first_tensor(value: Any) -> Tensor:
    """The tensor itself, or the first of a tuple, which is what a module with several outputs puts there."""
    tensor = value[0] if isinstance(value, tuple | list) and value else value
    if not isinstance(tensor, Tensor):
        raise ModelError(f"expected a tensor or a tuple that starts with one, got {type(value).__name__}")
    return tensor


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Every submodule in eval mode; afterwards each is as it was."""
    training = [submodule for submodule in module.modules() if submodule.training]
    for submodule in training:
        submodule.training = False
    try:
        yield
    finally:
        for submodule in training:
            submodule.training = True
