"""How far does each head look?

Source: mean attention distance of Dosovitskiy et al. 2021, arXiv 2010.11929, figure 7.
"""

import pandas as pd
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.probes.framework.batches import pixel_batches
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import Findings, Probe, rows_of
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.stimuli.saliency import attention_layers
from conceptprobe.validation import CONFIG

BATCH = 16


@dataclass(frozen=True, config=CONFIG)
class AttentionDistance:
    """Settings.

    Attributes:
        renormalise: Scale the attention of a patch to patches to a sum of one, without the prefix tokens.
    """

    renormalise: bool = True


def run(probed: ProbedModel, images: ProbeImages, settings: AttentionDistance, seed: int) -> Findings:
    """The mean attention distance of every head of every block, in pixels, for each image."""
    model = probed.model
    layers = {layer.name: layer for layer in attention_layers(model)}
    values: dict[str, list[Tensor]] = {name: [] for name in layers}
    levels_nchw = images.pixels(model)
    with torch.inference_mode():
        for _, pixels_bchw in pixel_batches(model, levels_nchw, BATCH):
            for name, probs_bhtt in model.capture(pixels_bchw, list(layers)).items():
                layer = layers[name]
                assert layer.grid is not None, layer
                patch = (pixels_bchw.shape[2] / layer.grid[0], pixels_bchw.shape[3] / layer.grid[1])
                patches_bhpp = probs_bhtt[..., layer.prefix :, layer.prefix :].float()
                values[name].append(distances(patches_bhpp, layer.grid, patch, settings.renormalise).cpu())
    frames: list[pd.DataFrame] = []
    for block, values_bh in enumerate(values.values()):
        values_nh = torch.cat(values_bh).numpy()
        about = Condition("mean of heads", block)
        frames.append(rows_of("distance in pixels", about, images.ids, values_nh.mean(1)))
        frames += [
            rows_of("distance in pixels", Condition(f"head {head}", block), images.ids, values_nh[:, head])
            for head in range(values_nh.shape[1])
        ]
    return Findings(pd.concat(frames, ignore_index=True))


def distances(
    probs_bhpp: Tensor, grid: tuple[int, int], patch: tuple[float, float], renormalise: bool = True
) -> Tensor:
    """The distance from query to key patches, weighted by attention, mean over queries: [b,heads], in pixels.

    Args:
        probs_bhpp: Attention between patches, without prefix tokens.
        grid: Rows and columns of patches.
        patch: Height and width of a patch in pixels.
        renormalise: Scale the attention of each query to a sum of one.
    """
    device = probs_bhpp.device
    rows, columns = torch.meshgrid(
        torch.arange(grid[0], device=device) * patch[0], torch.arange(grid[1], device=device) * patch[1], indexing="ij"
    )
    corners_p2 = torch.stack([rows.flatten(), columns.flatten()], 1).float()
    apart_pp = torch.linalg.vector_norm(corners_p2[:, None] - corners_p2[None], dim=-1)
    if renormalise:
        probs_bhpp = probs_bhpp / probs_bhpp.sum(-1, keepdim=True).clamp_min(torch.finfo(probs_bhpp.dtype).tiny)
    mean_bh: Tensor = (probs_bhpp * apart_pp).sum(-1).mean(-1)
    return mean_bh


PROBE = Probe(
    name="attention_distance",
    question="How far does each head look, in each block?",
    source="Dosovitskiy et al. 2021, arXiv 2010.11929, figure 7 and appendix D.7",
    settings=AttentionDistance,
    run=run,
    axes={"": "block"},
    needs=frozenset({"attention"}),
)
