"""The settings of a visualization: checked once, then read by the engine, the records and the output folder."""

from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from conceptprobe.models import VisionModel
from conceptprobe.validation import CONFIG, make_settings
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.optimization.presets import Preset, get_preset

LONGEST_SIDE = 4096
ANIMATION_FRAMES = 30


@dataclass(frozen=True, config=CONFIG)
class VisualizationSettings:
    """How the images of a run are optimised.

    Attributes:
        preset: The numbers that no other setting replaces.
        size: Rows and columns of the images.
        steps: Steps of the optimisation.
        views: Views of each image that the model sees in a step.
        seed: An image's random stream is derived from the seed, its objective's key and its restart.
        restarts: Images of each objective, from different random streams.
        batch: Units that are optimised at once; None leaves the number to the device.
        frames: The images of every so many steps are kept; 0 keeps none.
        animate: Kind of animation that is saved beside each image.
        compile: Whether the blocks before the target are compiled.
    """

    preset: Preset
    size: tuple[int, int]
    steps: Annotated[int, Field(ge=1, le=1_000_000)]
    views: Annotated[int, Field(ge=1, le=4096)]
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    restarts: Annotated[int, Field(ge=1, le=10_000)] = 1
    batch: Annotated[int, Field(ge=1, le=65_536)] | None = None
    frames: Annotated[int, Field(ge=0, lt=2**63)] = 0
    animate: Literal["gif", "webp"] | None = None
    compile: bool = False

    def describe_preset(self) -> dict[str, Any]:
        """The preset with the steps, views and size that are used, in JSON's types."""
        return {**self.preset.describe(), "steps": self.steps, "views": self.views, "size": list(self.size)}


def choose_settings(
    model: VisionModel,
    preset: str | Preset = "fourier",
    *,
    size: int | tuple[int, int] | None = None,
    steps: int | None = None,
    views: int | None = None,
    frames: int = 0,
    animate: str | None = None,
    **others: Any,
) -> VisualizationSettings:
    """Check the settings that a user gave, and take the others from the preset.

    Args:
        model: The model that is visualized.
        preset: A preset or its name.
        size: One number for squares, or rows and columns; None takes the preset's size for the model.
        steps: None takes the preset's number.
        views: None takes the preset's number.
        frames: With `animate`, 0 keeps about 30 frames.
        animate: `gif`, `webp` or None.
        **others: Further settings by name.

    Raises:
        VisualizeError: A setting is unknown or out of range, or the size is smaller than a patch.
    """
    preset = get_preset(preset)
    if size is None:
        size = preset.image_size(model.image_size)
    rows, columns = (size, size) if isinstance(size, int) else size
    patch = _patch_side(model)
    for side in (rows, columns):
        if type(side) is not int or not patch <= side <= LONGEST_SIDE:
            raise VisualizeError(
                f"size is {rows} x {columns}: each side must be a whole number from {patch}, a patch of "
                f"{model.spec}, to {LONGEST_SIDE}"
            )
    steps = preset.steps if steps is None else steps
    if animate is not None and frames == 0 and isinstance(steps, int):
        frames = max(1, steps // ANIMATION_FRAMES)
    values = {
        "preset": preset, "size": (rows, columns), "steps": steps, "views": preset.views if views is None else views,
        "frames": frames, "animate": animate, **others,
    }  # fmt: skip
    return make_settings(VisualizationSettings, values, what="a visualization", error=VisualizeError)


def _patch_side(model: VisionModel) -> int:
    """The longer side of a patch by the grid of the model's first layer that has one; 1 where no layer has a grid."""
    grid = next((layer.grid for layer in model.layers if layer.grid is not None), None)
    return 1 if grid is None else max(1, max(model.image_size[0] // grid[0], model.image_size[1] // grid[1]))
