"""Hook points: where in a torch module a layer's tensor can be read and changed.

A family declares a hook point for each of its layers. Capture and intervention both use `hooking`, so every tensor that
can be read in its declared layout can be written back in the module's layout.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from conceptprobe.models.errors import ModelError
from conceptprobe.models.layers import Layer

Hook = Callable[[Tensor], Tensor | None]


class Layout(NamedTuple):
    """From a module's layout to the declared layout, and back (with the module's tensor for its shape)."""

    read: Callable[[Tensor], Tensor]
    write: Callable[[Tensor, Tensor], Tensor]


AS_IS = Layout(lambda x: x, lambda value, original: value)
TIME_FIRST = Layout(lambda x_tbc: x_tbc.transpose(0, 1), lambda value, original: value.transpose(0, 1))
CHANNELS_LAST = Layout(lambda x_bhwc: x_bhwc.permute(0, 3, 1, 2), lambda value, original: value.permute(0, 2, 3, 1))
MAP_AS_TOKENS = Layout(
    lambda x_bchw: x_bchw.flatten(2).transpose(1, 2),
    lambda value, original: value.transpose(1, 2).reshape(original.shape),
)
CHANNELS_LAST_AS_TOKENS = Layout(
    lambda x_bhwc: x_bhwc.flatten(1, 2), lambda value, original: value.reshape(original.shape)
)


def _flatten(pooled: Tensor) -> Tensor:
    if pooled.shape[1:].numel() != pooled.shape[1]:
        raise ModelError(f"the classifier's input {list(pooled.shape)} is not pooled, so it is not an embedding")
    return pooled.flatten(1)


POOLED = Layout(_flatten, lambda value, original: value.reshape(original.shape))


@dataclass(frozen=True)
class HookPoint:
    """The output or the first input of a module.

    Attributes:
        module: The module.
        side: Whether the tensor is the module's output or its first input.
        layout: The layout in which the module holds the tensor.
        exposing: A context within which a tensor exists that the module usually hides (fused attention).
        copy: Whether a capture must copy the tensor because the forward may change it in place later.
        readonly: Why no intervention is possible; None if one is possible.
    """

    module: nn.Module
    side: Literal["input", "output"] = "output"
    layout: Layout = AS_IS
    exposing: Callable[[], AbstractContextManager[None]] = nullcontext
    copy: bool = False
    readonly: str | None = None


class HookedLayer(NamedTuple):
    """A layer and its hook point."""

    layer: Layer
    point: HookPoint


@contextmanager
def hooking(point: HookPoint, hook: Hook) -> Iterator[None]:
    """Within the context `hook` sees every tensor at the hook point; a tensor that it returns replaces that tensor."""

    def change(value: Any) -> Any:
        original = first_tensor(value)
        changed = hook(point.layout.read(original))
        if changed is None:
            return None
        changed = point.layout.write(changed, original)
        return changed if original is value else type(value)((changed, *value[1:]))

    with point.exposing():
        if point.side == "output":
            handle = point.module.register_forward_hook(lambda module, args, output: change(output))
        else:
            handle = point.module.register_forward_pre_hook(lambda module, args: change(args))
        try:
            yield
        finally:
            handle.remove()


def first_tensor(value: Any) -> Tensor:
    """The tensor itself, or the first element of a tuple, which holds the features of a module with several outputs.

    Raises:
        ModelError: The value is neither.
    """
    tensor = value[0] if isinstance(value, tuple | list) and value else value
    if not isinstance(tensor, Tensor):
        raise ModelError(f"expected a tensor or a tuple that starts with one, got {type(value).__name__}")
    return tensor


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put every submodule in eval mode, and back into its former mode afterwards."""
    training = [submodule for submodule in module.modules() if submodule.training]
    for submodule in training:
        submodule.training = False
    try:
        yield
    finally:
        for submodule in training:
            submodule.training = True
