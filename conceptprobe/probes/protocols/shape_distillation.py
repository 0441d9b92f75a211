"""Can a second token learn shape while the class token learns the classes? A toy of the shape distillation of Naseer et
al. 2021, arXiv 2105.10497, section 3.2: a few steps of training on few images, above a frozen model."""

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
from conceptprobe.models.preprocessing import as_floats
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.probe import Findings, Probe, alikeness, rows_of
from conceptprobe.probes.framework.responses import Condition, Subject, image_generators
from conceptprobe.probes.framework.settings import PositiveNumber, Share
from conceptprobe.probes.stimuli.cue_conflict import choose_textures, decisions
from conceptprobe.probes.stimuli.cue_conflict_images import (
    PATCH,
    PatchShare,
    background_of,
    conflicts,
    drawings,
    seen,
    silhouette,
)
from conceptprobe.probes.stimuli.distillation_token import distillation_loss, own_tokens, read_tokens, train
from conceptprobe.validation import CONFIG

TOY = ", toy"
BATCH = 64
TEST_SHARE = 1 / 3
FOLDS = 4
LEAST = 3 * FOLDS
"""Images a class must have, so that two thirds of them are in every fold."""
COARSE = "group"
INVERSE_PENALTY = 0.1
FLOOR = 1e-6
TEACHERS = ("texture-free teacher", "plain teacher")


@dataclass(frozen=True, config=CONFIG)
class ShapeDistillation:
    """Settings.

    Attributes:
        alpha: How much the second token's loss weighs.
        tau: The temperature of that loss.
        steps: Of training, 64 images each.
        rate: The step size of AdamW.
        column: The column of the classes that are learned; where it is empty, `group` if the images have one, else
            `label`.
        patch: As in `shape_bias`.
    """

    alpha: Share = 0.5
    tau: PositiveNumber = 1.0
    steps: PositiveInt = 100
    rate: PositiveNumber = 1e-3
    column: str = ""
    patch: PatchShare = PATCH


def check(subject: Subject, items: Items, settings: ShapeDistillation) -> None:
    """Refuse models without tokens, and images of too few classes."""
    token_layer(subject.model)
    drawings(learnable(items, settings.column)[0])


def run(subject: Subject, items: Items, settings: ShapeDistillation, seed: int) -> Findings:
    """Teach a student by a teacher that sees silhouettes, another one by a teacher that sees the images; ask both."""
    whole = len(items)
    items, classes = learnable(items, settings.column)
    names, targets_n = np.unique(np.asarray(classes), return_inverse=True)
    drawn, background = drawings(items), background_of(items)
    model, layer = subject.model, token_layer(subject.model)
    test_n = split(items.ids, targets_n, seed)
    test_ids = tuple(id_ for id_, tested in zip(items.ids, test_n, strict=True) if tested)

    images_nchw = items.pixels(model)
    plain_ntc = frozen_tokens(model, layer, images_nchw)
    bare_ntc = frozen_tokens(model, layer, seen(model, [silhouette(drawing, background) for drawing in drawn]))
    tested = [drawing for drawing, is_test in zip(drawn, test_n, strict=True) if is_test]
    texture_n = choose_textures(test_ids, [classes[i] for i in np.flatnonzero(test_n)], seed)
    streams = image_generators(seed, test_ids, "quilt", 0)
    conflict_nchw = seen(model, conflicts(tested, texture_n, streams, settings.patch, background))
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
    own = own_tokens(model, images_nchw[torch.from_numpy(test_n)])
    if own:
        cosine_n = alikeness(*(token.value_nc.cpu().numpy() for token in own))["cosine"]
        frames.append(rows_of("cosine of the two tokens", Condition("the model's own", 0), test_ids, cosine_n))
    notes = caveats(settings, whole, len(items), int(test_n.sum()), names.tolist())
    return Findings(pd.concat(frames, ignore_index=True), artifacts=artifacts, caveats=notes)


def student_rows(
    kind: str,
    ids: tuple[str, ...],
    clean: tuple[np.ndarray, np.ndarray],
    conflict_n2c: np.ndarray,
    answers_n: np.ndarray,
    texture_n: np.ndarray,
) -> list[pd.DataFrame]:
    """What a student's two tokens answer, on images and on stand-ins, and how alike they are.

    Args:
        clean: The two tokens of the images [n,2,c] and their logits [n,2,classes].
        conflict_n2c: Logits of the stand-ins.
        answers_n: Classes of the images, and so of the stand-ins' shapes.
        texture_n: Whose texture each stand-in has.
    """
    tokens_n2c, logits_n2c = clean
    second = "shape token" if kind == TEACHERS[0] else "second token"
    frames, preferred = [], []
    for i, name in enumerate(("class token", second)):
        about = Condition(f"{name}, {kind}", 0)
        frames.append(rows_of("correct" + TOY, about, ids, logits_n2c[:, i].argmax(1) == answers_n))
        metrics = decisions(conflict_n2c[:, i], answers_n, answers_n[texture_n])
        preferred.append(metrics["shape over texture"])
        frames += [rows_of(metric + TOY, about, ids, values_n) for metric, values_n in metrics.items()]
    about = Condition(kind, 0)
    difference_n = preferred[1] - preferred[0]
    frames.append(rows_of("shape over texture, second - class token" + TOY, about, ids, difference_n))
    cosine_n = alikeness(tokens_n2c[:, 0], tokens_n2c[:, 1])["cosine"]
    frames.append(rows_of("cosine of the two tokens", about, ids, cosine_n))
    return frames


def token_layer(model: VisionModel) -> Layer:
    """The layer whose patches the student reads: the last one of tokens.

    Raises:
        ProbeError: The model has no tokens.
    """
    layers = [layer for layer in model.layers if layer.kind == "tokens" and layer.grid is not None]
    if not layers:
        raise ProbeError(f"shape_distillation adds a token to a ViT's, and {model.spec} has no tokens")
    return next((layer for layer in layers if layer.name == "final"), layers[-1])


def frozen_tokens(model: VisionModel, layer: Layer, levels_nchw: Tensor) -> Tensor:
    """The patches' tokens of images, float32 [n,t,c], on the CPU."""
    parts = []
    with torch.inference_mode():
        for batch in levels_nchw.split(BATCH):
            found = model.capture(as_floats(batch.to(model.device)), layer.name)[layer.name]
            parts.append(found[:, layer.prefix :].float().cpu())
    return torch.cat(parts).clone()


def learnable(items: Items, column: str) -> tuple[Items, list[str]]:
    """The images of classes that have enough of them, and their classes.

    Raises:
        ProbeError: The images have no such column, or too few classes have enough images.
    """
    table = items.source.table
    column = column or (COARSE if COARSE in table.column_names else "label")
    if column not in table.column_names:
        raise ProbeError(f"{items.source.spec} has no column {column!r}; it has {', '.join(table.column_names)}")
    classes = np.array([name or "" for name in table[column].take(items.rows).to_pylist()], object)
    names, counts = np.unique(classes[classes != ""], return_counts=True)
    kept = np.isin(classes, names[counts >= LEAST])
    if (counts >= LEAST).sum() < 2:
        raise ProbeError(
            f"{items.source.spec}: {(counts >= LEAST).sum()} classes of {column!r} have {LEAST} images among the "
            f"{len(items)}, which two must have: take more images, or set column to a coarser one"
        )
    return items.at(np.flatnonzero(kept)), classes[kept].tolist()


def split(ids: tuple[str, ...], targets_n: np.ndarray, seed: int) -> np.ndarray:
    """Which images are tested and not trained on, bool [n]: a third of each class, by random places of the ids."""
    places_n = np.array([stream.random() for stream in image_generators(seed, ids, "tested", 0)])
    test_n = np.zeros(len(ids), bool)
    for class_ in range(int(targets_n.max()) + 1):
        members = np.flatnonzero(targets_n == class_)
        test_n[members[np.argsort(places_n[members])[: round(TEST_SHARE * len(members))]]] = True
    return test_n


def teach(shown_nc: np.ndarray, targets_n: np.ndarray, seed: int) -> tuple[np.ndarray, Pipeline]:
    """A linear teacher on mean tokens: what it says of the images that it learns from, as log-probabilities float32
    [n,classes], each by one that has not seen that image (four folds); and the one that has seen all."""
    teacher = make_pipeline(StandardScaler(), LogisticRegression(C=INVERSE_PENALTY, max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="lbfgs failed to converge")  # near enough for a teacher
        said_nc = cross_val_predict(teacher, shown_nc, targets_n, cv=folds, method="predict_proba")
        teacher.fit(shown_nc, targets_n)
    return np.log(np.maximum(said_nc, FLOOR)).astype(np.float32), teacher


def caveats(settings: ShapeDistillation, whole: int, used: int, tested: int, names: list[str]) -> tuple[str, ...]:
    """What this is, and what it is not."""
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
    context=(
        *(
            {"name": f"{name}, cosine of class token and second token", "value": value, "source": "Naseer et al. 2021",
             "tag": "paper"}
            for name, value in (
                ("DeiT-T, shape distilled", ".35"), ("DeiT-S, shape distilled", ".68"),
                ("DeiT-T, plainly distilled", ".96"), ("DeiT-S, plainly distilled", ".94"),
            )
        ),
        *(
            {"name": f"DeiT shape distilled, {token} token, shape bias", "value": value, "source": "Naseer et al. 2021",
             "tag": "paper"}
            for token, value in (("class", "0.39"), ("shape", "0.47"))
        ),
    ),
)  # fmt: skip
