"""Does a model go by the shape of an object or by its texture? (Geirhos et al. 2019, arXiv 1811.12231; what single
features go by is ours, and so are the stand-ins for their images.)"""

from collections.abc import Callable
from typing import Literal

import numpy as np
import pandas as pd
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.probes.classifiers.categories import CATEGORIES
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.probe import CLEAN, Findings, Probe, alikeness, answers, clean_response, rows_of
from conceptprobe.probes.framework.responses import Condition, Response, Subject, image_generators, respond
from conceptprobe.probes.framework.survival import SurvivalRecord
from conceptprobe.probes.stimuli.cue_conflict import (
    Cues,
    choose_alike,
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
    conflicts,
    drawings,
    fill,
    quilt,
    seen,
    silhouette,
)
from conceptprobe.probes.stimuli.distillation_token import own_tokens
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
        stimuli: "made": stand-ins, made of the images and their masks; "given": the images are cue-conflict images
            already and named as in the public release, such as `airplane1-bear2.png`.
        patch: The side of the patches that stand-ins get their texture from, as a share of an image's shorter side.
    """

    stimuli: Literal["made", "given"] = "made"
    patch: PatchShare = PATCH


def needs(settings: ShapeBias) -> frozenset[str]:
    """Stand-ins need right answers and masks; the release's images are told apart by sixteen categories."""
    return frozenset({"categories"} if settings.stimuli == "given" else {"classes", "masks"})


def check(subject: Subject, items: Items, settings: ShapeBias) -> None:
    """Refuse names that are not the release's, and images of one class only."""
    if settings.stimuli == "given":
        incongruent(items)
        return
    assert items.classes is not None, items
    choose_textures(items.ids, items.classes, 0)
    drawings(items)


def run(subject: Subject, items: Items, settings: ShapeBias, seed: int) -> Findings:
    """Show a model the images whose cues disagree."""
    if settings.stimuli == "given":
        return run_given(subject, items, seed)
    return run_made(subject, items, settings, seed)


def run_given(subject: Subject, items: Items, seed: int) -> Findings:
    """Cue-conflict images as they are."""
    items, cues, left_out = incongruent(items)
    levels_nchw = items.pixels(subject.model)
    response = clean_response(subject, items)
    shapes, textures = ([getattr(cue, name) for cue in cues] for name in ("shape_class", "texture_class"))
    rows = conflict_rows(subject, levels_nchw, response, items.ids, shapes, textures, "")
    caveats = [
        f"{len(items)} images whose cues disagree; {left_out} were left out, whose shape and texture are of one class.",
        "Images share shapes and textures (10 and 3 a class in the public release), which the intervals, over images, "
        "do not count.",
        CONDITIONAL,
    ]
    survival = alike_survival(subject, response, cues, items.ids, seed)
    if survival is None:
        if subject.layers:
            caveats.append(
                "No survival of features: no image shares its shape's class, or its texture's, with another."
            )
        return Findings(rows, caveats=tuple(caveats))
    return Findings(rows, survival.features(), survival.summary(), caveats=tuple(caveats))


def run_made(subject: Subject, items: Items, settings: ShapeBias, seed: int) -> Findings:
    """Stand-ins: the silhouette of each image filled with a texture of another; and each cue alone for comparison."""
    assert subject.head is not None, subject
    assert items.classes is not None, items
    model, ids, classes = subject.model, items.ids, items.classes
    drawn, background = drawings(items), background_of(items)
    texture_n = choose_textures(ids, classes, seed)
    streams = image_generators(seed, ids, "quilt", 0)
    conflict_nchw = seen(model, conflicts(drawn, texture_n, streams, settings.patch, background))

    clean = clean_response(subject, items)
    targets_n = subject.head.targets(classes)
    record = SurvivalRecord(subject, clean, seed) if subject.layers else None
    frames = [rows_of(name, CLEAN, ids, values_n) for name, values_n in answers(scores_of(clean), targets_n).items()]
    for series, make in single_cues(drawn, ids, settings.patch, background, seed).items():
        condition = Condition(series, 0)
        response = respond(subject, seen(model, make()), condition)
        metrics = alikeness(clean.gist_nd, response.gist_nd) | answers(scores_of(response), targets_n)
        frames += [rows_of(name, condition, ids, values_n) for name, values_n in metrics.items()]
        if record is not None:
            record.add(series, 0, response)

    response = respond(subject, conflict_nchw, Condition("conflict", 0))
    source = Response(None, clean.gist_nd[texture_n], {name: acts[texture_n] for name, acts in clean.acts.items()})
    for series, gist_nd in ((AGAINST_SHAPE, clean.gist_nd), (AGAINST_TEXTURE, source.gist_nd)):
        metrics = alikeness(gist_nd, response.gist_nd)
        frames += [rows_of(name, Condition(series, 0), ids, values_n) for name, values_n in metrics.items()]
    textures = [classes[i] for i in texture_n]
    frames.append(conflict_rows(subject, conflict_nchw, response, ids, classes, textures, STAND_IN))
    rows = pd.concat(frames, ignore_index=True)
    artifacts = {"stand-ins": conflict_nchw[:SHOWN].numpy()}
    caveats = made_caveats(subject, settings)
    if record is None:
        return Findings(rows, artifacts=artifacts, caveats=caveats)
    record.add(AGAINST_SHAPE, 0, response)
    record.add(AGAINST_TEXTURE, 0, response, before=source)
    record.add_difference("stand-in, shape - texture", 0, AGAINST_SHAPE, AGAINST_TEXTURE)
    return Findings(rows, record.features(), record.summary(), artifacts, caveats)


def single_cues(
    drawn: list[Drawing], ids: tuple[str, ...], share: float, background: tuple[int, int, int], seed: int
) -> dict[str, Callable[[], list[np.ndarray]]]:
    """By series, what makes images of one cue alone, or of two that agree."""

    def quilts() -> list[np.ndarray]:
        streams = image_generators(seed, ids, "own quilt", 0)
        return [quilt(drawing, share, stream) for drawing, stream in zip(drawn, streams, strict=True)]

    return {
        "silhouette": lambda: [silhouette(drawing, background) for drawing in drawn],
        "texture alone": quilts,
        "own texture": lambda: [
            fill(drawing.mask_hw, own, background) for drawing, own in zip(drawn, quilts(), strict=True)
        ],
    }


def conflict_rows(
    subject: Subject,
    levels_nchw: Tensor,
    response: Response,
    ids: tuple[str, ...],
    shapes: list[str] | tuple[str, ...],
    textures: list[str],
    suffix: str,
) -> pd.DataFrame:
    """Decisions of the model, and of each of its two tokens where it is distilled into one."""
    assert subject.head is not None, subject
    shape_n, texture_n = subject.head.targets(shapes), subject.head.targets(textures)
    frames = decision_rows(decisions(scores_of(response), shape_n, texture_n), ids, shapes, "conflict", suffix)
    for token in own_tokens(subject.model, levels_nchw) if subject.head.layer == "logits" else ():
        with torch.inference_mode():
            scores_nc = subject.head(token.logits_nc.to(subject.model.device)).cpu().numpy()
        metrics = decisions(scores_nc, shape_n, texture_n)
        about = Condition(token.name, 0)
        frames += [rows_of(name + suffix, about, ids, values_n) for name, values_n in metrics.items()]
    return pd.concat(frames, ignore_index=True)


def incongruent(items: Items) -> tuple[Items, list[Cues], int]:
    """The images whose cues are of different classes, their cues, and how many others there are.

    Raises:
        ProbeError: A file is not named as in the release, or fewer than two images are left.
    """
    cues = read_cues(items.ids, CATEGORIES)
    kept = np.array([cue.shape_class != cue.texture_class for cue in cues])
    if kept.sum() < 2:
        raise ProbeError(f"{items.source.spec}: shape and texture are of different classes in {kept.sum()} images only")
    return (
        items.at(np.flatnonzero(kept)),
        [cue for cue, keep in zip(cues, kept, strict=True) if keep],
        int((~kept).sum()),
    )


def alike_survival(
    subject: Subject, response: Response, cues: list[Cues], ids: tuple[str, ...], seed: int
) -> SurvivalRecord | None:
    """How alike features respond to two images of one shape, and of one texture, that share nothing else; a random
    partner in each of ten draws. None where no layer is followed, or too few images have such partners."""
    if not subject.layers:
        return None
    partners = {
        same: [choose_alike(cues, ids, same, seed, draw) for draw in range(PAIRS)] for same in ("shape", "texture")
    }
    kept = np.all([partner_n >= 0 for draws in partners.values() for partner_n in draws], 0)
    if kept.sum() < LEAST_PAIRED:
        return None

    def pick(numbers: np.ndarray) -> Response:
        return Response(None, response.gist_nd[numbers], {name: acts[numbers] for name, acts in response.acts.items()})

    own = pick(np.flatnonzero(kept))
    record = SurvivalRecord(subject, own, seed)
    for same, draws in partners.items():
        for partner_n in draws:
            record.add(f"same {same}", 0, own, before=pick(partner_n[kept]))
    record.add_difference("shape - texture", 0, "same shape", "same texture")
    return record


def made_caveats(subject: Subject, settings: ShapeBias) -> tuple[str, ...]:
    """What stand-ins are, and what they are not."""
    assert subject.head is not None, subject
    return (
        "Stand-ins, no cue-conflict images of Geirhos et al.: the silhouette of one image is filled with patches from "
        f"inside another, {settings.patch:.2g} of the image's side wide. No figure of theirs can be compared.",
        f"The model chooses among {len(subject.head.classes)} classes and not among 16. How well it knows each cue "
        "alone is in the series `silhouette` and `texture alone`.",
        CONDITIONAL,
    )


def scores_of(response: Response) -> np.ndarray:
    """The scores of a subject that has a head."""
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
        *(
            {"name": f"{name}, shape bias on the 1,200 images whose cues disagree", "value": f"{value} %",
             "source": "raw data of Geirhos et al. 2019", "tag": "recomputed"}
            for name, value in (("Humans", 95.87), ("RN50", 22.07), ("RN101", 26.12), ("RN50 trained on SIN", 80.61))
        ),
        *(
            {"name": f"{name}, shape bias", "value": f"{value:.2f}", "source": "Naseer et al. 2021", "tag": "paper"}
            for name, value in (
                ("DeiT-S trained on SIN", 0.93), ("DeiT distilled, class token", 0.39),
                ("DeiT distilled, shape token", 0.47),
            )
        ),
    ),
)  # fmt: skip
