"""Do a model's features tell which way up an image is?

Source: the task of Gidaris et al. 2018, arXiv 1803.07728, as a linear probe of frozen features.
"""

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
    fit_linear_probe,
    frozen_features,
)
from conceptprobe.probes.classifiers.tasks import column_values, split_units
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import Findings, Probe, rows_of
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.framework.settings import PositiveNumber, ProperShare, Several
from conceptprobe.validation import CONFIG

TURNS = 4


@dataclass(frozen=True, config=CONFIG)
class Rotation:
    """Settings.

    Attributes:
        together: A column; images with the same value are on the same side of the split. None splits by image.
        test: The share of images to test on; a quarter of the others selects C.
        c_values: Inverse strengths of the penalty to select from.
    """

    together: str | None = None
    test: ProperShare = 0.5
    c_values: Several[PositiveNumber] = C_VALUES


def check(probed: ProbedModel, images: ProbeImages, settings: Rotation) -> None:
    """Refuse images that are not square, layers that cannot be pooled, and too few images to split."""
    if len({*probed.model.image_size}) != 1:
        raise ProbeError(f"{probed.model.spec} takes images of {probed.model.image_size}: only squares can be turned")
    check_layers(probed)
    split_units(_units(images, settings), 0, settings.test)


def run(probed: ProbedModel, images: ProbeImages, settings: Rotation, seed: int) -> Findings:
    """Turn every image by 0, 90, 180 and 270 degrees; all four turns are on the same side of the split."""
    levels_nchw = images.pixels(probed.model)
    split = split_units(_units(images, settings), seed, settings.test)
    by_turn = [
        frozen_features(probed, levels_nchw, probed.layers, probed.pooling, turn_by(turn)) for turn in range(TURNS)
    ]
    turns_m = np.repeat(np.arange(TURNS), len(images))
    tested = images.at(np.flatnonzero(split.test_n)).ids
    frames, c_values = [], []
    for x, layer in enumerate(probed.layers):
        features_md = np.concatenate([features[layer.name] for features in by_turn])
        readout = fit_linear_probe(features_md, turns_m, split.repeat(TURNS), settings.c_values)
        c_values.append(readout.c)
        for turn, answers_n in enumerate(readout.answers_n.reshape(TURNS, -1)):
            frames.append(rows_of("correct", Condition("linear probe", x, turn), tested, answers_n == turn))
    caveat = (
        f"Chance is 0.25. Learnt from {split.learnt_n.sum()} images in four turns, tested on {len(tested)} others. An "
        "image that looks the same when turned cannot be told."
    )
    return Findings(pd.concat(frames, ignore_index=True), artifacts={"c": np.array(c_values)}, caveats=(caveat,))


def turn_by(turn: int) -> Callable[[Tensor, np.ndarray], Tensor]:
    """A change that turns images by a number of quarters, counter-clockwise."""
    return lambda pixels_bchw, numbers: torch.rot90(pixels_bchw, turn, (2, 3))


def _units(images: ProbeImages, settings: Rotation) -> tuple[str, ...]:
    return images.ids if settings.together is None else column_values(images, settings.together)


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
