"""Do a model's features tell which way up an image is? (The task of Gidaris et al. 2018, arXiv 1803.07728, as a linear
probe of frozen features.)"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.probes.classifiers.readout import (
    C_VALUES,
    check_layers,
    depth_layers,
    frozen_features,
    read_linearly,
)
from conceptprobe.probes.classifiers.tasks import column_values, split_units
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.probe import Findings, Probe, rows_of
from conceptprobe.probes.framework.responses import Condition, Subject
from conceptprobe.probes.framework.settings import PositiveNumber, ProperShare, Several
from conceptprobe.validation import CONFIG

TURNS = 4


@dataclass(frozen=True, config=CONFIG)
class Rotation:
    """Settings.

    Attributes:
        together: A column; images with the same value there are on the same side of the split. None splits by image.
        test: The share of images to test on; a quarter of the others chooses C.
        c_values: Inverse strengths of the penalty to choose from.
    """

    together: str | None = None
    test: ProperShare = 0.5
    c_values: Several[PositiveNumber] = C_VALUES


def check(subject: Subject, items: Items, settings: Rotation) -> None:
    """Refuse images that are not square, layers that cannot be pooled, and too few images to split."""
    if len({*subject.model.image_size}) != 1:
        raise ProbeError(f"{subject.model.spec} takes images of {subject.model.image_size}: only squares can be turned")
    check_layers(subject)
    split_units(_units(items, settings), 0, settings.test)


def run(subject: Subject, items: Items, settings: Rotation, seed: int) -> Findings:
    """Turn every image by 0, 90, 180 and 270 degrees; all four turns are on the same side of the split."""
    levels_nchw = items.pixels(subject.model)
    split = split_units(_units(items, settings), seed, settings.test)
    by_turn = [
        frozen_features(subject, levels_nchw, subject.layers, subject.pooling, turn_by(turn)) for turn in range(TURNS)
    ]
    turns_m = np.repeat(np.arange(TURNS), len(items))
    tested = tuple(id_ for id_, is_tested in zip(items.ids, split.test_n, strict=True) if is_tested)
    frames, chosen = [], []
    for x, layer in enumerate(subject.layers):
        features_md = np.concatenate([features[layer.name] for features in by_turn])
        reading = read_linearly(features_md, turns_m, split.repeat(TURNS), settings.c_values)
        chosen.append(reading.c)
        for turn, answers_n in enumerate(reading.answers_n.reshape(TURNS, -1)):
            frames.append(rows_of("correct", Condition("linear probe", x, turn), tested, answers_n == turn))
    caveat = (
        f"Chance is 0.25. Learnt from {split.learnt_n.sum()} images in four turns, tested on {len(tested)} others. An "
        "image that looks the same when turned cannot be told."
    )
    return Findings(pd.concat(frames, ignore_index=True), artifacts={"c": np.array(chosen)}, caveats=(caveat,))


def turn_by(turn: int) -> Callable[[Tensor, np.ndarray], Tensor]:
    """Turns images by so many quarters, counter-clockwise."""
    return lambda pixels_bchw, numbers: torch.rot90(pixels_bchw, turn, (2, 3))


def _units(items: Items, settings: Rotation) -> tuple[str, ...]:
    return items.ids if settings.together is None else column_values(items, settings.together)


PROBE = Probe(
    name="rotation",
    question="Do the model's features tell which way up an image is?",
    source="Gidaris et al. 2018, arXiv 1803.07728; Hendrycks et al. 2019, arXiv 1906.12340",
    settings=Rotation,
    run=run,
    check=check,
    axes={"": "number of the layer, from 0"},
    reads=depth_layers,
)
