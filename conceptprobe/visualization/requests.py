"""What is asked for: checked before any work starts."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from conceptprobe.feature import FeatureId
from conceptprobe.models import VisionModel
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.objectives.expressions import Objective
from conceptprobe.visualization.objectives.objectives import feature
from conceptprobe.visualization.objectives.specific import plain_feature
from conceptprobe.visualization.optimization.presets import Preset

What = FeatureId | str | Objective | Sequence[FeatureId | str | Objective]
MOST = {"steps": 1_000_000, "views": 4096, "restarts": 10_000, "batch": 65_536}
LONGEST_SIDE = 4096


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


def read_recipe(
    preset: Preset, model: VisionModel, *, steps: int | None, size: int | tuple[int, int] | None, views: int | None
) -> Preset:
    """The preset with the numbers that were asked for, its size always a pair.

    Raises:
        VisualizeError: A number is out of range, or the size smaller than a patch.
    """
    if size is None:
        size = preset.image_size(model.image_size)
    rows, columns = (size, size) if isinstance(size, int) else size
    least = _patch(model)
    for side in (rows, columns):
        if type(side) is not int or not least <= side <= LONGEST_SIDE:
            raise VisualizeError(
                f"size is {rows} x {columns}: each side must be a whole number from {least}, a patch of "
                f"{model.spec}, to {LONGEST_SIDE}"
            )
    recipe = dataclasses.replace(
        preset,
        steps=preset.steps if steps is None else steps,
        views=preset.views if views is None else views,
        size=(rows, columns),
    )
    check_numbers(steps=recipe.steps, views=recipe.views)
    return recipe


def _patch(model: VisionModel) -> int:
    """The side of a patch, where the model's first layer says so."""
    grid = next((layer.grid for layer in model.layers if layer.grid is not None), None)
    return 1 if grid is None else max(1, max(model.image_size[0] // grid[0], model.image_size[1] // grid[1]))


def check_numbers(**given: int) -> None:
    """Refuse numbers that are none, or out of range."""
    for name, value in given.items():
        least = 0 if name in ("seed", "frames") else 1
        most = MOST.get(name, 2**63 - 1)
        if type(value) is not int or not least <= value <= most:
            raise VisualizeError(f"{name} is {value!r}: it must be a whole number from {least} to {most:,}")
