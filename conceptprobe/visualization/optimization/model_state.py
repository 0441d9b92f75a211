"""The temporary state of a model while images are optimised: frozen weights, eval mode, compiled blocks."""

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
    """Freeze all weights and put every submodule in eval mode; both are undone afterwards, also after an exception."""
    trainable = [weight for weight in module.parameters() if weight.requires_grad]
    with evaluating(module):
        try:
            for weight in trainable:
                weight.requires_grad_(False)
            yield
        finally:
            for weight in trainable:
                weight.requires_grad_(True)


@contextmanager
def compiled_blocks(model: VisionModel, layers: Iterable[str]) -> Iterator[int]:
    """Compile, by `torch.compile` and in place, the blocks that a forward pass to some layers runs as a whole.

    Blocks with a captured layer or a hook inside are not compiled. Afterwards no block is compiled.

    Yields:
        The number of compiled blocks. If it is 0, there is a warning.
    """
    blocks = blocks_before(model, layers)
    if not blocks:
        warnings.warn(
            f"{model.spec}: there is nothing to compile, since no known block without hooks comes before "
            f"{', '.join(layers)}; the model runs without compilation",
            stacklevel=2,
        )
    with compiled_in_place(blocks):
        yield len(blocks)


def blocks_before(model: VisionModel, layers: Iterable[str]) -> list[nn.Module]:
    """The innermost listed blocks before the last of some layers, except those with such a layer or a hook inside."""
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
