"""A feature against the others of its layer, by what is usual for each on natural images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from conceptprobe.indexing.feature import FeatureId
from conceptprobe.indexing.index import Index
from conceptprobe.models import VisionModel
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.expressions import Combination, Objective
from conceptprobe.visualization.leaves import Feature, Leaf, one_layer, print_pooling, short_hash


@dataclass(frozen=True, repr=False, eq=False)
class Rivals(Leaf):
    """How active the other live features of a layer are, as soft maximum of their z-scores, in the feature's units.

    With z = (activation - natural mean) / natural standard deviation it is std_f * log(sum over the others of exp(z)).

    Attributes:
        index, pooling: Of the feature.
        mean_c, std_c: Natural ones of every feature, float32 on the CPU.
        live_c: Which features count, bool; all but the dead.
        fingerprint: Of the model that they are of.
    """

    index: int
    pooling: str
    mean_c: Tensor
    std_c: Tensor
    live_c: Tensor
    fingerprint: str

    @property
    def key(self) -> str:
        return f"{self.layer}:{self.index} {self.pooling} rivals {short_hash(torch.stack([self.mean_c, self.std_c]))}"

    def on(self, model: VisionModel) -> Objective:
        if model.fingerprint != self.fingerprint:
            raise VisualizeError(f"{self.key}: its index is of another model than {model.spec}; give one of this model")
        width = one_layer(model, self.layer).width
        assert width == len(self.mean_c), (width, len(self.mean_c))
        return super().on(model)


def specific(what: FeatureId | str, index: Index, pooling: str | None = None) -> Objective:
    """The activation of a feature minus that of its rivals: an image that activates it and no other feature as much.

    An image that activates one feature far more than natural images do also switches on others, most of all rare ones,
    for which little is much. The rivals are the soft maximum of the z-scores of the other live features of the layer,
    with the natural means and standard deviations of an index, in units of the feature's standard deviation. In the
    records the layer, feature and activation are those of the feature alone.

    Args:
        what: A feature, as `FeatureId` or printed.
        index: Of the same model, with the feature's layer.
        pooling: One of the index; by default its first.

    Raises:
        VisualizeError: The feature never varies there.
        IndexingError: The index has no such feature or pooling.
    """
    feature = FeatureId.parse(what)
    pooling = index.manifest.pooling[0] if pooling is None else pooling
    index.top(feature, 1, pooling)  # says what is missing
    stats = index.stats(feature.layer, pooling)
    mean_c, std_c = (torch.from_numpy(stats[name].to_numpy(np.float32).copy()) for name in ("mean", "std"))
    if not std_c[feature.index] > 0:
        raise VisualizeError(f"{feature} never varies over {index.path}, so it has no z-score: take feature(...)")
    live_c = torch.from_numpy(~stats["dead"].to_numpy(bool)) & (std_c > 0)
    rivals = Rivals(
        feature.layer, feature.index, print_pooling(pooling), mean_c, std_c, live_c,
        str(index.manifest.model["fingerprint"]),
    )  # fmt: skip
    return Feature(feature.layer, feature.index, print_pooling(pooling)) - rivals


def plain_feature(objective: Objective) -> Feature | None:
    """The feature that an objective is, or that it is `specific` for; None where it is anything else."""
    if isinstance(objective, Feature):
        return objective
    if isinstance(objective, Combination) and objective.operator == "-" and isinstance(objective.left, Feature):
        own, rivals = objective.left, objective.right
        same = isinstance(rivals, Rivals) and (own.layer, own.index, own.pooling) == (
            rivals.layer, rivals.index, rivals.pooling,
        )  # fmt: skip
        return own if same else None
    return None


@dataclass(frozen=True)
class Contest:
    """The reading of some rivals: from pooled activations of all features, [n,g,e,c], to float32 [n,g,e]."""

    pooled: Callable[[Tensor], Tensor]
    mean_nc: Tensor
    std_nc: Tensor
    out_nc: Tensor
    scale_n: Tensor

    @classmethod
    def of(cls, leaves: Sequence[Rivals], pooled: Callable[[Tensor], Tensor], device: torch.device) -> "Contest":
        """The contest of each leaf's feature with the others of its layer."""
        own_n = torch.tensor([leaf.index for leaf in leaves], device="cpu")
        rows_n = torch.arange(len(leaves), device="cpu")
        std_nc = torch.stack([leaf.std_c for leaf in leaves])
        out_nc = ~torch.stack([leaf.live_c for leaf in leaves])
        out_nc[rows_n, own_n] = True
        scale_n = std_nc[rows_n, own_n]
        mean_nc = torch.stack([leaf.mean_c for leaf in leaves])
        safe_nc = std_nc.masked_fill(out_nc, 1)  # those that do not count may have a spread of 0
        return cls(pooled, *(tensor.to(device) for tensor in (mean_nc, safe_nc, out_nc, scale_n)))

    def __call__(self, acts_ngepc: Tensor) -> Tensor:
        z_ngec = (self.pooled(acts_ngepc) - self.mean_nc[:, None, None]) / self.std_nc[:, None, None]
        z_ngec = z_ngec.masked_fill(self.out_nc[:, None, None], -torch.inf)
        return z_ngec.logsumexp(3) * self.scale_n[:, None, None]
