"""A model that an optimisation of images looks through, and leaves as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from conceptprobe.models.sites import evaluating


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
