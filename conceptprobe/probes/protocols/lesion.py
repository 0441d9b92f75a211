"""What does a model lose without a block, a branch, or some of its features?

Source: Bhojanapalli et al. 2021, arXiv 2103.14586, section 6; the lesions of single features are ours.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Literal

import numpy as np
import torch
from pydantic import PositiveInt
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.models import Layer, VisionModel
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import Findings, Probe, run_conditions
from conceptprobe.probes.framework.probed_model import ProbedModel, find_feature
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.framework.settings import Distinct, ProperShare
from conceptprobe.validation import CONFIG

BRANCHES = {"attention": ("attn.out",), "mlp": ("mlp.out",), "block": ("attn.out", "mlp.out")}
BLOCK = re.compile(r"blocks\.(\d+)\.(?:attn|mlp)\.out")


@dataclass(frozen=True, config=CONFIG)
class Lesion:
    """Settings.

    Attributes:
        parts: What is removed from a block, of "attention", "mlp" and "block".
        together: Shares of the blocks that are removed at once, at random, in addition to each block alone.
        features: Features to silence: their printed names, or a verdict such as "conceptual", which stands for all
            features with this verdict in the layers that are followed. Empty silences none.
        draws: Random draws of blocks, and of as many other features for comparison; the paper has ten.
    """

    parts: Distinct[Literal["attention", "mlp", "block"]] = ("attention", "mlp", "block")
    together: Distinct[ProperShare] = (0.5,)
    features: Distinct[str] = ()
    draws: PositiveInt = 4

    def __post_init__(self) -> None:
        if not self.parts and not self.features:
            raise ValueError("parts and features are both empty: name at least one of either")


def check(probed: ProbedModel, images: ProbeImages, settings: Lesion) -> None:
    """Refuse a model without blocks to remove, and features that it does not have."""
    list(block_lesions(probed.model, settings, 0))
    named_features(probed, settings.features)


def run(probed: ProbedModel, images: ProbeImages, settings: Lesion, seed: int) -> Findings:
    """Remove the parts of each block alone and of several together, then the features; the residual stream stays."""
    conditions = [*block_lesions(probed.model, settings, seed), *feature_lesions(probed, settings, seed)]
    return run_conditions(probed, images, conditions, seed)


def block_lesions(model: VisionModel, settings: Lesion, seed: int) -> Iterator[Condition]:
    """Conditions without a branch, whose output is set to zero before it is added to the residual stream.

    Raises:
        ProbeError: The model has no transformer blocks.
    """
    blocks = sorted({int(match[1]) for layer in model.layers if (match := BLOCK.fullmatch(layer.name))})
    if not blocks and settings.parts:
        raise ProbeError(f"{model.spec} has no transformer blocks to take away: set parts=() to silence features only")
    rng = np.random.default_rng(seed)
    for part in settings.parts:
        for block in blocks:
            yield Condition(part, block, context=functools.partial(without_branch, part=part, blocks=(block,)))
    for part in settings.parts:
        for share in settings.together:
            n = max(1, round(share * len(blocks)))
            for draw in range(settings.draws):
                chosen = tuple(rng.choice(blocks, n, replace=False).tolist())
                context = functools.partial(without_branch, part=part, blocks=chosen)
                yield Condition(f"{n} x {part}", share, draw, context=context)


def without_branch(model: VisionModel, *, part: str, blocks: Sequence[int]) -> AbstractContextManager[object]:
    """The model without a branch of some blocks."""
    return model.intervene(
        {f"blocks.{block}.{branch}": torch.zeros_like for block in blocks for branch in BRANCHES[part]}
    )


def feature_lesions(probed: ProbedModel, settings: Lesion, seed: int) -> Iterator[Condition]:
    """Conditions without some features, and without as many others of the same layers."""
    if not settings.features:
        return
    chosen = named_features(probed, settings.features)
    yield Condition("features", 0, context=functools.partial(silenced, features=chosen))
    rng = np.random.default_rng(seed)
    for draw in range(settings.draws):
        others: dict[str, tuple[int, ...]] = {}
        for name, indices in chosen.items():
            rest = np.setdiff1d(np.arange(_width(probed.model, name)), indices)
            others[name] = tuple(rng.choice(rest, min(len(indices), len(rest)), replace=False).tolist())
        yield Condition("as many others", 0, draw, context=functools.partial(silenced, features=others))


def named_features(probed: ProbedModel, names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The indices of features by layer.

    Raises:
        ProbeError: A name is neither a feature of the model nor the verdict of a feature that is followed.
    """
    indices_of: dict[str, set[int]] = {}
    for name in names:
        if ":" in name:
            layer, index = find_feature(probed.model, name)
            indices_of.setdefault(layer.name, set()).add(index)
            continue
        matches = {followed: np.flatnonzero(verdicts == name) for followed, verdicts in probed.verdicts.items()}
        if not any(len(indices) for indices in matches.values()):
            raise ProbeError(
                f"no feature of the layers followed has the verdict {name!r}: give scores, or LAYER:NUMBER"
            )
        for followed, indices in matches.items():
            indices_of.setdefault(followed, set()).update(indices.tolist())
    return {name: tuple(sorted(indices)) for name, indices in indices_of.items() if indices}


def silenced(model: VisionModel, *, features: dict[str, tuple[int, ...]]) -> AbstractContextManager[object]:
    """The model with some features set to 0."""
    return model.intervene(
        {
            name: functools.partial(_silence, layer=model.resolve(name)[0], indices=indices)
            for name, indices in features.items()
        }
    )


def _silence(acts: Tensor, *, layer: Layer, indices: tuple[int, ...]) -> Tensor:
    axis = 1 if layer.kind == "map" else -1
    return acts.index_fill(axis, torch.tensor(indices, device=acts.device), 0)


def _width(model: VisionModel, layer: str) -> int:
    return model.resolve(layer)[0].width


PROBE = Probe(
    name="lesion",
    question="What does the model lose without a block, a branch of one, or some of its features?",
    source="Bhojanapalli et al. 2021, arXiv 2103.14586, section 6",
    settings=Lesion,
    run=run,
    axes={"attention": "block", "mlp": "block", "block": "block", "": "share of blocks"},
    check=check,
    needs=frozenset({"answers"}),
    follows=True,
)
