"""A model that an optimisation of images looks through, and leaves as it was."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn

from conceptprobe.models import VisionModel
from conceptprobe.models.hook_points import evaluating
from conceptprobe.models.layers import MODULE
from conceptprobe.models.torch_internals import compiled_in_place, has_forward_hooks


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """No weight asks for a gradient, and every submodule is in eval mode; afterwards, also after an exception, each is
    as it was."""
    learning = [weight for weight in module.parameters() if weight.requires_grad]
    with evaluating(module):
        try:
            for weight in learning:
                weight.requires_grad_(False)
            yield
        finally:
            for weight in learning:
                weight.requires_grad_(True)


@contextmanager
def compiled_blocks(model: VisionModel, layers: Iterable[str]) -> Iterator[int]:
    """Compile the blocks that a forward to some layers runs as a whole, by `torch.compile` and in place; undo it after.

    Blocks with a captured layer or a hook inside are left alone, so that hooks stay what they are.

    Yields:
        How many blocks are compiled; where it is none, a warning says so.
    """
    blocks = blocks_before(model, layers)
    if not blocks:
        warnings.warn(
            f"{model.spec}: nothing to compile, since no known block without hooks comes before "
            f"{', '.join(layers)}; running it as it is",
            stacklevel=2,
        )
    with compiled_in_place(blocks):
        yield len(blocks)


def blocks_before(model: VisionModel, layers: Iterable[str]) -> list[nn.Module]:
    """The innermost listed blocks before the last of some layers, without those that hold one of them or a hook."""
    order = [layer.name for layer in model.layers]
    wanted = [layer.name for layer in model.resolve(layers)]
    last = max((order.index(name) for name in wanted if name in order), default=len(order))
    names = [name for name in order[:last] if name.endswith(".resid") or name.startswith(MODULE)]
    blocks = [model.module_of(name) for name in names if name not in model.derived_layers]
    targets = {model.module_of(name) for name in wanted}
    return [
        block
        for block in blocks
        if not any(inner in targets or has_forward_hooks(inner) for inner in block.modules())
        and not any(other is not block and other in blocks for other in block.modules())
    ]
