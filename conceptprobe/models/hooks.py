"""Whether hooks or attached functions change a forward pass."""

from collections.abc import Sequence

from conceptprobe.models import Layer, VisionModel
from conceptprobe.models.torch_internals import has_forward_hooks


def is_hooked(model: VisionModel) -> bool:
    """Whether any module has forward hooks, such as those of `VisionModel.intervene`."""
    return any(has_forward_hooks(module) for module in model.module.modules())


def is_changing(model: VisionModel, layers: Sequence[Layer]) -> bool:
    """Whether the layers' activations depend on a user's hooks or attached functions, which no fingerprint covers."""
    return is_hooked(model) or any(layer.name in model.derived_layers for layer in layers)
