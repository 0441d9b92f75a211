"""Does CLS look at the object?

Source: masks of self-attention after DINO, Caron et al. 2021, arXiv 2104.14294.
"""

import dataclasses

import numpy as np
import pandas as pd
import torch
from pydantic import NonNegativeInt
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.models import VisionModel
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.batches import pixel_batches
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import Findings, Probe, published, rows_of
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.randomness import image_generators
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.framework.settings import ProperShare
from conceptprobe.probes.stimuli.objects import PatchedObjects, patched_objects
from conceptprobe.probes.stimuli.saliency import attention_layers, top_cells
from conceptprobe.validation import CONFIG

BATCH = 16
ORACLE = "best head (oracle)"
RANDOM_ORACLE = "best random (oracle)"


@dataclass(frozen=True, config=CONFIG)
class ClsAttention:
    """Settings.

    Attributes:
        mass: The share of the attention to patches that the kept patches hold.
        token: The position of the attending token, such as 1 for DeiT's distillation token; None takes CLS.
        shown: The number of images whose maps are kept.
    """

    mass: ProperShare = 0.6
    token: NonNegativeInt | None = None
    shown: NonNegativeInt = 8


def check(probed: ProbedModel, images: ProbeImages, settings: ClsAttention) -> None:
    """Refuse a model without the attending token, or without a grid of patches."""
    for layer in attention_layers(probed.model):
        if layer.grid is None:
            raise ProbeError(f"{probed.model.spec} has no grid of patches to lay attention on")
        if settings.token is None and layer.cls is None:
            raise ProbeError(f"cls_attention looks at what CLS attends to, and {probed.model.spec} has no CLS token")
        if settings.token is not None and not 0 <= settings.token < layer.prefix:
            raise ProbeError(
                f"token {settings.token}: {probed.model.spec} has {layer.prefix} prefix token(s), "
                f"so give a position below {layer.prefix}"
            )


def run(probed: ProbedModel, images: ProbeImages, settings: ClsAttention, seed: int) -> Findings:
    """Compare the masks of every head of every block with the objects."""
    maps = attention_maps(probed.model, images, settings.token)
    grid = attention_layers(probed.model)[0].grid
    assert grid is not None, probed.model
    objects = patched_objects(images, probed.model, grid)
    frames, caveats = [], [f"{ORACLE} is chosen for every object with its mask in hand: compare {RANDOM_ORACLE}."]
    for block, maps_nhp in maps.items():
        scores = scores_of_block(maps_nhp, objects, images.ids, grid, settings.mass, seed)
        choice = fixed_heads(scores.heads_nh, images.ids, seed)
        frames += _block_frames(scores, choice, block, images.ids)
    first, second = choice.chosen
    caveats.append(
        f"{probed.model.spec}, block {block}: the head that is best on one half of the images and fixed for the other "
        f"is head {first} and head {second}."
    )
    artifacts = _shown_maps(probed.model, images, maps_nhp, grid, settings) if settings.shown else {}
    return Findings(pd.concat(frames, ignore_index=True), artifacts=artifacts, caveats=tuple(caveats))


def attention_maps(model: VisionModel, images: ProbeImages, token: int | None) -> dict[int, np.ndarray]:
    """A token's attention to each patch, as shares of that to all patches: float64 [n,heads,patches] by block."""
    layers = {layer.name: layer for layer in attention_layers(model)}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in layers}

    def record(name: str, probs_bhtt: Tensor) -> None:
        layer = layers[name]
        query = layer.cls if token is None else token
        parts[name].append(probs_bhtt[:, :, query, layer.prefix :].double().cpu().numpy())

    levels_nchw = images.pixels(model)
    with torch.inference_mode():
        for _, pixels_bchw in pixel_batches(model, levels_nchw, BATCH):
            model.visit(pixels_bchw, list(layers), record)
    whole = {int(name.split(".")[1]): np.concatenate(values) for name, values in parts.items()}
    tiny = np.finfo(np.float64).tiny
    return {block: maps_nhp / np.maximum(maps_nhp.sum(-1, keepdims=True), tiny) for block, maps_nhp in whole.items()}


def keep_mass(maps_sp: np.ndarray, mass: float) -> np.ndarray:
    """The fewest patches that hold a share of a map's sum: bool, in the shape of the maps.

    The highest patches come first, and the earlier of equal ones.
    """
    return top_cells(maps_sp, np.argsort(-maps_sp, axis=-1, kind="stable"), mass)


@dataclasses.dataclass(frozen=True, eq=False)
class BlockScores:
    """Jaccard indices in one block, means over the objects of an image; NaN where the image shows none.

    Attributes:
        series: Those of heads together and of controls by name, float [n].
        heads_nh: Those of every head.
        centre_nh: Those of as many central patches as each head keeps.
    """

    series: dict[str, np.ndarray]
    heads_nh: np.ndarray
    centre_nh: np.ndarray


def scores_of_block(
    maps_nhp: np.ndarray,
    objects: list[PatchedObjects],
    ids: tuple[str, ...],
    grid: tuple[int, int],
    mass: float,
    seed: int,
) -> BlockScores:
    """Jaccard indices of the patches that heads keep, of their mean map, and of controls with as many patches."""
    n, heads, patches = maps_nhp.shape
    names = ("mean map", ORACLE, "mean of heads", "centre", RANDOM_ORACLE, "random", "best patches")
    series = {name: np.full(n, np.nan) for name in names}
    heads_nh, centre_nh = np.full((n, heads), np.nan), np.full((n, heads), np.nan)
    central_p = nearest_to_centre(grid)
    for i, (here, stream) in enumerate(zip(objects, image_generators(seed, ids, "patches", 0), strict=True)):
        if not len(here.pixels_kp):
            continue
        kept_hp = keep_mass(maps_nhp[i], mass)
        mean_map_1p = keep_mass(maps_nhp[i].mean(0, keepdims=True), mass)
        kept_h1 = kept_hp.sum(1, keepdims=True)
        order_hp = stream.permuted(np.tile(np.arange(patches), (heads, 1)), axis=1)
        head_hk, random_hk = here.jaccard(kept_hp), here.jaccard(order_hp < kept_h1)
        heads_nh[i], centre_nh[i] = head_hk.mean(1), here.jaccard(central_p < kept_h1).mean(1)
        series["mean of heads"][i], series[ORACLE][i] = head_hk.mean(), head_hk.max(0).mean()
        series["random"][i], series[RANDOM_ORACLE][i] = random_hk.mean(), random_hk.max(0).mean()
        series["mean map"][i] = here.jaccard(mean_map_1p).mean()
        series["centre"][i] = here.jaccard(central_p[None] < mean_map_1p.sum()).mean()
        series["best patches"][i] = here.best_patches().mean()
    return BlockScores(series, heads_nh, centre_nh)


def nearest_to_centre(grid: tuple[int, int]) -> np.ndarray:
    """The rank of each patch by its distance from the image's centre, from 0; the earlier of equal ones first."""
    rows, columns = (2 * np.arange(n) - (n - 1) for n in grid)
    apart_p = (rows[:, None] ** 2 + columns[None] ** 2).ravel()
    return np.argsort(np.argsort(apart_p, kind="stable"), kind="stable")


@dataclasses.dataclass(frozen=True, eq=False)
class FixedHeads:
    """Heads that are selected on one half of the images and scored on the other.

    Attributes:
        chosen: The heads selected on the first and on the second half.
        head_n: For each image the head selected on the other half, int64 [n].
    """

    chosen: tuple[int, int]
    head_n: np.ndarray

    def of(self, value_nh: np.ndarray) -> np.ndarray:
        """Each image's value of its fixed head."""
        return np.take_along_axis(value_nh, self.head_n[:, None], 1)[:, 0]


def fixed_heads(score_nh: np.ndarray, ids: tuple[str, ...], seed: int) -> FixedHeads:
    """Select the best head on each half of the images for the other half."""
    draws = [stream.random() for stream in image_generators(seed, ids, "half", 0)]
    first_n = np.argsort(np.argsort(draws)) < len(ids) // 2
    chosen = (_best_head(score_nh[first_n]), _best_head(score_nh[~first_n]))
    return FixedHeads(chosen, np.where(first_n, chosen[1], chosen[0]))


def _best_head(score_nh: np.ndarray) -> int:
    """The head with the highest mean score; the first where no score is known."""
    known_nh = score_nh[~np.isnan(score_nh).any(1)]
    return int(known_nh.mean(0).argmax()) if len(known_nh) else 0


def _block_frames(scores: BlockScores, choice: FixedHeads, block: int, ids: tuple[str, ...]) -> list[pd.DataFrame]:
    series = scores.series | {"fixed head": choice.of(scores.heads_nh)}
    series |= {f"head {head}": value_n for head, value_n in enumerate(scores.heads_nh.T)}
    gain_nh = scores.heads_nh - scores.centre_nh
    gains = {
        "mean map": scores.series["mean map"] - scores.series["centre"],
        "mean of heads": gain_nh.mean(1),
        "fixed head": choice.of(gain_nh),
    }
    return [
        rows_of(metric, Condition(name, block), ids, value_n)
        for metric, values in (("jaccard", series), ("jaccard - centre", gains))
        for name, value_n in values.items()
    ]


def _shown_maps(
    model: VisionModel, images: ProbeImages, maps_nhp: np.ndarray, grid: tuple[int, int], settings: ClsAttention
) -> dict[str, np.ndarray]:
    """Maps of some images: their numbers, the images, their masks, and attention and kept patches in the last block."""
    chosen = np.unique(np.linspace(0, len(images) - 1, min(settings.shown, len(images))).round().astype(np.int64))
    some = images.at(chosen)
    maps_mhp = maps_nhp[chosen]
    shape = (len(chosen), maps_mhp.shape[1], *grid)
    return {
        "number": chosen,
        "image": some.pixels(model).numpy(),
        "mask": some.masks(model).numpy().astype(np.uint8),
        "attention": maps_mhp.reshape(shape).astype(np.float32),
        "kept": keep_mass(maps_mhp, settings.mass).reshape(shape).astype(np.uint8),
    }


PROBE = Probe(
    name="cls_attention",
    question="Do the patches that CLS attends to show the object?",
    source="Caron et al. 2021, arXiv 2104.14294; Naseer et al. 2021, arXiv 2105.10497",
    settings=ClsAttention,
    run=run,
    axes={"": "block"},
    check=check,
    needs=frozenset({"attention", "masks"}),
    context=(
        *published(
            "Caron et al. 2021",
            "paper",
            {
                "ViT-S/16, Pascal VOC 2012, random / supervised / DINO, mass 60 %, best head": "22.0 / 27.3 / 45.9",
                "ViT-S/8, Pascal VOC 2012, random / supervised / DINO, mass 60 %, best head": "21.8 / 23.7 / 44.7",
            },
        ),
        *published(
            "Naseer et al. 2021",
            "paper",
            {
                "DeiT-S, SIN, distilled CLS, shape token, Pascal VOC 2012, mass 90 %: not comparable with 60 %": (
                    "29.2, 37.5, 42.0, 42.4"
                )
            },
        ),
    ),
)
