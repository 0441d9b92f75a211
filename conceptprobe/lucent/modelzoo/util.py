"""The layers of a model."""

from collections import OrderedDict

from torch import nn

from conceptprobe.models import VisionModel


def get_model_layers(
    model: VisionModel | nn.Module,
    getLayerRepr: bool = False,  # noqa: N803
) -> list[str] | OrderedDict[str, str]:
    """The names of a model's layers: those of a `VisionModel`, then Lucent's names of its modules.

    Args:
        model: A `VisionModel` or a torch module.
        getLayerRepr: Return a mapping from each name to the layer's printed form.
    """
    module = model.module if isinstance(model, VisionModel) else model
    known: OrderedDict[str, str] = OrderedDict()
    if isinstance(model, VisionModel):
        known.update((layer.name, repr(layer)) for layer in model.layers)
    known.update((path.replace(".", "_"), repr(part)) for path, part in module.named_modules() if path)
    return known if getLayerRepr else list(known)
