"""What a user sets for all probes of a run alike: images, classes, layers and seed."""

from typing import Annotated

from pydantic import AfterValidator, Field, NonNegativeInt
from pydantic.dataclasses import dataclass

from conceptprobe.probes.framework.heads import template_texts
from conceptprobe.validation import CONFIG


def _check_templates(templates: tuple[str, ...]) -> tuple[str, ...]:
    template_texts(templates)
    return templates


@dataclass(frozen=True, config=CONFIG)
class RunSettings:
    """The settings that all probes share; `run_probe` describes them.

    Attributes:
        n: How many images, drawn at random; None takes all.
        classes: The class names to choose from; None takes those of the models or of the images.
        class_map: From labels to class names.
        label: The column with the labels.
        templates: Texts with `{}` for zero-shot heads.
        masks: A folder of masks; None takes the alpha channels.
        layers: The layers to follow or to read; None takes the default of the probe.
        pooling: How features are pooled.
        seed: Seed of all random draws.
    """

    n: Annotated[int, Field(ge=2)] | None = None
    classes: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    class_map: dict[str | int, str] | None = None
    label: str = "label"
    templates: Annotated[tuple[str, ...], AfterValidator(_check_templates)] = ("{}",)
    masks: str | None = None
    layers: tuple[str, ...] | None = None
    pooling: str = "mean"
    seed: NonNegativeInt = 0
