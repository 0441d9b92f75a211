"""The private names of torch on which this package relies; nothing else reads any.

Torch has no public way to list a module's hooks, or to undo `Module.compile`. The names below were checked with torch
2.14.1. In another torch, tests/models/test_torch_internals.py fails for each name that it no longer has.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import nn


def has_forward_hooks(module: nn.Module) -> bool:
    """Whether the module itself, without those inside it, has a forward hook or a forward pre-hook."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


@contextmanager
def new_hooks_removed(module: nn.Module) -> Iterator[None]:
    """Afterwards, remove the forward hooks that were added to the module, or inside it, meanwhile."""
    before = {part: set(part._forward_hooks) for part in module.modules()}
    try:
        yield
    finally:
        for part, hooks in before.items():
            for number in set(part._forward_hooks) - hooks:
                del part._forward_hooks[number]


@contextmanager
def compiled_in_place(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Compile modules by `Module.compile`, and restore afterwards how each was called before."""
    before = [module._compiled_call_impl for module in modules]
    try:
        for module in modules:
            module.compile()
        yield
    finally:
        for module, call in zip(modules, before, strict=True):
            module._compiled_call_impl = call
