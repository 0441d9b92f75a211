"""Does CLS look at the object? (Masks of self-attention after DINO, Caron et al. 2021, arXiv 2104.14294.)"""

import dataclasses

import numpy as np
import pandas as pd
import torch
from pydantic import NonNegativeInt
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.models import VisionModel
from conceptprobe.models.preprocessing import as_floats
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.probe import Findings, Probe, rows_of
from conceptprobe.probes.framework.responses import Condition, Subject, image_generators
from conceptprobe.probes.framework.settings import ProperShare
from conceptprobe.probes.stimuli.objects import PatchedObjects, patched_objects
from conceptprobe.probes.stimuli.saliency import attention_layers, holding
from conceptprobe.validation import CONFIG

BATCH = 16
ORACLE = "best head (oracle)"
RANDOM_ORACLE = "best random (oracle)"


@dataclass(frozen=True, config=CONFIG)
class ClsAttention:
    """Settings.

    Attributes:
        mass: The share of the attention to patches that the kept patches hold.
        token: The position of the token that looks, such as 1 for DeiT's distillation token; None takes CLS.
        shown: Of how many images the maps are kept.
    """

    mass: ProperShare = 0.6
    token: NonNegativeInt | None = None
    shown: NonNegativeInt = 8


def check(subject: Subject, items: Items, settings: ClsAttention) -> None:
    """Refuse a model without the token that looks, or without a grid of patches."""
    for layer in attention_layers(subject.model):
        if layer.grid is None:
            raise ProbeError(f"{subject.model.spec} has no grid of patches to lay attention on")
        if settings.token is None and layer.cls is None:
            raise ProbeError(f"cls_attention looks at what CLS attends to, and {subject.model.spec} has no CLS token")
        if settings.token is not None and not 0 <= settings.token < layer.prefix:
            raise ProbeError(
                f"token {settings.token}: {subject.model.spec} has {layer.prefix} prefix token(s), "
                f"so give a position below {layer.prefix}"
            )


def run(subject: Subject, items: Items, settings: ClsAttention, seed: int) -> Findings:
    """Masks of every head of every block, against the objects."""
    maps = attention_maps(subject.model, items, settings.token)
    grid = attention_layers(subject.model)[0].grid
    assert grid is not None, subject.model
    objects = patched_objects(items, subject.model, grid)
    frames, caveats = [], [f"{ORACLE} is chosen for every object with its mask in hand: compare {RANDOM_ORACLE}."]
    for block, maps_nhp in maps.items():
        found = scores_of_block(maps_nhp, objects, items.ids, grid, settings.mass, seed)
        choice = fixed_heads(found.heads_nh, items.ids, seed)
        frames += _block_frames(found, choice, block, items.ids)
    first, second = choice.chosen
    caveats.append(
        f"{subject.model.spec}, block {block}: the head that is best on one half of the images and fixed for the other "
        f"is head {first} and head {second}."
    )
    artifacts = _shown_maps(subject.model, items, maps_nhp, grid, settings) if settings.shown else {}
    return Findings(pd.concat(frames, ignore_index=True), artifacts=artifacts, caveats=tuple(caveats))


def attention_maps(model: VisionModel, items: Items, token: int | None) -> dict[int, np.ndarray]:
    """What a token pays to each patch, in shares of what it pays to all patches: float64 [n,heads,patches] a block."""
    layers = {layer.name: layer for layer in attention_layers(model)}
    parts: dict[str, list[np.ndarray]] = {name: [] for name in layers}

    def see(name: str, probs_bhtt: Tensor) -> None:
        layer = layers[name]
        query = layer.cls if token is None else token
        parts[name].append(probs_bhtt[:, :, query, layer.prefix :].double().cpu().numpy())

    levels_nchw = items.pixels(model)
    with torch.inference_mode():
        for start in range(0, len(items), BATCH):
            model.visit(as_floats(levels_nchw[start : start + BATCH].to(model.device)), list(layers), see)
    whole = {int(name.split(".")[1]): np.concatenate(values) for name, values in parts.items()}
    tiny = np.finfo(np.float64).tiny
    return {block: maps_nhp / np.maximum(maps_nhp.sum(-1, keepdims=True), tiny) for block, maps_nhp in whole.items()}


def keep_mass(maps_sp: np.ndarray, mass: float) -> np.ndarray:
    """The fewest patches that hold a share of a map's sum, the highest first: bool, in the shape of the maps.

    Of equal patches the first are kept.
    """
    return holding(maps_sp, np.argsort(-maps_sp, axis=-1, kind="stable"), mass)


@dataclasses.dataclass(frozen=True, eq=False)
class BlockScores:
    """Jaccard in one block, means over the objects of an image; NaN where it shows none.

    Attributes:
        series: By name, float [n].
        heads_nh: Of every head.
        centre_nh: Of as many central patches as each head keeps.
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
    """Jaccard of what heads keep, of their mean map, and of controls that keep as many patches."""
    n, heads, patches = maps_nhp.shape
    names = ("mean map", ORACLE, "mean of heads", "centre", RANDOM_ORACLE, "random", "best patches")
    found = {name: np.full(n, np.nan) for name in names}
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
        found["mean of heads"][i], found[ORACLE][i] = head_hk.mean(), head_hk.max(0).mean()
        found["random"][i], found[RANDOM_ORACLE][i] = random_hk.mean(), random_hk.max(0).mean()
        found["mean map"][i] = here.jaccard(mean_map_1p).mean()
        found["centre"][i] = here.jaccard(central_p[None] < mean_map_1p.sum()).mean()
        found["best patches"][i] = here.best_patches().mean()
    return BlockScores(found, heads_nh, centre_nh)


def nearest_to_centre(grid: tuple[int, int]) -> np.ndarray:
    """The rank of each patch by its distance from the image's centre, 0 the nearest; of equal ones the first."""
    rows, columns = (2 * np.arange(n) - (n - 1) for n in grid)
    apart_p = (rows[:, None] ** 2 + columns[None] ** 2).ravel()
    return np.argsort(np.argsort(apart_p, kind="stable"), kind="stable")


@dataclasses.dataclass(frozen=True, eq=False)
class FixedHeads:
    """The heads chosen on the first and the second half of the images, and for each image the one that the other half
    chose, int64 [n]."""

    chosen: tuple[int, int]
    head_n: np.ndarray

    def of(self, value_nh: np.ndarray) -> np.ndarray:
        """Each image's value of the head that is fixed for it."""
        return np.take_along_axis(value_nh, self.head_n[:, None], 1)[:, 0]


def fixed_heads(score_nh: np.ndarray, ids: tuple[str, ...], seed: int) -> FixedHeads:
    """The head that is best on one half of the images, for the other half, and the reverse."""
    draws = [stream.random() for stream in image_generators(seed, ids, "half", 0)]
    first_n = np.argsort(np.argsort(draws)) < len(ids) // 2
    chosen = (_best_head(score_nh[first_n]), _best_head(score_nh[~first_n]))
    return FixedHeads(chosen, np.where(first_n, chosen[1], chosen[0]))


def _best_head(score_nh: np.ndarray) -> int:
    """Without any known score the first."""
    known_nh = score_nh[~np.isnan(score_nh).any(1)]
    return int(known_nh.mean(0).argmax()) if len(known_nh) else 0


def _block_frames(found: BlockScores, choice: FixedHeads, block: int, ids: tuple[str, ...]) -> list[pd.DataFrame]:
    series = found.series | {"fixed head": choice.of(found.heads_nh)}
    series |= {f"head {head}": value_n for head, value_n in enumerate(found.heads_nh.T)}
    gain_nh = found.heads_nh - found.centre_nh
    gains = {
        "mean map": found.series["mean map"] - found.series["centre"],
        "mean of heads": gain_nh.mean(1),
        "fixed head": choice.of(gain_nh),
    }
    return [
        rows_of(metric, Condition(name, block), ids, value_n)
        for metric, values in (("jaccard", series), ("jaccard - centre", gains))
        for name, value_n in values.items()
    ]


def _shown_maps(
    model: VisionModel, items: Items, maps_nhp: np.ndarray, grid: tuple[int, int], settings: ClsAttention
) -> dict[str, np.ndarray]:
    """Of some images, spread over all: which they are, what the model sees, its masks, and the last block's maps."""
    chosen = np.unique(np.linspace(0, len(items) - 1, min(settings.shown, len(items))).round().astype(np.int64))
    some = items.at(chosen)
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
        *(
            {"name": f"{name}, Pascal VOC 2012, random / supervised / DINO, mass 60 %, best head", "value": value,
             "source": "Caron et al. 2021", "tag": "paper"}
            for name, value in (("ViT-S/16", "22.0 / 27.3 / 45.9"), ("ViT-S/8", "21.8 / 23.7 / 44.7"))
        ),
        {"name": "DeiT-S, SIN, distilled CLS, shape token, Pascal VOC 2012, mass 90 %: not comparable with 60 %",
         "value": "29.2, 37.5, 42.0, 42.4", "source": "Naseer et al. 2021", "tag": "paper"},
    ),
)  # fmt: skip
