"""The objectives that a user asks for, checked before any work starts."""

from collections.abc import Sequence
from typing import Any

from conceptprobe.feature import FeatureId
from conceptprobe.models import VisionModel
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.objectives.expressions import Objective
from conceptprobe.visualization.objectives.objectives import feature
from conceptprobe.visualization.objectives.specific import plain_feature

What = FeatureId | str | Objective | Sequence[FeatureId | str | Objective]


def read_objectives(what: What, model: VisionModel) -> list[Objective]:
    """The objectives that are meant, each as the model has it.

    Raises:
        VisualizeError, UnknownLayerError: There is none, or one is not to be had from the model.
    """
    one = isinstance(what, FeatureId | str | Objective)
    given: list[Any] = [what] if one else list(what)  # type: ignore[arg-type]
    if not given:
        raise VisualizeError("there is nothing to visualize: give a feature, an objective, or several")
    for each in given:
        if not isinstance(each, FeatureId | str | Objective):
            raise VisualizeError(
                f"cannot visualize {each!r}: give a FeatureId, its printed form (blocks.10.mlp.hidden:1234), or an "
                "objective"
            )
    return [(each if isinstance(each, Objective) else feature(each)).on(model) for each in given]


def single_feature(objective: Objective) -> tuple[FeatureId, str] | None:
    """The feature that an objective is or is specific for, and its pooling; None where it is anything else."""
    own = plain_feature(objective)
    return None if own is None else (FeatureId(own.layer, own.index), own.pooling)
