"""How far does each head look? (Mean attention distance of Dosovitskiy et al. 2021, arXiv 2010.11929, figure 7.)"""

import pandas as pd
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.models.preprocessing import as_floats
from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.probe import Findings, Probe, rows_of
from conceptprobe.probes.framework.responses import Condition, Subject
from conceptprobe.validation import CONFIG

BATCH = 16


@dataclass(frozen=True, config=CONFIG)
class AttentionDistance:
    """Settings.

    Attributes:
        renormalise: Bring what a patch pays to the other patches to a sum of one, after the prefix tokens are left out.
    """

    renormalise: bool = True


def run(subject: Subject, items: Items, settings: AttentionDistance, seed: int) -> Findings:
    """Mean distance of every head of every block, in pixels, for each image."""
    model = subject.model
    layers = [layer for layer in model.layers if layer.kind == "attention"]
    found: dict[str, list[Tensor]] = {layer.name: [] for layer in layers}
    levels_nchw = items.pixels(model)
    for start in range(0, len(items), BATCH):
        pixels_bchw = as_floats(levels_nchw[start : start + BATCH].to(model.device))
        with torch.inference_mode():
            for name, probs_bhtt in model.capture(pixels_bchw, list(found)).items():
                layer = next(x for x in layers if x.name == name)
                assert layer.grid is not None, layer
                patch = (pixels_bchw.shape[2] / layer.grid[0], pixels_bchw.shape[3] / layer.grid[1])
                patches_bhpp = probs_bhtt[..., layer.prefix :, layer.prefix :].float()
                found[name].append(distances(patches_bhpp, layer.grid, patch, settings.renormalise).cpu())
    frames: list[pd.DataFrame] = []
    for block, parts in enumerate(found.values()):
        values_nh = torch.cat(parts).numpy()
        about = Condition("mean of heads", block)
        frames.append(rows_of("distance in pixels", about, items.ids, values_nh.mean(1)))
        frames += [
            rows_of("distance in pixels", Condition(f"head {head}", block), items.ids, values_nh[:, head])
            for head in range(values_nh.shape[1])
        ]
    return Findings(pd.concat(frames, ignore_index=True))


def distances(
    probs_bhpp: Tensor, grid: tuple[int, int], patch: tuple[float, float], renormalise: bool = True
) -> Tensor:
    """Mean over query patches of the distance to what they look at, weighted by attention: [b,heads], in pixels.

    Args:
        probs_bhpp: Attention between patches, without prefix tokens.
        patch: Height and width of a patch in pixels.
    """
    device = probs_bhpp.device
    rows, columns = torch.meshgrid(
        torch.arange(grid[0], device=device) * patch[0], torch.arange(grid[1], device=device) * patch[1], indexing="ij"
    )
    places_p2 = torch.stack([rows.flatten(), columns.flatten()], 1).float()
    apart_pp = torch.linalg.vector_norm(places_p2[:, None] - places_p2[None], dim=-1)
    if renormalise:
        probs_bhpp = probs_bhpp / probs_bhpp.sum(-1, keepdim=True).clamp_min(torch.finfo(probs_bhpp.dtype).tiny)
    return (probs_bhpp * apart_pp).sum(-1).mean(-1)


PROBE = Probe(
    name="attention_distance",
    question="How far does each head look, in each block?",
    source="Dosovitskiy et al. 2021, arXiv 2010.11929, figure 7 and appendix D.7",
    settings=AttentionDistance,
    run=run,
    axes={"": "block"},
    needs=frozenset({"attention"}),
)
