"""A feature against the other features of its layer, by their activations on natural images."""

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
from conceptprobe.visualization.objectives.terms import Feature, Term, one_layer, print_pooling, short_hash

PRICE = 2.0
"""Weight of a rival's lead over the feature; the weight of the feature's activation is 1."""


@dataclass(frozen=True, repr=False, eq=False)
class Rivals(Term):
    """How near the other live features of a layer come to the feature, or how far above it, in the feature's units.

    With z = (activation - natural mean) / natural standard deviation, and R = log(sum over the others of exp(z)), the
    soft maximum of their z, the value is 2 std_f softplus(R - z_f): near 0 while the feature leads, and twice the
    distance where it does not.

    Attributes:
        index: Number of the feature.
        pooling: The printed pooling.
        mean_c: The natural mean of every feature, float32 on the CPU.
        std_c: The natural standard deviation of every feature, float32 on the CPU.
        live_c: Whether a feature is compared, bool; dead features are not.
        fingerprint: Fingerprint of the model.
    """

    index: int
    pooling: str
    mean_c: Tensor
    std_c: Tensor
    live_c: Tensor
    fingerprint: str

    @property
    def key(self) -> str:
        """The feature, its pooling, and a hash of the natural means and standard deviations."""
        return f"{self.layer}:{self.index} {self.pooling} rivals {short_hash(torch.stack([self.mean_c, self.std_c]))}"

    def on(self, model: VisionModel) -> Objective:
        """The same term, for the model of the index."""
        if model.fingerprint != self.fingerprint:
            raise VisualizeError(
                f"{self.key}: its index is of another model than {model.spec}: use an index of this model"
            )
        width = one_layer(model, self.layer).width
        assert width == len(self.mean_c), (width, len(self.mean_c))
        return super().on(model)


def specific(what: FeatureId | str, index: Index, pooling: str | None = None) -> Objective:
    """The activation of a feature, minus the lead of its rivals, for an image that activates no other feature as much.

    An image that activates one feature far more than natural images do also activates others, most of all rare features
    with a small standard deviation. Activations are therefore compared as z-scores, by the natural means and standard
    deviations of an index, with the soft maximum over the other live features of the layer. Where the feature leads,
    only its activation counts; where it does not, the distance counts twice. The records hold the layer, number and
    activation of the feature alone.

    Args:
        what: A feature, as `FeatureId` or in its printed form.
        index: An index of the same model that has the feature's layer.
        pooling: A pooling of the index; by default its first.

    Raises:
        VisualizeError: The feature never varies over the images of the index.
        IndexingError: The index has no such feature or pooling.
    """
    feature = FeatureId.parse(what)
    pooling = index.pooling if pooling is None else pooling
    index.top(feature, 1, pooling)  # raises where the index lacks the feature or the pooling
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
    """The feature that an objective is, or that it is `specific` for; None for other objectives."""
    if isinstance(objective, Feature):
        return objective
    if isinstance(objective, Combination) and objective.operator == "-" and isinstance(objective.left, Feature):
        feature, rivals = objective.left, objective.right
        same = isinstance(rivals, Rivals) and (feature.layer, feature.index, feature.pooling) == (
            rivals.layer, rivals.index, rivals.pooling,
        )  # fmt: skip
        return feature if same else None
    return None


@dataclass(frozen=True)
class RivalEvaluator:
    """The values of n `Rivals` terms, float32 [n,g,e].

    Attributes:
        pooled: From activations [n,g,e,p,c] to pooled activations of all features, [n,g,e,c].
        mean_nc: Natural means.
        std_nc: Natural standard deviations.
        excluded_nc: Whether a feature is no rival: the feature itself, and dead features.
        index_n: Number of each term's feature.
    """

    pooled: Callable[[Tensor], Tensor]
    mean_nc: Tensor
    std_nc: Tensor
    excluded_nc: Tensor
    index_n: Tensor

    @classmethod
    def of(cls, terms: Sequence[Rivals], pooled: Callable[[Tensor], Tensor], device: torch.device) -> "RivalEvaluator":
        """The evaluator of some terms.

        Args:
            terms: n terms of one layer.
            pooled: From activations [n,g,e,p,c] to pooled activations of all features, [n,g,e,c].
            device: The model's device.
        """
        index_n = torch.tensor([term.index for term in terms], device="cpu")
        live_nc = torch.stack([term.live_c for term in terms])
        mean_nc, std_nc = torch.stack([term.mean_c for term in terms]), torch.stack([term.std_c for term in terms])
        target_nc = torch.zeros_like(live_nc).scatter(1, index_n[:, None], True)
        std_nc = std_nc.masked_fill(~live_nc & ~target_nc, 1)  # a dead feature may never vary
        excluded_nc = ~live_nc | target_nc
        return cls(pooled, *(tensor.to(device) for tensor in (mean_nc, std_nc, excluded_nc, index_n)))

    def __call__(self, acts_ngepc: Tensor) -> Tensor:
        """Values float32 [n,g,e] of activations [n,g,e,p,c]."""
        z_ngec = (self.pooled(acts_ngepc) - self.mean_nc[:, None, None]) / self.std_nc[:, None, None]
        others_nge = z_ngec.masked_fill(self.excluded_nc[:, None, None], -torch.inf).logsumexp(3)
        index_n111 = self.index_n[:, None, None, None]
        target_nge = z_ngec.take_along_dim(index_n111, dim=3).squeeze(3)
        std_n11 = self.std_nc.take_along_dim(index_n111[..., 0, 0], dim=1)[..., None]
        return PRICE * std_n11 * F.softplus(others_nge - target_nge)
