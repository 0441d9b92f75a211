"""What can be learnt from a model's frozen features? (Logistic regression as in Naseer et al. 2021, arXiv 2105.10497,
section 3.5; k nearest neighbours as in Caron et al. 2021, arXiv 2104.14294.)"""

import numpy as np
import pandas as pd
from pydantic import NonNegativeInt
from pydantic.dataclasses import dataclass

from conceptprobe.models import VisionModel
from conceptprobe.probes.classifiers.readout import (
    C_VALUES,
    check_layers,
    frozen_features,
    most_frequent,
    nearest_neighbours,
    read_linearly,
)
from conceptprobe.probes.classifiers.tasks import choose_task, split_task
from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.probe import Findings, Probe, rows_of
from conceptprobe.probes.framework.responses import Condition, Subject
from conceptprobe.probes.framework.settings import PositiveNumber, ProperShare, Several
from conceptprobe.validation import CONFIG


@dataclass(frozen=True, config=CONFIG)
class Transfer:
    """Settings.

    Attributes:
        target: The column to predict. None takes the labels, or a column of groups of labels where labels have too few
            images; see `choose_task`.
        together: The column whose values stay on one side of the split. None takes the labels where they are finer
            than what is predicted, else each image is for itself.
        test: The share of units to test on; a quarter of the others chooses C.
        c_values: Inverse strengths of the penalty to choose from.
        k: How many neighbours vote; 0 leaves them out.
        temperature: Of their weights exp(cosine / temperature).
    """

    target: str | None = None
    together: str | None = None
    test: ProperShare = 0.5
    c_values: Several[PositiveNumber] = C_VALUES
    k: NonNegativeInt = 20
    temperature: PositiveNumber = 0.07


def check(subject: Subject, items: Items, settings: Transfer) -> None:
    """Refuse layers that cannot be pooled, and images that make no task."""
    check_layers(subject)
    split_task(choose_task(items, settings.target, settings.together), 0, settings.test)


def run(subject: Subject, items: Items, settings: Transfer, seed: int) -> Findings:
    """Fit the classifiers on one side of the images, and ask them on the other."""
    task = choose_task(items, settings.target, settings.together)
    split = split_task(task, seed, settings.test)
    features = frozen_features(subject, items.pixels(subject.model), subject.layers, subject.pooling)
    targets_n = task.targets_n[split.test_n]
    tested = tuple(id_ for id_, is_tested in zip(items.ids, split.test_n, strict=True) if is_tested)
    usual = most_frequent(task.targets_n, split)
    frames = [rows_of("correct", Condition("most frequent class", 0), tested, targets_n == usual)]
    chosen = []
    for x, layer in enumerate(subject.layers):
        reading = read_linearly(features[layer.name], task.targets_n, split, settings.c_values)
        chosen.append(reading.c)
        answers = {"logistic regression": reading.answers_n}
        if settings.k:
            answers[f"{settings.k} nearest"] = nearest_neighbours(
                features[layer.name], task.targets_n, split, settings.k, settings.temperature
            )
        frames += [
            rows_of("correct", Condition(name, x), tested, answers_n == targets_n)
            for name, answers_n in answers.items()
        ]
    rows = pd.concat(frames, ignore_index=True)
    return Findings(rows, artifacts={"c": np.array(chosen)}, caveats=(task.caveat(split),))


def default_layers(model: VisionModel) -> tuple[str, ...]:
    """What stands for the whole image."""
    return (Subject(model).gist,)


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
