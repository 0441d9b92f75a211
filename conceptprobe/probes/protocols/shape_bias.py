"""Does a model go by the shape of an object or by its texture?

Source: Geirhos et al. 2019, arXiv 1811.12231; the survival of single features is ours, and so are the stand-ins for
their images.
"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.probes.classifiers.categories import CATEGORIES
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import (
    CLEAN,
    Findings,
    Probe,
    answers,
    clean_response,
    published,
    rows_of_metrics,
    similarities,
)
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.randomness import image_generators
from conceptprobe.probes.framework.responses import Condition, Response, respond
from conceptprobe.probes.framework.survival import SurvivalRecord
from conceptprobe.probes.stimuli.cue_conflict import (
    Cues,
    choose_partners,
    choose_textures,
    decision_rows,
    decisions,
    read_cues,
)
from conceptprobe.probes.stimuli.cue_conflict_images import (
    PATCH,
    Drawing,
    PatchShare,
    background_of,
    drawings,
    fill,
    make_stand_ins,
    preprocess_images,
    quilt,
    silhouette,
)
from conceptprobe.probes.stimuli.distillation_token import distilled_tokens
from conceptprobe.validation import CONFIG

STAND_IN = ", stand-in"
AGAINST_SHAPE, AGAINST_TEXTURE = "stand-in and its shape's source", "stand-in and its texture's source"
PAIRS = 10
LEAST_PAIRED = 2
SHOWN = 8
CONDITIONAL = "Shape bias is of the images that are answered by either cue: not the same ones of each model."


@dataclass(frozen=True, config=CONFIG)
class ShapeBias:
    """Settings.

    Attributes:
        stimuli: "made" makes stand-ins from the images and their masks; "given" takes images that are cue-conflict
            images already, with names as in the public release, such as `airplane1-bear2.png`.
        patch: The side of the texture patches of stand-ins, as a share of an image's shorter side.
    """

    stimuli: Literal["made", "given"] = "made"
    patch: PatchShare = PATCH


def needs(settings: ShapeBias) -> frozenset[str]:
    """Stand-ins need right answers and masks; the images of the release need the sixteen categories."""
    return frozenset({"categories"} if settings.stimuli == "given" else {"classes", "masks"})


def check(probed: ProbedModel, images: ProbeImages, settings: ShapeBias) -> None:
    """Refuse names that are not as in the release, and images of only one class."""
    if settings.stimuli == "given":
        incongruent(images)
        return
    assert images.classes is not None, images
    choose_textures(images.ids, images.classes, 0)
    drawings(images)


def run(probed: ProbedModel, images: ProbeImages, settings: ShapeBias, seed: int) -> Findings:
    """Show a model images whose cues disagree."""
    if settings.stimuli == "given":
        return run_given(probed, images, seed)
    return run_made(probed, images, settings, seed)


def run_given(probed: ProbedModel, images: ProbeImages, seed: int) -> Findings:
    """Show the model cue-conflict images that exist already."""
    images, cues, left_out = incongruent(images)
    levels_nchw = images.pixels(probed.model)
    response = clean_response(probed, images)
    shapes, textures = ([getattr(cue, name) for cue in cues] for name in ("shape_class", "texture_class"))
    rows = conflict_rows(probed, levels_nchw, response, images.ids, shapes, textures, "")
    caveats = [
        f"{len(images)} images whose cues disagree; {left_out} were left out, whose shape and texture are of one "
        "class.",
        "Images share shapes and textures (10 and 3 a class in the public release), which the intervals, over images, "
        "do not count.",
        CONDITIONAL,
    ]
    survival = partner_survival(probed, response, cues, images.ids, seed)
    if survival is None:
        if probed.layers:
            caveats.append(
                "No survival of features: no image shares its shape's class, or its texture's, with another."
            )
        return Findings(rows, caveats=tuple(caveats))
    return Findings(rows, survival.features(), survival.summary(), caveats=tuple(caveats))


def run_made(probed: ProbedModel, images: ProbeImages, settings: ShapeBias, seed: int) -> Findings:
    """Show the model stand-ins, and each cue alone for comparison."""
    assert probed.head is not None, probed
    assert images.classes is not None, images
    model, ids, classes = probed.model, images.ids, images.classes
    drawn, background = drawings(images), background_of(images)
    texture_n, conflict_nchw = make_stand_ins(model, drawn, ids, classes, settings.patch, background, seed)

    clean = clean_response(probed, images)
    targets_n = probed.head.targets(classes)
    record = SurvivalRecord(probed, clean, seed) if probed.layers else None
    frames = rows_of_metrics(answers(scores_of(clean), targets_n), CLEAN, ids)
    for series, make in single_cues(drawn, ids, settings.patch, background, seed).items():
        condition = Condition(series, 0)
        response = respond(probed, preprocess_images(model, make()), condition)
        metrics = similarities(clean.embedding_nd, response.embedding_nd) | answers(scores_of(response), targets_n)
        frames += rows_of_metrics(metrics, condition, ids)
        if record is not None:
            record.add(series, 0, response)

    response = respond(probed, conflict_nchw, Condition("conflict", 0))
    source = clean.at(texture_n)
    for series, embedding_nd in ((AGAINST_SHAPE, clean.embedding_nd), (AGAINST_TEXTURE, source.embedding_nd)):
        frames += rows_of_metrics(similarities(embedding_nd, response.embedding_nd), Condition(series, 0), ids)
    textures = [classes[i] for i in texture_n]
    frames.append(conflict_rows(probed, conflict_nchw, response, ids, classes, textures, STAND_IN))
    rows = pd.concat(frames, ignore_index=True)
    artifacts = {"stand-ins": conflict_nchw[:SHOWN].numpy()}
    caveats = made_caveats(probed, settings)
    if record is None:
        return Findings(rows, artifacts=artifacts, caveats=caveats)
    record.add(AGAINST_SHAPE, 0, response)
    record.add(AGAINST_TEXTURE, 0, response, before=source)
    record.add_difference("stand-in, shape - texture", 0, AGAINST_SHAPE, AGAINST_TEXTURE)
    return Findings(rows, record.features(), record.summary(), artifacts, caveats)


def single_cues(
    drawn: list[Drawing], ids: tuple[str, ...], share: float, background: tuple[int, int, int], seed: int
) -> dict[str, Callable[[], list[np.ndarray]]]:
    """By series, a function that makes images of one cue alone or of two that agree."""

    def quilts() -> list[np.ndarray]:
        streams = image_generators(seed, ids, "own quilt", 0)
        return [quilt(drawing, share, stream) for drawing, stream in zip(drawn, streams, strict=True)]

    return {
        "silhouette": lambda: [silhouette(drawing, background) for drawing in drawn],
        "texture alone": quilts,
        "own texture": lambda: [
            fill(drawing.mask_hw, texture, background) for drawing, texture in zip(drawn, quilts(), strict=True)
        ],
    }


def conflict_rows(
    probed: ProbedModel,
    levels_nchw: Tensor,
    response: Response,
    ids: tuple[str, ...],
    shapes: list[str] | tuple[str, ...],
    textures: list[str],
    suffix: str,
) -> pd.DataFrame:
    """Rows of the model's decisions, and of those of each token of a distilled model."""
    assert probed.head is not None, probed
    shape_n, texture_n = probed.head.targets(shapes), probed.head.targets(textures)
    frames = decision_rows(decisions(scores_of(response), shape_n, texture_n), ids, shapes, "conflict", suffix)
    for token in distilled_tokens(probed.model, levels_nchw) if probed.head.layer == "logits" else ():
        with torch.inference_mode():
            scores_nc = probed.head(token.logits_nc.to(probed.model.device)).cpu().numpy()
        metrics = decisions(scores_nc, shape_n, texture_n)
        frames += rows_of_metrics(metrics, Condition(token.name, 0), ids, suffix)
    return pd.concat(frames, ignore_index=True)


def incongruent(images: ProbeImages) -> tuple[ProbeImages, list[Cues], int]:
    """The images whose cues are of different classes, their cues, and the number of other images.

    Raises:
        ProbeError: A file is not named as in the release, or there are fewer than two such images.
    """
    cues = read_cues(images.ids, CATEGORIES)
    kept = np.array([cue.shape_class != cue.texture_class for cue in cues])
    if kept.sum() < 2:
        raise ProbeError(
            f"{images.source.spec}: shape and texture are of different classes in {kept.sum()} images only"
        )
    return (
        images.at(np.flatnonzero(kept)),
        [cue for cue, keep in zip(cues, kept, strict=True) if keep],
        int((~kept).sum()),
    )


def partner_survival(
    probed: ProbedModel, response: Response, cues: list[Cues], ids: tuple[str, ...], seed: int
) -> SurvivalRecord | None:
    """The survival of features between two images that share only the class of their shape, or of their texture.

    Each image has a random partner in each of ten draws. The result is None where no layer is followed, or too few
    images have partners.
    """
    if not probed.layers:
        return None
    partners = {
        same: [choose_partners(cues, ids, same, seed, draw) for draw in range(PAIRS)] for same in ("shape", "texture")
    }
    kept = np.all([partner_n >= 0 for draws in partners.values() for partner_n in draws], 0)
    if kept.sum() < LEAST_PAIRED:
        return None
    paired = response.at(np.flatnonzero(kept))
    record = SurvivalRecord(probed, paired, seed)
    for same, draws in partners.items():
        for partner_n in draws:
            record.add(f"same {same}", 0, paired, before=response.at(partner_n[kept]))
    record.add_difference("shape - texture", 0, "same shape", "same texture")
    return record


def made_caveats(probed: ProbedModel, settings: ShapeBias) -> tuple[str, ...]:
    """The caveats of stand-ins."""
    assert probed.head is not None, probed
    return (
        "Stand-ins, no cue-conflict images of Geirhos et al.: the silhouette of one image is filled with patches from "
        f"inside another, {settings.patch:.2g} of the image's side wide. No figure of theirs can be compared.",
        f"The model chooses among {len(probed.head.classes)} classes and not among 16. How well it knows each cue "
        "alone is in the series `silhouette` and `texture alone`.",
        CONDITIONAL,
    )


def scores_of(response: Response) -> np.ndarray:
    """The scores of a model that has a head."""
    assert response.scores_nc is not None
    return response.scores_nc


PROBE = Probe(
    name="shape_bias",
    question="Does the model go by an object's shape or by its texture, where the two disagree?",
    source="Geirhos et al. 2019, arXiv 1811.12231",
    settings=ShapeBias,
    run=run,
    check=check,
    needs_more=needs,
    follows=True,
    context=(
        *published(
            "raw data of Geirhos et al. 2019",
            "recomputed",
            {
                "Humans, shape bias on the 1,200 images whose cues disagree": "95.87 %",
                "RN50, shape bias on the 1,200 images whose cues disagree": "22.07 %",
                "RN101, shape bias on the 1,200 images whose cues disagree": "26.12 %",
                "RN50 trained on SIN, shape bias on the 1,200 images whose cues disagree": "80.61 %",
            },
        ),
        *published(
            "Naseer et al. 2021",
            "paper",
            {
                "DeiT-S trained on SIN, shape bias": "0.93",
                "DeiT distilled, class token, shape bias": "0.39",
                "DeiT distilled, shape token, shape bias": "0.47",
            },
        ),
    ),
)
