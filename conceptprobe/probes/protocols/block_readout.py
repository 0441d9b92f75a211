"""What does a model know after each block?

Source: readout of intermediate CLS tokens and ensembles of the last ones, Naseer et al. 2021, arXiv 2105.10497,
section 3.5.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.models import VisionModel
from conceptprobe.probes.classifiers.readout import (
    C_VALUES,
    fit_linear_probe,
    frozen_features,
    most_frequent,
    residual_layers,
)
from conceptprobe.probes.classifiers.tasks import Task, choose_task, split_task
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import Findings, Probe, published, rows_of, run_conditions
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.framework.settings import PositiveNumber, ProperShare, Several
from conceptprobe.validation import CONFIG

METRIC = "correct by a linear probe"


@dataclass(frozen=True, config=CONFIG)
class BlockReadout:
    """Settings.

    Attributes:
        linear: Whether to fit linear probes too. They are left out where no target is named and no column fits.
        last: How many of the last blocks one linear probe reads together.
        target: The column that linear probes predict. None takes the labels, or a column of groups of labels where
            labels have too few images; see `choose_task`.
        together: The column whose values stay on one side of the split. None takes the labels where they are finer
            than the target; otherwise each image is split by itself.
        test: The share of units to test on; a quarter of the others selects C.
        c_values: Inverse strengths of the penalty to select from.
    """

    linear: bool = True
    last: Annotated[int, Field(ge=2)] = 4
    target: str | None = None
    together: str | None = None
    test: ProperShare = 0.5
    c_values: Several[PositiveNumber] = C_VALUES


def check(probed: ProbedModel, images: ProbeImages, settings: BlockReadout) -> None:
    """Refuse a model without blocks, and images without a task for linear probes."""
    if not residual_layers(probed.model):
        raise ProbeError(
            f"{probed.model.spec} has no transformer blocks that its head could read: read its layers with the probe "
            "transfer"
        )
    if settings.linear and settings.target is not None:
        split_task(_task(images, settings), 0, settings.test)


def run(probed: ProbedModel, images: ProbeImages, settings: BlockReadout, seed: int) -> Findings:
    """The answers of the model's head after each block, then those of linear probes."""
    layers = residual_layers(probed.model)
    last = layers[-1].name
    conditions = [
        Condition("own head", block, context=functools.partial(ending_after, block=layer.name, last=last))
        for block, layer in enumerate(layers)
    ]
    findings = run_conditions(probed, images, conditions, seed)
    if not settings.linear:
        return findings
    try:
        rows, c_values, caveat = probe_blocks(probed, images, settings, seed)
    except ProbeError as error:
        return replace(findings, caveats=(f"No linear probes: {error}.",))
    return replace(findings.with_rows([rows]), artifacts={"c": c_values}, caveats=(caveat,))


@contextmanager
def ending_after(model: VisionModel, *, block: str, last: str) -> Iterator[None]:
    """The model with a block's output in place of the last block's, for final norm, pooling and head to read."""
    stored: list[Tensor] = []

    def store(acts_btc: Tensor) -> Tensor:
        stored[:] = [acts_btc]
        return acts_btc

    changes = {block: store}
    if block != last:
        changes[last] = lambda acts_btc: stored.pop()
    with model.intervene(changes):
        yield


def probe_blocks(
    probed: ProbedModel, images: ProbeImages, settings: BlockReadout, seed: int
) -> tuple[pd.DataFrame, np.ndarray, str]:
    """Linear probes of each block's CLS token, or of the mean of its patches, and of the last blocks together.

    Returns:
        Their rows, the C of each, and a caveat.
    """
    task, layers = _task(images, settings), residual_layers(probed.model)
    split = split_task(task, seed, settings.test)
    pooling = "mean" if layers[0].cls is None else "cls"
    features = frozen_features(probed, images.pixels(probed.model), layers, pooling)
    values = [features[layer.name] for layer in layers]
    inputs = [("linear probe", block, values_nd) for block, values_nd in enumerate(values)]
    together = values[-settings.last :]
    inputs.append((f"last {len(together)} blocks together", len(layers) - 1, np.concatenate(together, 1)))
    targets_n = task.targets_n[split.test_n]
    tested = images.at(np.flatnonzero(split.test_n)).ids
    usual = Condition("most frequent class", 0)
    frames = [rows_of(METRIC, usual, tested, targets_n == most_frequent(task.targets_n, split))]
    c_values = []
    for name, block, values_nd in inputs:
        readout = fit_linear_probe(values_nd, task.targets_n, split, settings.c_values)
        frames.append(rows_of(METRIC, Condition(name, block), tested, readout.answers_n == targets_n))
        c_values.append(readout.c)
    return pd.concat(frames, ignore_index=True), np.array(c_values), f"Linear probes: {task.caveat(split)}"


def _task(images: ProbeImages, settings: BlockReadout) -> Task:
    return choose_task(images, settings.target, settings.together)


PROBE = Probe(
    name="block_readout",
    question="What does the model know after each of its blocks?",
    source="Naseer et al. 2021, arXiv 2105.10497, section 3.5",
    settings=BlockReadout,
    run=run,
    check=check,
    axes={"": "block"},
    needs=frozenset({"answers", "labels"}),
    context=published(
        "Naseer et al. 2021",
        "paper",
        {
            f"CLS of the last 4 blocks together, against the last one's, {name}": value
            for name, value in (
                ("CUB", "73.58 % against 68.16 %"),
                ("Flowers", "90.0 % against 82.58 %"),
                ("iNaturalist", "45.15 % against 38.28 %"),
            )
        },
    ),
)
