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
    """Read a user's features and objectives, for a model.

    Raises:
        VisualizeError: There is no objective, or the model does not have what one needs.
        UnknownLayerError: There is no such layer; the error names similar layers.
    """
    one = isinstance(what, FeatureId | str | Objective)
    wanted: list[Any] = [what] if one else list(what)  # type: ignore[arg-type]
    if not wanted:
        raise VisualizeError("there is nothing to visualize: give a feature, an objective, or several")
    for each in wanted:
        if not isinstance(each, FeatureId | str | Objective):
            raise VisualizeError(
                f"cannot visualize {each!r}: give a FeatureId, its printed form (blocks.10.mlp.hidden:1234), or an "
                "objective"
            )
    return [(each if isinstance(each, Objective) else feature(each)).on(model) for each in wanted]


def single_feature(objective: Objective) -> tuple[FeatureId, str] | None:
    """The feature, with its pooling, that an objective is or is specific for; None for other objectives."""
    plain = plain_feature(objective)
    return None if plain is None else (FeatureId(plain.layer, plain.index), plain.pooling)
