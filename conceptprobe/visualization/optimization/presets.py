"""Presets: the numbers of published methods."""

from dataclasses import dataclass
from typing import Any, Literal

from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.optimization.regularizers import Regularizer, TotalVariation
from conceptprobe.visualization.parametrizations.parametrizations import Fourier, Parametrization, Phase, Pixels
from conceptprobe.visualization.transforms.transforms import (
    ColourShift,
    Crop,
    Jitter,
    Noise,
    Pad,
    Roll,
    Rotate,
    Scale,
    ShrinkingCrop,
    Transform,
)

CANVAS = 512 / 224  # of the papers that optimise images of 512 pixels for models of 224


@dataclass(frozen=True)
class Near:
    """A penalty on the distance from the activations of the start image: mean squared difference over mean square.

    Attributes:
        layer_depth: Depth of the layer of these activations, as a share of the depth of the target.
        weight: Weight of the distance.
    """

    layer_depth: float
    weight: float


@dataclass(frozen=True)
class Preset:
    """How to optimise images; `dataclasses.replace` makes a preset with other numbers.

    Attributes:
        name: The name in records.
        citation: The paper or code with these numbers, and the differences from it.
        parametrization: The map from parameters to images.
        transforms: Transforms of the views, in their order.
        regularizers: Penalties.
        optimizer: "adam" or "nadam".
        learning_rate: Learning rate at the first step.
        betas: Decay of the first and the second moment.
        schedule: Learning rate schedule: "constant", or "cosine" down to 0.
        steps: Number of steps.
        views: Views of each image that the model sees in a step.
        size: Rows and columns of the images; None takes the model's image size times `canvas`.
        canvas: Factor of the model's image size.
        early: Share of the steps in which features are read before their activation function, where the model has that.
        near: Penalty on the distance from the start image.
    """

    name: str
    citation: str
    parametrization: Parametrization
    transforms: tuple[Transform, ...]
    regularizers: tuple[Regularizer, ...]
    optimizer: Literal["adam", "nadam"]
    learning_rate: float
    betas: tuple[float, float]
    schedule: Literal["constant", "cosine"]
    steps: int
    views: int
    size: tuple[int, int] | None = None
    canvas: float = 1.0
    early: float = 0.1
    near: Near | None = None

    def image_size(self, model_size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the images for a model with a given image size."""
        if self.size is not None:
            return self.size
        rows, columns = (round(side * self.canvas) for side in model_size)
        return rows, columns

    def describe(self) -> dict[str, Any]:
        """Every setting, in JSON's types. Pixels `of` a size are scaled to the size of the image."""
        return {
            "name": self.name,
            "citation": self.citation,
            "parametrization": self.parametrization.describe(),
            "transforms": [transform.describe() for transform in self.transforms],
            "regularizers": [regularizer.describe() for regularizer in self.regularizers],
            "optimizer": self.optimizer,
            "learning_rate": self.learning_rate,
            "betas": list(self.betas),
            "schedule": self.schedule,
            "steps": self.steps,
            "views": self.views,
            "size": None if self.size is None else list(self.size),
            "canvas": self.canvas,
            "early": self.early,
            "near": None if self.near is None else {"layer_depth": self.near.layer_depth, "weight": self.near.weight},
        }


_FOURIER = Preset(
    name="fourier",
    citation=(
        "Olah, Mordvintsev & Schubert 2017, Feature Visualization, Distill, doi:10.23915/distill.00007; numbers of "
        "Lucid and Lucent, with several views a step, and with the padding kept out of sight so that the image is seen "
        "at its own size"
    ),
    parametrization=Fourier(),
    # Lucid's jitter of d pixels cuts the image to one of d + 1 random positions: half as far in each direction.
    transforms=(
        Pad(12, of=128, shown=False),
        Jitter(4, of=128),
        Scale(0.9, 1.1),
        Rotate(10),
        Jitter(2, of=128),
    ),
    regularizers=(),
    optimizer="adam",
    learning_rate=0.05,
    betas=(0.9, 0.999),
    schedule="constant",
    steps=512,
    views=4,
)

_GHIASI = Preset(
    name="ghiasi",
    citation=(
        "Ghiasi et al. 2022, What do Vision Transformers Learn? A Visual Exploration, arXiv:2212.06727; learning rate "
        "0.1 as for their ViTs (1.0 for CLIP), total variation of their v = 1 with the weight that the paper states"
    ),
    parametrization=Pixels(),
    transforms=(Roll(32, of=224), ColourShift(1.0, 1.0), Noise(0.5, end=0.0)),
    regularizers=(TotalVariation(0.0005),),
    optimizer="adam",
    learning_rate=0.1,
    betas=(0.5, 0.99),
    schedule="cosine",
    steps=400,
    views=8,
)

_MACO = Preset(
    name="maco",
    citation=(
        "Fel et al. 2023, Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization, "
        "arXiv:2306.06805; numbers of Xplique, whose noise of 0.08 is for values from -1 to 1; the rate falls to 0, "
        "which the standardised phases of MACO bring about and ours do not"
    ),
    parametrization=Phase(),
    transforms=(
        ShrinkingCrop(start=0.5, end=0.05, sd=0.05, center_sd=0.15, smallest=0.05),
        Noise(0.04, even=0.04),
    ),
    regularizers=(),
    optimizer="nadam",
    learning_rate=1.0,
    betas=(0.9, 0.999),
    schedule="cosine",
    steps=256,
    views=32,
    canvas=CANVAS,
)

_ACCENTUATE = Preset(
    name="accentuate",
    citation=(
        "Hamblin et al. 2024, Feature Accentuation: Revealing 'What' Features Respond to in Natural Images, "
        "arXiv:2402.10039; numbers of Faccent's defaults, whose layer and weight to stay near the image are the user's "
        "to choose; the target is taken as it is from the first step on"
    ),
    parametrization=Fourier(),
    transforms=(Crop(0.05, 0.99), Noise(0.02, even=0.02)),
    regularizers=(),
    optimizer="adam",
    learning_rate=0.05,
    betas=(0.9, 0.999),
    schedule="constant",
    steps=100,
    views=16,
    canvas=CANVAS,
    early=0.0,
    near=Near(layer_depth=0.33, weight=1.0),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in (_FOURIER, _GHIASI, _MACO, _ACCENTUATE)}


def get_preset(preset: str | Preset) -> Preset:
    """The preset with a name; a `Preset` is returned unchanged.

    Raises:
        VisualizeError: There is no such preset.
    """
    if isinstance(preset, Preset):
        return preset
    if preset not in PRESETS:
        raise VisualizeError(f"no preset {preset!r}: choose {', '.join(PRESETS)}, or give a Preset")
    return PRESETS[preset]
