"""Can a second token learn shape while the class token learns the classes?

Source: a toy of the shape distillation of Naseer et al. 2021, arXiv 2105.10497, section 3.2, with a few steps of
training on few images above a frozen model.
"""

import functools
import warnings

import numpy as np
import pandas as pd
import torch
from pydantic import PositiveInt
from pydantic.dataclasses import dataclass
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from conceptprobe.models import Layer, VisionModel
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.batches import pixel_batches
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import (
    Findings,
    Probe,
    published,
    rows_of,
    rows_of_metrics,
    similarities,
)
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.randomness import image_generators
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.framework.settings import PositiveNumber, Share
from conceptprobe.probes.stimuli.cue_conflict import decisions
from conceptprobe.probes.stimuli.cue_conflict_images import (
    PATCH,
    PatchShare,
    background_of,
    drawings,
    make_stand_ins,
    preprocess_images,
    silhouette,
)
from conceptprobe.probes.stimuli.distillation_token import distillation_loss, distilled_tokens, read_tokens, train
from conceptprobe.validation import CONFIG

TOY = ", toy"
BATCH = 64
TEST_SHARE = 1 / 3
FOLDS = 4
LEAST = 3 * FOLDS
"""Images that a class must have, so that two thirds of them reach every fold."""
COARSE = "group"
INVERSE_PENALTY = 0.1
FLOOR = 1e-6
TEACHERS = ("texture-free teacher", "plain teacher")


@dataclass(frozen=True, config=CONFIG)
class ShapeDistillation:
    """Settings.

    Attributes:
        alpha: The weight of the second token's loss.
        tau: The temperature of that loss.
        steps: Training steps of 64 images each.
        rate: The learning rate of AdamW.
        column: The column of the classes; if empty, `group` where the images have it, else `label`.
        patch: As in `shape_bias`.
    """

    alpha: Share = 0.5
    tau: PositiveNumber = 1.0
    steps: PositiveInt = 100
    rate: PositiveNumber = 1e-3
    column: str = ""
    patch: PatchShare = PATCH


def check(probed: ProbedModel, images: ProbeImages, settings: ShapeDistillation) -> None:
    """Refuse models without tokens, and images of too few classes."""
    token_layer(probed.model)
    drawings(learnable(images, settings.column)[0])


def run(probed: ProbedModel, images: ProbeImages, settings: ShapeDistillation, seed: int) -> Findings:
    """Train one student by a teacher that sees silhouettes and one by a teacher that sees the images; test both."""
    whole = len(images)
    images, classes = learnable(images, settings.column)
    names, targets_n = np.unique(np.asarray(classes), return_inverse=True)
    drawn, background = drawings(images), background_of(images)
    model, layer = probed.model, token_layer(probed.model)
    test_n = split(images.ids, targets_n, seed)
    test_ids = images.at(np.flatnonzero(test_n)).ids

    images_nchw = images.pixels(model)
    plain_ntc = frozen_tokens(model, layer, images_nchw)
    bare_ntc = frozen_tokens(
        model, layer, preprocess_images(model, [silhouette(drawing, background) for drawing in drawn])
    )
    tested = [drawing for drawing, is_test in zip(drawn, test_n, strict=True) if is_test]
    test_classes = [classes[i] for i in np.flatnonzero(test_n)]
    texture_n, conflict_nchw = make_stand_ins(model, tested, test_ids, test_classes, settings.patch, background, seed)
    conflict_ntc = frozen_tokens(model, layer, conflict_nchw)

    answers_n = targets_n[test_n]
    loss = functools.partial(distillation_loss, alpha=settings.alpha, tau=settings.tau)
    frames, artifacts = list[pd.DataFrame](), {"stand-ins": conflict_nchw[:8].numpy()}
    for kind, shown_ntc in zip(TEACHERS, (bare_ntc, plain_ntc), strict=True):
        shown_nc = shown_ntc.mean(1).numpy()
        logits_nc, teacher = teach(shown_nc[~test_n], targets_n[~test_n], seed)
        right_n = teacher.predict(shown_nc[test_n]) == answers_n
        frames.append(rows_of("correct", Condition(kind, 0), test_ids, right_n))
        student, losses = train(
            plain_ntc[~test_n], torch.from_numpy(targets_n[~test_n]), torch.from_numpy(logits_nc), loss=loss,
            steps=settings.steps, rate=settings.rate, seed=seed, device=model.device,
        )  # fmt: skip
        artifacts[f"loss by step, {kind}"] = losses
        clean = read_tokens(student, plain_ntc[test_n])
        frames += student_rows(kind, test_ids, clean, read_tokens(student, conflict_ntc)[1], answers_n, texture_n)
    tokens = distilled_tokens(model, images_nchw[torch.from_numpy(test_n)])
    if tokens:
        cosine_n = similarities(*(token.value_nc.cpu().numpy() for token in tokens))["cosine"]
        frames.append(rows_of("cosine of the two tokens", Condition("the model's own", 0), test_ids, cosine_n))
    notes = caveats(settings, whole, len(images), int(test_n.sum()), names.tolist())
    return Findings(pd.concat(frames, ignore_index=True), artifacts=artifacts, caveats=notes)


def student_rows(
    kind: str,
    ids: tuple[str, ...],
    clean: tuple[np.ndarray, np.ndarray],
    conflict_n2c: np.ndarray,
    answers_n: np.ndarray,
    texture_n: np.ndarray,
) -> list[pd.DataFrame]:
    """Rows of the answers of a student's two tokens on images and stand-ins, and of the tokens' similarity.

    Args:
        kind: The teacher of the student, of `TEACHERS`.
        ids: Ids of the images.
        clean: The two tokens of the images [n,2,c] and their logits [n,2,classes].
        conflict_n2c: Logits of the stand-ins.
        answers_n: Classes of the images, and so of the stand-ins' shapes.
        texture_n: The number of the image whose texture each stand-in has.
    """
    tokens_n2c, logits_n2c = clean
    second = "shape token" if kind == TEACHERS[0] else "second token"
    frames, preferred = [], []
    for i, name in enumerate(("class token", second)):
        about = Condition(f"{name}, {kind}", 0)
        frames.append(rows_of("correct" + TOY, about, ids, logits_n2c[:, i].argmax(1) == answers_n))
        metrics = decisions(conflict_n2c[:, i], answers_n, answers_n[texture_n])
        preferred.append(metrics["shape over texture"])
        frames += rows_of_metrics(metrics, about, ids, TOY)
    about = Condition(kind, 0)
    difference_n = preferred[1] - preferred[0]
    frames.append(rows_of("shape over texture, second - class token" + TOY, about, ids, difference_n))
    cosine_n = similarities(tokens_n2c[:, 0], tokens_n2c[:, 1])["cosine"]
    frames.append(rows_of("cosine of the two tokens", about, ids, cosine_n))
    return frames


def token_layer(model: VisionModel) -> Layer:
    """The layer whose patches the student reads: `final`, or the last layer of tokens.

    Raises:
        ProbeError: The model has no tokens.
    """
    layers = [layer for layer in model.layers if layer.kind == "tokens" and layer.grid is not None]
    if not layers:
        raise ProbeError(f"shape_distillation adds a token to a ViT's, and {model.spec} has no tokens")
    return next((layer for layer in layers if layer.name == "final"), layers[-1])


def frozen_tokens(model: VisionModel, layer: Layer, levels_nchw: Tensor) -> Tensor:
    """The patch tokens of images, float32 [n,t,c], on the CPU."""
    tokens = []
    with torch.inference_mode():
        for _, pixels_bchw in pixel_batches(model, levels_nchw, BATCH):
            acts_btc = model.capture(pixels_bchw, layer.name)[layer.name]
            tokens.append(acts_btc[:, layer.prefix :].float().cpu())
    return torch.cat(tokens).clone()


def learnable(images: ProbeImages, column: str) -> tuple[ProbeImages, list[str]]:
    """The images of classes with enough images, and their classes.

    Raises:
        ProbeError: The images have no such column, or too few classes have enough images.
    """
    table = images.source.table
    column = column or (COARSE if COARSE in table.column_names else "label")
    if column not in table.column_names:
        raise ProbeError(f"{images.source.spec} has no column {column!r}; it has {', '.join(table.column_names)}")
    classes = np.array([name or "" for name in table[column].take(images.rows).to_pylist()], object)
    names, counts = np.unique(classes[classes != ""], return_counts=True)
    kept = np.isin(classes, names[counts >= LEAST])
    if (counts >= LEAST).sum() < 2:
        raise ProbeError(
            f"{images.source.spec}: {(counts >= LEAST).sum()} classes of {column!r} have {LEAST} images among the "
            f"{len(images)}, which two must have: take more images, or set column to a coarser one"
        )
    return images.at(np.flatnonzero(kept)), classes[kept].tolist()


def split(ids: tuple[str, ...], targets_n: np.ndarray, seed: int) -> np.ndarray:
    """Which images are tested and not trained on, bool [n]: a random third of each class, by the ids."""
    draws_n = np.array([stream.random() for stream in image_generators(seed, ids, "tested", 0)])
    test_n = np.zeros(len(ids), bool)
    for class_ in range(int(targets_n.max()) + 1):
        members = np.flatnonzero(targets_n == class_)
        test_n[members[np.argsort(draws_n[members])[: round(TEST_SHARE * len(members))]]] = True
    return test_n


def teach(shown_nc: np.ndarray, targets_n: np.ndarray, seed: int) -> tuple[np.ndarray, Pipeline]:
    """A linear teacher on mean tokens.

    Returns:
        Log-probabilities float32 [n,classes] of the images, each by a teacher that has not seen it (four folds); and
        the teacher that has seen all.
    """
    teacher = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="lbfgs failed to converge")  # near enough for a teacher
        probability_nc = cross_val_predict(teacher, shown_nc, targets_n, cv=folds, method="predict_proba")
        teacher.fit(shown_nc, targets_n)
    return np.log(np.maximum(probability_nc, FLOOR)).astype(np.float32), teacher


def caveats(settings: ShapeDistillation, whole: int, used: int, tested: int, names: list[str]) -> tuple[str, ...]:
    """The caveats of a toy."""
    notes = [
        f"A toy: one block with two tokens, trained for {settings.steps} steps on {used - tested} images above the "
        f"frozen model, whose own weights stay as they are; {tested} other images are tested. It shows what the loss "
        "does, not what training a ViT with it would do.",
        f"Classes learned, by chance 1 in {len(names)}: {', '.join(names)}. The frozen model may know the images that "
        "are tested from its own training.",
        "The texture-free teacher is a linear classifier that sees silhouettes; in the paper it is a network trained "
        "on Stylized-ImageNet. The plain teacher sees the images: what both students share is not due to shape.",
        "Shape bias is measured on stand-ins, as in `shape_bias`.",
    ]
    if used < whole:
        notes.append(f"{whole - used} images were left out: fewer than {LEAST} of their class are among the images.")
    return tuple(notes)


PROBE = Probe(
    name="shape_distillation",
    question="Can a second token learn an object's shape beside a class token that learns its class?",
    source="Naseer et al. 2021, arXiv 2105.10497, section 3.2",
    settings=ShapeDistillation,
    run=run,
    check=check,
    needs=frozenset({"masks"}),
    context=published(
        "Naseer et al. 2021",
        "paper",
        {
            "DeiT-T, shape distilled, cosine of class token and second token": ".35",
            "DeiT-S, shape distilled, cosine of class token and second token": ".68",
            "DeiT-T, plainly distilled, cosine of class token and second token": ".96",
            "DeiT-S, plainly distilled, cosine of class token and second token": ".94",
            "DeiT shape distilled, class token, shape bias": "0.39",
            "DeiT shape distilled, shape token, shape bias": "0.47",
        },
    ),
)
