"""How far must patches look?

Source: attention masked by distance, after Bhojanapalli et al. 2021, arXiv 2103.14586.
"""

import functools
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from pydantic import NonNegativeInt
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.models import Layer, VisionModel
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import Findings, Probe, run_conditions
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.framework.settings import Several
from conceptprobe.probes.stimuli.saliency import attention_layers
from conceptprobe.validation import CONFIG


@dataclass(frozen=True, config=CONFIG)
class LocalAttention:
    """Settings.

    Attributes:
        radii: How far a patch may look up, down and sideways, in patches; at 0 it sees only itself.
        relay: Whether patches also see the prefix tokens, which see everything and can relay what is far away.
    """

    radii: Several[NonNegativeInt] = (0, 1, 2, 3, 4, 6, 8, 12)
    relay: bool = True


def run(probed: ProbedModel, images: ProbeImages, settings: LocalAttention, seed: int) -> Findings:
    """Restrict what every patch sees in every block; prefix tokens (CLS, registers) see everything.

    Radii that hide nothing are left out and named in the caveats. Without relay, the smallest radius of the whole grid
    still hides the prefix tokens and stays.
    """
    radii = hiding_radii(probed, settings)
    series = "local" if settings.relay else "local, no relay"
    conditions = [
        Condition(series, radius, context=functools.partial(localised, radius=radius, relay=settings.relay))
        for radius in radii
    ]
    findings = run_conditions(probed, images, conditions, seed)
    return replace(findings, caveats=_caveats(probed, settings, radii))


def hiding_radii(probed: ProbedModel, settings: LocalAttention) -> list[int]:
    """The radii that hide something in the model's grid of patches.

    Raises:
        ProbeError: No radius does, or the model has no grid of patches.
    """
    layers = attention_layers(probed.model)
    grids = [layer.grid for layer in layers if layer.grid is not None]
    if len(grids) < len(layers) or not grids:
        raise ProbeError(f"{probed.model.spec} has no grid of patches to measure a radius in")
    widest = max(max(grid) - 1 for grid in grids)
    hides_prefix = not settings.relay and any(layer.prefix for layer in layers)
    whole = min((radius for radius in settings.radii if radius >= widest), default=None)  # all of these are alike
    hiding = [radius for radius in settings.radii if radius < widest or (hides_prefix and radius == whole)]
    if not hiding:
        raise ProbeError(
            f"radii {settings.radii} hide nothing: {probed.model.spec} has {grids[0][0]} x {grids[0][1]} patches, "
            f"so give radii below {widest}"
        )
    return hiding


def localised(model: VisionModel, *, radius: int, relay: bool) -> AbstractContextManager[object]:
    """The model with patches that look no further than a radius."""
    return model.intervene(
        {
            layer.name: functools.partial(attend_within, seen_tt=visible(layer, radius, relay).to(model.device))
            for layer in attention_layers(model)
        }
    )


def visible(layer: Layer, radius: int, relay: bool = True) -> Tensor:
    """Which token sees which, bool [query,key].

    Prefix tokens see all tokens; a patch sees the square of patches around it and, with `relay`, the prefix tokens.
    """
    assert layer.grid is not None, layer
    rows, columns = (torch.arange(n, device="cpu") for n in layer.grid)
    positions_p2 = torch.cartesian_prod(rows, columns)
    near_pp = (positions_p2[:, None] - positions_p2[None]).abs().amax(-1) <= radius
    tokens = layer.prefix + len(near_pp)
    seen_tt = torch.ones(tokens, tokens, dtype=torch.bool, device="cpu")
    seen_tt[layer.prefix :, layer.prefix :] = near_pp
    seen_tt[layer.prefix :, : layer.prefix] = relay
    return seen_tt


def attend_within(probs_bhtt: Tensor, seen_tt: Tensor) -> Tensor:
    """Attention with an additive mask before the softmax: softmax(s + log m) = m softmax(s) / sum(m softmax(s)).

    A query whose visible keys all underflow attends to nothing.
    """
    kept_bhtt = probs_bhtt.float() * seen_tt
    return kept_bhtt / kept_bhtt.sum(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)


def _caveats(probed: ProbedModel, settings: LocalAttention, radii: list[int]) -> tuple[str, ...]:
    layer = attention_layers(probed.model)[0]
    notes = []
    if settings.relay and layer.prefix:
        notes.append(
            f"{probed.model.spec}: patches still see {layer.prefix} prefix token(s), which see everything: what is "
            "far away can reach a patch within two blocks. relay=False hides them from patches."
        )
    if left_out := [str(radius) for radius in settings.radii if radius not in radii]:
        rows, columns = layer.grid or (0, 0)
        notes.append(
            f"{probed.model.spec}: radii {', '.join(left_out)} left out, which hide none of {rows} x {columns} patches."
        )
    return tuple(notes)


PROBE = Probe(
    name="local_attention",
    question="How far must patches look for the model to know an image?",
    source="Bhojanapalli et al. 2021, arXiv 2103.14586",
    settings=LocalAttention,
    run=run,
    axes={"": "radius in patches"},
    check=lambda probed, images, settings: hiding_radii(probed, settings),
    needs=frozenset({"answers", "attention"}),
    follows=True,
)
