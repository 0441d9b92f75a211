"""What does a model know after each block? (Readout of intermediate CLS tokens and ensembles of the last ones, Naseer
et al. 2021, arXiv 2105.10497, section 3.5.)"""

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
    frozen_features,
    most_frequent,
    read_linearly,
    residual_layers,
)
from conceptprobe.probes.classifiers.tasks import Task, choose_task, split_task
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.probe import Findings, Probe, behave, rows_of
from conceptprobe.probes.framework.responses import Condition, Subject
from conceptprobe.probes.framework.settings import PositiveNumber, ProperShare, Several
from conceptprobe.validation import CONFIG

METRIC = "correct by a linear probe"


@dataclass(frozen=True, config=CONFIG)
class BlockReadout:
    """Settings.

    Attributes:
        linear: Fit linear probes, too. They are left out where no target is named and none fits.
        last: How many of the last blocks one linear probe sees together.
        target: The column that linear probes predict. None takes the labels, or a column of groups of labels where
            labels have too few images; see `choose_task`.
        together: The column whose values stay on one side of their split. None takes the labels where they are finer
            than what is predicted, else each image is for itself.
        test: The share of units to test them on; a quarter of the others chooses C.
        c_values: Inverse strengths of the penalty to choose from.
    """

    linear: bool = True
    last: Annotated[int, Field(ge=2)] = 4
    target: str | None = None
    together: str | None = None
    test: ProperShare = 0.5
    c_values: Several[PositiveNumber] = C_VALUES


def check(subject: Subject, items: Items, settings: BlockReadout) -> None:
    """Refuse a model without blocks, and images that make no task for linear probes."""
    if not residual_layers(subject.model):
        raise ProbeError(
            f"{subject.model.spec} has no transformer blocks that its head could read: read its layers with the probe "
            "transfer"
        )
    if settings.linear and settings.target is not None:
        split_task(_task(items, settings), 0, settings.test)


def run(subject: Subject, items: Items, settings: BlockReadout, seed: int) -> Findings:
    """Answers of the model's own head after each block, then those of linear probes."""
    layers = residual_layers(subject.model)
    last = layers[-1].name
    conditions = [
        Condition("own head", block, context=functools.partial(ending_after, block=layer.name, last=last))
        for block, layer in enumerate(layers)
    ]
    findings = behave(subject, items, conditions, seed)
    if not settings.linear:
        return findings
    try:
        rows, chosen, caveat = read_blocks(subject, items, settings, seed)
    except ProbeError as error:
        return replace(findings, caveats=(f"No linear probes: {error}.",))
    return Findings(pd.concat([findings.rows, rows], ignore_index=True), artifacts={"c": chosen}, caveats=(caveat,))


@contextmanager
def ending_after(model: VisionModel, *, block: str, last: str) -> Iterator[None]:
    """The model as long as the output of a block takes the place of the last one's: what follows the blocks, final
    norm, pooling and head, reads it as it is."""
    kept: list[Tensor] = []

    def keep(acts_btc: Tensor) -> Tensor:
        kept[:] = [acts_btc]
        return acts_btc

    changes = {block: keep}
    if block != last:
        changes[last] = lambda acts_btc: kept.pop()
    with model.intervene(changes):
        yield


def read_blocks(
    subject: Subject, items: Items, settings: BlockReadout, seed: int
) -> tuple[pd.DataFrame, np.ndarray, str]:
    """Rows of linear probes of each block's CLS token (the mean of its patches where there is none) and of those of the
    last blocks together; the C of each; and what to mind."""
    task, layers = _task(items, settings), residual_layers(subject.model)
    split = split_task(task, seed, settings.test)
    pooling = "mean" if layers[0].cls is None else "cls"
    features = frozen_features(subject, items.pixels(subject.model), layers, pooling)
    values = [features[layer.name] for layer in layers]
    read = [("linear probe", block, values_nd) for block, values_nd in enumerate(values)]
    together = values[-settings.last :]
    read.append((f"last {len(together)} blocks together", len(layers) - 1, np.concatenate(together, 1)))
    targets_n = task.targets_n[split.test_n]
    tested = tuple(id_ for id_, is_tested in zip(items.ids, split.test_n, strict=True) if is_tested)
    usual = Condition("most frequent class", 0)
    frames = [rows_of(METRIC, usual, tested, targets_n == most_frequent(task.targets_n, split))]
    chosen = []
    for name, block, values_nd in read:
        reading = read_linearly(values_nd, task.targets_n, split, settings.c_values)
        frames.append(rows_of(METRIC, Condition(name, block), tested, reading.answers_n == targets_n))
        chosen.append(reading.c)
    return pd.concat(frames, ignore_index=True), np.array(chosen), f"Linear probes: {task.caveat(split)}"


def _task(items: Items, settings: BlockReadout) -> Task:
    return choose_task(items, settings.target, settings.together)


PROBE = Probe(
    name="block_readout",
    question="What does the model know after each of its blocks?",
    source="Naseer et al. 2021, arXiv 2105.10497, section 3.5",
    settings=BlockReadout,
    run=run,
    check=check,
    axes={"": "block"},
    needs=frozenset({"answers", "labels"}),
    context=tuple(
        {
            "name": f"CLS of the last 4 blocks together, against the last one's, {name}",
            "value": f"{together} % against {alone} %",
            "source": "Naseer et al. 2021",
            "tag": "paper",
        }
        for name, alone, together in (("CUB", 68.16, 73.58), ("Flowers", 82.58, 90.0), ("iNaturalist", 38.28, 45.15))
    ),
)
