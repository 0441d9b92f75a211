"""A model as a probe sees it, and what it says of images under a condition."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from conceptprobe.feature import FeatureId
from conceptprobe.indexing.reducers.pooling import pool
from conceptprobe.models import Layer, VisionModel
from conceptprobe.models.preprocessing import as_floats
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.heads import ClassHead

BATCH = 64


@dataclass(frozen=True, eq=False)
class Subject:
    """A model that is probed.

    Attributes:
        head: Its classifier over the items' classes, or None where answers are not asked for.
        layers: Layers whose features are followed, by `pooling`.
        verdicts: For each of those layers the verdict of every feature, where scores were given.
    """

    model: VisionModel
    head: ClassHead | None = None
    layers: tuple[Layer, ...] = ()
    pooling: str = "mean"
    verdicts: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def gist(self) -> str:
        """The layer that stands for the whole image: the embedding, or the last named one."""
        names = [layer.name for layer in self.model.layers]
        return next((name for name in ("embedding", "final") if name in names), names[-1])


@dataclass(frozen=True, eq=False)
class Condition:
    """Something done to the images or to the model.

    Attributes:
        series: Which curve it belongs to, such as `random`.
        x: Where on that curve, such as the share of patches dropped.
        draw: Which of several random draws of the same.
        change: From pixels float32 [b,3,h,w] in [0,1] and the items' numbers int64 [b] to other pixels.
        context: Changes the model as long as it is open.
    """

    series: str
    x: float
    draw: int = 0
    change: Callable[[Tensor, np.ndarray], Tensor] | None = None
    context: Callable[[VisionModel], AbstractContextManager[object]] = field(default=lambda model: nullcontext())


@dataclass(frozen=True, eq=False)
class Response:
    """What a model made of n images: class scores [n,c] where there is a head, the image's gist [n,d], and the pooled
    activations [n,f] of each followed layer; all float32."""

    scores_nc: np.ndarray | None
    gist_nd: np.ndarray
    acts: dict[str, np.ndarray]

    @property
    def nbytes(self) -> int:
        """How much memory it takes."""
        scores = 0 if self.scores_nc is None else self.scores_nc.nbytes
        return scores + self.gist_nd.nbytes + sum(values_nf.nbytes for values_nf in self.acts.values())


def respond(subject: Subject, levels_nchw: Tensor, condition: Condition, batch: int = BATCH) -> Response:
    """Show a model images under a condition, one forward a batch.

    Args:
        levels_nchw: uint8, as `Items.pixels` gives them.
    """
    model, head = subject.model, subject.head
    asked = list(dict.fromkeys([subject.gist, *([head.layer] if head else []), *(x.name for x in subject.layers)]))
    gist_layer = model.resolve(subject.gist)[0]
    parts: dict[str, list[np.ndarray]] = {"scores": [], "gist": [], **{layer.name: [] for layer in subject.layers}}
    with torch.inference_mode(), condition.context(model):
        for start in range(0, len(levels_nchw), batch):
            numbers = np.arange(start, min(start + batch, len(levels_nchw)))
            pixels_bchw = as_floats(levels_nchw[start : start + batch].to(model.device))
            if condition.change is not None:
                pixels_bchw = condition.change(pixels_bchw, numbers)
            found = model.capture(pixels_bchw, asked)
            if head is not None:
                parts["scores"].append(_array(head(found[head.layer])))
            pooling = "cls" if gist_layer.cls is not None else "mean"
            parts["gist"].append(_array(pool(found[gist_layer.name], gist_layer, pooling).values_bf))
            for layer in subject.layers:
                own = "mean" if layer.kind == "vector" else subject.pooling
                parts[layer.name].append(_array(pool(found[layer.name], layer, own).values_bf))
    whole = {name: np.concatenate(values) for name, values in parts.items() if values}
    return Response(whole.pop("scores", None), whole.pop("gist"), whole)


def _array(value: Tensor) -> np.ndarray:
    return value.float().cpu().numpy()


def find_feature(model: VisionModel, name: str) -> tuple[Layer, int]:
    """The layer and the number of a feature by its printed name.

    Raises:
        ProbeError: The layer has no such feature.
    """
    feature = FeatureId.parse(name)
    layer = model.resolve(feature.layer)[0]
    if feature.index >= layer.width:
        raise ProbeError(f"{name}: {layer.name} has features 0 to {layer.width - 1}")
    return layer, feature.index


def image_generators(seed: int, ids: Sequence[str], what: str, draw: int) -> list[np.random.Generator]:
    """A random stream for each image, which depends on its id and not on the other images."""
    return [
        np.random.default_rng(
            int.from_bytes(hashlib.sha256(f"{seed}\0{what}\0{draw}\0{id_}".encode()).digest()[:8], "little")
        )
        for id_ in ids
    ]
