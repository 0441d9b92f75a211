"""The layers of a model."""

from collections import OrderedDict

from torch import nn

from conceptprobe.models import VisionModel


def get_model_layers(
    model: VisionModel | nn.Module,
    getLayerRepr: bool = False,  # noqa: N803
) -> list[str] | OrderedDict[str, str]:
    """The names of a model's layers: for a `VisionModel` first its own, then Lucent's of its modules.

    Args:
        getLayerRepr: Give a mapping of the names to what the layers are.
    """
    module = model.module if isinstance(model, VisionModel) else model
    known: OrderedDict[str, str] = OrderedDict()
    if isinstance(model, VisionModel):
        known.update((layer.name, repr(layer)) for layer in model.layers)
    known.update((path.replace(".", "_"), repr(part)) for path, part in module.named_modules() if path)
    return known if getLayerRepr else list(known)
