"""Whether hooks or attached functions take part in a forward pass."""

from collections.abc import Sequence

from conceptprobe.models import Layer, VisionModel
from conceptprobe.models.torch_internals import has_forward_hooks


def is_hooked(model: VisionModel) -> bool:
    """Whether something else, such as `VisionModel.intervene`, looks into the model's forward or changes it."""
    return any(has_forward_hooks(module) for module in model.module.modules())


def is_changing(model: VisionModel, layers: Sequence[Layer]) -> bool:
    """Whether functions of somebody else's, which nothing tells from others, have a part in the layers' activations."""
    return is_hooked(model) or any(layer.name in model.derived_layers for layer in layers)
