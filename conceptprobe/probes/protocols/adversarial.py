"""How small a change makes a model err, and what does that change look like?

Sources: FGSM of Goodfellow et al. 2015, arXiv 1412.6572; projected sign gradients of Madry et al. 2018, arXiv
1706.06083; spectra and the patch grid after Bhojanapalli et al. 2021, arXiv 2103.14586, figure 1. Attacks on single
features are ours.
"""

from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from pydantic import Field, NonNegativeInt, PositiveInt
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.indexing.reducers.pooling import pool
from conceptprobe.models import VisionModel
from conceptprobe.probes.framework.heads import ClassHead
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import Findings, Probe, published, run_conditions
from conceptprobe.probes.framework.probed_model import ProbedModel, find_feature
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.framework.settings import Distinct, Several
from conceptprobe.probes.stimuli.attack import Attack, Loss
from conceptprobe.probes.stimuli.grid import patch_grid
from conceptprobe.validation import CONFIG

LEVEL = 1 / 255


@dataclass(frozen=True, config=CONFIG)
class Adversarial:
    """Settings.

    Attributes:
        epsilons: How far a pixel may move, in grey levels, that is, in units of 1/255.
        attacks: "fgsm" is one step of epsilon; "pgd" is steps of epsilon / steps, each clipped to the allowed range.
        steps: The steps of PGD, which starts at the image itself.
        features: Features whose pooled activation is attacked by PGD, such as `blocks.3.mlp.hidden:7`.
        goals: What to do to these activations, of "lower" and "raise".
        shown: The number of images whose changes are kept as pictures.
    """

    epsilons: Several[Annotated[float, Field(ge=0, le=255)]] = (1.0,)
    attacks: Distinct[Literal["fgsm", "pgd"]] = ("fgsm", "pgd")
    steps: PositiveInt = 8
    features: Distinct[str] = ()
    goals: Several[Literal["lower", "raise"]] = ("lower", "raise")
    shown: NonNegativeInt = 8

    def __post_init__(self) -> None:
        if not self.attacks and not self.features:
            raise ValueError("attacks and features are both empty: name at least one of either")


def check(probed: ProbedModel, images: ProbeImages, settings: Adversarial) -> None:
    """Refuse features that the model does not have."""
    for name in settings.features:
        find_feature(probed.model, name)


def run(probed: ProbedModel, images: ProbeImages, settings: Adversarial, seed: int) -> Findings:
    """Attack the right answer and the features of the settings, then measure the changes; nothing is random."""
    assert probed.head is not None, probed
    targets_n = torch.from_numpy(probed.head.targets(images.classes or ()))
    losses: dict[str, tuple[str, Loss]] = {}  # by series: the name of the loss, and the loss
    for attack_name in settings.attacks:
        losses[attack_name] = ("cross-entropy", class_loss(probed.model, probed.head, targets_n))
    for feature in settings.features:
        for goal in settings.goals:
            losses[f"{goal} {feature}"] = ("activation", feature_loss(probed, feature, goal))
    attacks = [
        Attack(loss, epsilon * LEVEL, 1 if name == "fgsm" else settings.steps, patch_grid(probed), settings.shown)
        for name, (_, loss) in losses.items()
        for epsilon in settings.epsilons
    ]
    points = [(name, epsilon) for name in losses for epsilon in settings.epsilons]
    conditions = [
        Condition(name, epsilon, change=attack) for (name, epsilon), attack in zip(points, attacks, strict=True)
    ]
    findings = run_conditions(probed, images, conditions, seed)
    clean = findings.rows[(findings.rows["metric"] == "correct") & (findings.rows["series"] == "clean")]
    started = clean.set_index("image")["value"].reindex(list(images.ids)).to_numpy() == 1
    frames, artifacts = list[pd.DataFrame](), dict[str, np.ndarray]()
    for (name, epsilon), attack in zip(points, attacks, strict=True):
        metric = losses[name][0]
        sign = -1.0 if name.startswith("lower ") else 1.0
        counted = started if metric == "cross-entropy" else np.ones(len(images), bool)
        frames += attack.rows(images.ids, name, epsilon, metric, sign, counted)
        artifacts |= {f"{name}, epsilon {epsilon:g}/{what}": array for what, array in attack.artifacts().items()}
    return replace(findings.with_rows(frames), artifacts=artifacts, caveats=_caveats(probed))


def class_loss(model: VisionModel, head: ClassHead, targets_n: Tensor) -> Loss:
    """The cross-entropy of the right answer."""
    if head.weights_dc is not None:
        head = replace(head, weights_dc=head.weights_dc.clone())

    def loss(pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        scores_bc = head(model.capture(pixels_bchw, head.layer)[head.layer])
        return F.cross_entropy(scores_bc, targets_n[numbers].to(scores_bc.device), reduction="none")

    return loss


def feature_loss(probed: ProbedModel, name: str, goal: str) -> Loss:
    """A feature's pooled activation, negated where the goal is to lower it.

    Raises:
        ProbeError: The layer has no such feature.
    """
    layer, index = find_feature(probed.model, name)
    sign = -1.0 if goal == "lower" else 1.0
    pooling = probed.pooling_of(layer)

    def loss(pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        acts = probed.model.capture(pixels_bchw, layer.name)[layer.name]
        return sign * pool(acts, layer, pooling).values_bf[:, index]

    return loss


def _caveats(probed: ProbedModel) -> tuple[str, ...]:
    notes = [
        "Cross-entropy by step is of images that the model knows before the attack: not the same ones of each model."
    ]
    if not any(layer.kind == "tokens" and layer.grid for layer in probed.model.layers):
        notes.append(f"{probed.model.spec} has no patches: its grid is one of 14 x 14 cells.")
    return tuple(notes)


PROBE = Probe(
    name="adversarial",
    question="How small a change makes the model err, and what does that change look like?",
    source="Goodfellow et al. 2015, arXiv 1412.6572; Madry et al. 2018, arXiv 1706.06083",
    settings=Adversarial,
    run=run,
    axes={
        "cross-entropy": "step",
        "activation": "step",
        "share of power": "cycles per image",
        "": "epsilon in grey levels",
    },
    check=check,
    needs=frozenset({"classes"}),
    follows=True,
    context=published(
        "Bai et al. 2021",
        "code",
        {
            "RN50-GELU, adversarially trained, PGD-100": "40.27 %",
            "DeiT-S, adversarially trained, PGD-100": "40.32 %",
            "RN50-GELU, adversarially trained, AutoAttack": "35.51 %",
            "DeiT-S, adversarially trained, AutoAttack": "35.50 %",
        },
    ),
)
