"""A model with all that a probe reads of it: a head, the layers to follow, and the verdicts on their features."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from conceptprobe.feature import FeatureId
from conceptprobe.models import Layer, VisionModel
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.heads import ClassHead


@dataclass(frozen=True, eq=False)
class ProbedModel:
    """A model as a probe sees it.

    Attributes:
        model: The model.
        head: A classifier over the classes of the images; None where the probe needs no answers of this model.
        layers: Layers whose features are followed.
        pooling: How the features of these layers are pooled.
        verdicts: The verdict of every feature, by layer, where there are scores.
    """

    model: VisionModel
    head: ClassHead | None = None
    layers: tuple[Layer, ...] = ()
    pooling: str = "mean"
    verdicts: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def embedding_layer(self) -> str:
        """The layer that stands for the whole image: `embedding`, else `final`, else the last layer."""
        names = [layer.name for layer in self.model.layers]
        return next((name for name in ("embedding", "final") if name in names), names[-1])

    def pooling_of(self, layer: Layer) -> str:
        """How the features of a layer are pooled; a vector has nothing to pool."""
        return "mean" if layer.kind == "vector" else self.pooling


def find_feature(model: VisionModel, name: str) -> tuple[Layer, int]:
    """The layer and the index of a feature by its printed name, such as `blocks.3.mlp.hidden:7`.

    Raises:
        ProbeError: The layer has no such feature.
    """
    feature = FeatureId.parse(name)
    layer = model.resolve(feature.layer)[0]
    if feature.index >= layer.width:
        raise ProbeError(f"{name}: {layer.name} has features 0 to {layer.width - 1}")
    return layer, feature.index
