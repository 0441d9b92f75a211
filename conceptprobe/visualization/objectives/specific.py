"""A feature against the others of its layer, by what is usual for each on natural images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptprobe.feature import FeatureId
from conceptprobe.indexing.index import Index
from conceptprobe.models import VisionModel
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.objectives.expressions import Combination, Objective
from conceptprobe.visualization.objectives.terms import Feature, Leaf, one_layer, print_pooling, short_hash

PRICE = 2.0
"""What a unit costs that a rival is above the feature; the feature's own activation counts 1."""


@dataclass(frozen=True, repr=False, eq=False)
class Rivals(Leaf):
    """How far the other live features of a layer come near or above the feature, in its units.

    With z = (activation - natural mean) / natural standard deviation, and R = log(sum over the others of exp(z)), the
    soft maximum of theirs, it is 2 std_f softplus(R - z_f): near 0 while the feature leads, and twice the distance
    where it does not.

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
    """The activation of a feature, less what its rivals exceed it by: an image that activates it, and no other as much.

    An image that activates one feature far more than natural images do also switches on others, most of all rare ones,
    for which little is much. Activations are compared as z-scores, by the natural means and standard deviations of an
    index, with the soft maximum of those of the other live features of the layer. Where the feature leads, only its
    activation counts; where it does not, the distance counts twice. In the records the layer, feature and activation
    are those of the feature alone.

    Args:
        what: A feature, as `FeatureId` or printed.
        index: Of the same model, with the feature's layer.
        pooling: One of the index; by default its first.

    Raises:
        VisualizeError: The feature never varies there.
        IndexingError: The index has no such feature or pooling.
    """
    feature = FeatureId.parse(what)
    pooling = index.pooling if pooling is None else pooling
    index.top(feature, 1, pooling)  # says what is missing
    stats = index.stats(feature.layer, pooling)
    mean_c, std_c = (torch.from_numpy(stats[name].to_numpy(np.float32).copy()) for name in ("mean", "std"))
    if not std_c[feature.index] > 0:
        raise VisualizeError(f"{feature} never varies over {index.path}, so it has no z-score: take feature(...)")
    live_c = torch.from_numpy(~stats["dead"].to_numpy(bool)) & (std_c > 0)
    rivals = Rivals(
        feature.layer, feature.index, print_pooling(pooling), mean_c, std_c, live_c,
        index.manifest.model.fingerprint,
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
    own_n: Tensor

    @classmethod
    def of(cls, leaves: Sequence[Rivals], pooled: Callable[[Tensor], Tensor], device: torch.device) -> "Contest":
        """The contest of each leaf's feature with the others of its layer."""
        own_n = torch.tensor([leaf.index for leaf in leaves], device="cpu")
        live_nc = torch.stack([leaf.live_c for leaf in leaves])
        mean_nc, std_nc = torch.stack([leaf.mean_c for leaf in leaves]), torch.stack([leaf.std_c for leaf in leaves])
        own_nc = torch.zeros_like(live_nc).scatter(1, own_n[:, None], True)
        std_nc = std_nc.masked_fill(~live_nc & ~own_nc, 1)  # those that do not count may have a spread of 0
        out_nc = ~live_nc | own_nc
        return cls(pooled, *(tensor.to(device) for tensor in (mean_nc, std_nc, out_nc, own_n)))

    def __call__(self, acts_ngepc: Tensor) -> Tensor:
        z_ngec = (self.pooled(acts_ngepc) - self.mean_nc[:, None, None]) / self.std_nc[:, None, None]
        others_nge = z_ngec.masked_fill(self.out_nc[:, None, None], -torch.inf).logsumexp(3)
        own_n111 = self.own_n[:, None, None, None]
        own_nge = z_ngec.take_along_dim(own_n111, dim=3).squeeze(3)
        std_n11 = self.std_nc.take_along_dim(own_n111[..., 0, 0], dim=1)[..., None]
        return PRICE * std_n11 * F.softplus(others_nge - own_nge)
