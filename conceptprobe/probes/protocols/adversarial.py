"""How small a change makes a model err, and what does that change look like? (FGSM of Goodfellow et al. 2015, arXiv
1412.6572; projected sign gradients of Madry et al. 2018, arXiv 1706.06083; spectra and the patch grid after
Bhojanapalli et al. 2021, arXiv 2103.14586, figure 1; attacks on single features are ours.)"""

from collections.abc import Callable
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
from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.probe import Findings, Probe, behave, rows_of
from conceptprobe.probes.framework.responses import Condition, Subject, find_feature
from conceptprobe.probes.framework.settings import Distinct, Several
from conceptprobe.probes.stimuli.change_spectrum import grid_contrast, grid_share, power_spectrum, radial_shares
from conceptprobe.probes.stimuli.grid import patch_grid
from conceptprobe.validation import CONFIG

LEVEL = 1 / 255

Loss = Callable[[Tensor, np.ndarray], Tensor]
"""What an attack drives up: from pixels [b,3,h,w] and the items' numbers [b] to a value an image [b]."""


@dataclass(frozen=True, config=CONFIG)
class Adversarial:
    """Settings.

    Attributes:
        epsilons: How far a pixel may move, in grey levels, that is, in units of 1/255.
        attacks: "fgsm": one step of epsilon; "pgd": steps of epsilon / steps, each brought back into the bounds.
        steps: Of PGD, from the image itself.
        features: Features whose pooled activation is attacked, such as `blocks.3.mlp.hidden:7`, by PGD.
        goals: What to do to them, of "lower" and "raise".
        shown: How many images' changes are kept as pictures.
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


def check(subject: Subject, items: Items, settings: Adversarial) -> None:
    """Refuse features that the model does not have."""
    for name in settings.features:
        find_feature(subject.model, name)


def run(subject: Subject, items: Items, settings: Adversarial, seed: int) -> Findings:
    """Attack the right answer, and the features asked for; then look at the changes. Nothing is drawn at random."""
    assert subject.head is not None, subject
    targets_n = torch.from_numpy(subject.head.targets(items.classes or ()))
    losses: dict[str, tuple[str, Loss]] = {}  # by series: what the loss is called, and itself
    for attack_name in settings.attacks:
        losses[attack_name] = ("cross-entropy", class_loss(subject.model, subject.head, targets_n))
    for feature in settings.features:
        for goal in settings.goals:
            losses[f"{goal} {feature}"] = ("activation", feature_loss(subject, feature, goal))
    attacks = [
        Attack(loss, epsilon * LEVEL, 1 if name == "fgsm" else settings.steps, patch_grid(subject), settings.shown)
        for name, (_, loss) in losses.items()
        for epsilon in settings.epsilons
    ]
    points = [(name, epsilon) for name in losses for epsilon in settings.epsilons]
    conditions = [
        Condition(name, epsilon, change=attack) for (name, epsilon), attack in zip(points, attacks, strict=True)
    ]
    findings = behave(subject, items, conditions, seed)
    clean = findings.rows[(findings.rows["metric"] == "correct") & (findings.rows["series"] == "clean")]
    started = clean.set_index("image")["value"].reindex(list(items.ids)).to_numpy() == 1
    frames, artifacts = [findings.rows], dict[str, np.ndarray]()
    for (name, epsilon), attack in zip(points, attacks, strict=True):
        metric = losses[name][0]
        sign = -1.0 if name.startswith("lower ") else 1.0
        counted = started if metric == "cross-entropy" else np.ones(len(items), bool)
        frames += attack.rows(items.ids, name, epsilon, metric, sign, counted)
        artifacts |= {f"{name}, epsilon {epsilon:g}/{what}": array for what, array in attack.artifacts().items()}
    return replace(findings, rows=pd.concat(frames, ignore_index=True), artifacts=artifacts, caveats=_caveats(subject))


class Attack:
    """Moves images within bounds along the sign of the loss's gradient, and keeps what came of it.

    Args:
        epsilon: The bound, in units of the pixels.
        grid: Rows and columns of the model's patches.
        shown: How many changes are kept as they are.
    """

    def __init__(self, loss: Loss, epsilon: float, steps: int, grid: tuple[int, int], shown: int) -> None:
        self._loss, self._epsilon, self._steps, self._grid, self._shown = loss, epsilon, steps, grid, shown
        self._losses: list[np.ndarray] = []
        self._power: list[np.ndarray] = []
        self._deltas: list[np.ndarray] = []

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            start = pixels_bchw.clone()  # a tensor made for inference alone takes no part in gradients
            moved, loss_bs = climb(self._loss, start, numbers, self._epsilon, self._steps)
        delta_bchw = (moved - start).cpu().numpy().astype(np.float64)
        self._losses.append(loss_bs.cpu().numpy())
        self._power.append(power_spectrum(delta_bchw))
        room = self._shown - sum(map(len, self._deltas))
        if room > 0:
            self._deltas.append(delta_bchw[:room])
        return moved

    def rows(
        self, ids: tuple[str, ...], name: str, epsilon: float, metric: str, sign: float, counted_n: np.ndarray
    ) -> list[pd.DataFrame]:
        """The loss by step, where it counts; the change's power by radius; and how much is on the lines of the grid."""
        loss_ns = sign * np.concatenate(self._losses)
        power_nhw = np.concatenate(self._power)
        series = f"{name}, epsilon {epsilon:g}"
        share_nr = radial_shares(power_nhw)
        return [
            *(
                rows_of(metric, Condition(series, step), ids, np.where(counted_n, loss_ns[:, step], np.nan))
                for step in range(loss_ns.shape[1])
            ),
            *(
                rows_of("share of power", Condition(series, radius), ids, share_nr[:, radius])
                for radius in range(share_nr.shape[1])
            ),
            rows_of("grid share", Condition(name, epsilon), ids, grid_share(power_nhw, self._grid)),
            rows_of("grid contrast", Condition(name, epsilon), ids, grid_contrast(power_nhw, self._grid)),
        ]

    def artifacts(self) -> dict[str, np.ndarray]:
        """Some changes, amplified so that epsilon is black or white [k,3,h,w], and the mean power [h,w], centre: 0."""
        mean_hw = np.fft.fftshift(np.concatenate(self._power).mean(0)).astype(np.float32)
        if not self._deltas:
            return {"power": mean_hw}
        delta_kchw = np.concatenate(self._deltas) / max(self._epsilon, np.finfo(np.float32).tiny)
        return {"power": mean_hw, "delta": ((delta_kchw.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)}


def climb(loss: Loss, pixels_bchw: Tensor, numbers: np.ndarray, epsilon: float, steps: int) -> tuple[Tensor, Tensor]:
    """Raise a loss by steps of epsilon / steps along its gradient's sign, within epsilon and [0,1].

    Returns:
        The moved pixels, none of which is further than epsilon from where it was, not even by a rounding; and the loss
        before the first and after each step, [b,steps+1].
    """
    low, high = bounds(pixels_bchw, epsilon)
    moved, found = pixels_bchw, []
    for step in range(steps + 1):
        moved = moved.detach().requires_grad_(step < steps)
        value_b = loss(moved, numbers)
        found.append(value_b.detach().float())
        if step < steps:
            (gradient,) = torch.autograd.grad(value_b.sum(), moved)
            moved = torch.clamp(moved.detach() + epsilon / steps * gradient.sign(), low, high)
    return moved.detach(), torch.stack(found, 1)


def bounds(pixels_bchw: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The lowest and highest float32 within epsilon of each pixel and within [0,1]."""
    pixels = pixels_bchw.detach().cpu()
    exact = pixels.double()
    low, high = (exact - epsilon).clamp_min(0).float(), (exact + epsilon).clamp_max(1).float()
    low = torch.where(exact - low.double() > epsilon, torch.nextafter(low, pixels), low)
    high = torch.where(high.double() - exact > epsilon, torch.nextafter(high, pixels), high)
    return low.to(pixels_bchw.device), high.to(pixels_bchw.device)


def class_loss(model: VisionModel, head: ClassHead, targets_n: Tensor) -> Loss:
    """Cross-entropy of the right answer."""
    if head.weights_dc is not None:
        head = replace(head, weights_dc=head.weights_dc.clone())

    def loss(pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        scores_bc = head(model.capture(pixels_bchw, head.layer)[head.layer])
        return F.cross_entropy(scores_bc, targets_n[numbers].to(scores_bc.device), reduction="none")

    return loss


def feature_loss(subject: Subject, name: str, goal: str) -> Loss:
    """A feature's pooled activation, negative where it is to be lowered.

    Raises:
        ProbeError: The layer has no such feature.
    """
    layer, index = find_feature(subject.model, name)
    sign = -1.0 if goal == "lower" else 1.0
    pooling = "mean" if layer.kind == "vector" else subject.pooling

    def loss(pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        acts = subject.model.capture(pixels_bchw, layer.name)[layer.name]
        return sign * pool(acts, layer, pooling).values_bf[:, index]

    return loss


def _caveats(subject: Subject) -> tuple[str, ...]:
    notes = [
        "Cross-entropy by step is of images that the model knows before the attack: not the same ones of each model."
    ]
    if not any(layer.kind == "tokens" and layer.grid for layer in subject.model.layers):
        notes.append(f"{subject.model.spec} has no patches: its grid is one of 14 x 14 cells.")
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
    context=tuple(
        {"name": f"{name}, adversarially trained, {attack}", "value": value, "source": "Bai et al. 2021", "tag": "code"}
        for name, attack, value in (
            ("RN50-GELU", "PGD-100", "40.27 %"),
            ("DeiT-S", "PGD-100", "40.32 %"),
            ("RN50-GELU", "AutoAttack", "35.51 %"),
            ("DeiT-S", "AutoAttack", "35.50 %"),
        )
    ),
)
