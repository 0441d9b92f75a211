"""What can be learnt from a model's frozen features?

Sources: logistic regression as in Naseer et al. 2021, arXiv 2105.10497, section 3.5; k nearest neighbours as in Caron
et al. 2021, arXiv 2104.14294.
"""

import numpy as np
import pandas as pd
from pydantic import NonNegativeInt
from pydantic.dataclasses import dataclass

from conceptprobe.models import VisionModel
from conceptprobe.probes.classifiers.readout import (
    C_VALUES,
    check_layers,
    fit_linear_probe,
    frozen_features,
    most_frequent,
    nearest_neighbours,
)
from conceptprobe.probes.classifiers.tasks import choose_task, split_task
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import Findings, Probe, rows_of
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.framework.settings import PositiveNumber, ProperShare, Several
from conceptprobe.validation import CONFIG


@dataclass(frozen=True, config=CONFIG)
class Transfer:
    """Settings.

    Attributes:
        target: The column to predict. None takes the labels, or a column of groups of labels where labels have too few
            images; see `choose_task`.
        together: The column whose values stay on one side of the split. None takes the labels where they are finer
            than the target; otherwise each image is split by itself.
        test: The share of units to test on; a quarter of the others selects C.
        c_values: Inverse strengths of the penalty to select from.
        k: How many neighbours vote; 0 leaves nearest neighbours out.
        temperature: The temperature of their weights exp(cosine / temperature).
    """

    target: str | None = None
    together: str | None = None
    test: ProperShare = 0.5
    c_values: Several[PositiveNumber] = C_VALUES
    k: NonNegativeInt = 20
    temperature: PositiveNumber = 0.07


def check(probed: ProbedModel, images: ProbeImages, settings: Transfer) -> None:
    """Refuse a model without layers to read, and images without a task."""
    check_layers(probed)
    split_task(choose_task(images, settings.target, settings.together), 0, settings.test)


def run(probed: ProbedModel, images: ProbeImages, settings: Transfer, seed: int) -> Findings:
    """Fit the classifiers on one side of the images and test them on the other."""
    task = choose_task(images, settings.target, settings.together)
    split = split_task(task, seed, settings.test)
    features = frozen_features(probed, images.pixels(probed.model), probed.layers, probed.pooling)
    targets_n = task.targets_n[split.test_n]
    tested = images.at(np.flatnonzero(split.test_n)).ids
    usual = most_frequent(task.targets_n, split)
    frames = [rows_of("correct", Condition("most frequent class", 0), tested, targets_n == usual)]
    c_values = []
    for x, layer in enumerate(probed.layers):
        readout = fit_linear_probe(features[layer.name], task.targets_n, split, settings.c_values)
        c_values.append(readout.c)
        answers = {"logistic regression": readout.answers_n}
        if settings.k:
            answers[f"{settings.k} nearest"] = nearest_neighbours(
                features[layer.name], task.targets_n, split, settings.k, settings.temperature
            )
        frames += [
            rows_of("correct", Condition(name, x), tested, answers_n == targets_n)
            for name, answers_n in answers.items()
        ]
    rows = pd.concat(frames, ignore_index=True)
    return Findings(rows, artifacts={"c": np.array(c_values)}, caveats=(task.caveat(split),))


def default_layers(model: VisionModel) -> tuple[str, ...]:
    """The layer that stands for the whole image."""
    return (ProbedModel(model).embedding_layer,)


PROBE = Probe(
    name="transfer",
    question="How well can labels be learnt from the model's frozen features?",
    source="Naseer et al. 2021, arXiv 2105.10497, section 3.5; Caron et al. 2021, arXiv 2104.14294",
    settings=Transfer,
    run=run,
    check=check,
    axes={"": "number of the layer, from 0"},
    needs=frozenset({"labels"}),
    reads=default_layers,
)
