"""Images with the shape of one class in the texture of another, and a model's decisions on them.

Source: Geirhos et al. 2019, arXiv 1811.12231.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.probe import rows_of_metrics
from conceptprobe.probes.framework.randomness import image_generators
from conceptprobe.probes.framework.responses import Condition

NAME = re.compile(r"(?P<shape>(?P<shape_class>[a-z]+)\d*)-(?P<texture>(?P<texture_class>[a-z]+)\d*)")
EXAMPLE = "airplane1-bear2.png"
LEAST = 5
"""A class with fewer images gets no curve."""


@dataclass(frozen=True)
class Cues:
    """The two cues of an image.

    Attributes:
        shape: The name of the image that the shape is from, such as `airplane1`.
        texture: The name of the image that the texture is from, such as `bear2`.
        shape_class: The class of the shape.
        texture_class: The class of the texture.
    """

    shape: str
    texture: str
    shape_class: str
    texture_class: str


def read_cues(ids: Sequence[str], classes: Collection[str]) -> list[Cues]:
    """The cues that file names state.

    As in the public release, `airplane1-bear2.png` has the shape of airplane 1 and the texture of bear 2.

    Raises:
        ProbeError: A name is not of this form, or a class is not one of `classes`.
    """
    cues = []
    for id_ in ids:
        match = NAME.fullmatch(PurePosixPath(id_).stem)
        if match is None or not {match["shape_class"], match["texture_class"]} <= {*classes}:
            raise ProbeError(
                f"{id_!r} is not named as a cue-conflict image, such as {EXAMPLE}: a class, a number, a hyphen, and "
                f"both again, the classes among {', '.join(sorted(classes))}"
            )
        cues.append(Cues(**match.groupdict()))
    return cues


def decisions(scores_nc: np.ndarray, shape_n: np.ndarray, texture_n: np.ndarray) -> dict[str, np.ndarray]:
    """Which cue the best class follows, for each image [n], by metric.

    `shape bias` is 1 where the best class is the shape's, 0 where it is the texture's and NaN where it is neither, so
    that the mean is shape / (shape + texture). `shape decision` and `texture decision` are whether it is that class,
    and `cue accuracy` whether it is one of the two. `shape over texture` is whether the shape's class has the higher
    score of the two (1/2 where they are equal), which is defined for every image.

    Args:
        scores_nc: Class scores.
        shape_n: The class of each shape.
        texture_n: The class of each texture.
    """
    at, best_n = np.arange(len(shape_n)), scores_nc.argmax(1)
    shape, texture = best_n == shape_n, best_n == texture_n
    lead_n = np.sign(scores_nc[at, shape_n] - scores_nc[at, texture_n])
    return {
        "shape bias": np.where(shape | texture, shape.astype(float), np.nan),
        "cue accuracy": (shape | texture).astype(float),
        "shape decision": shape.astype(float),
        "texture decision": texture.astype(float),
        "shape over texture": (lead_n + 1) / 2,
    }


def decision_rows(
    metrics: dict[str, np.ndarray], ids: tuple[str, ...], classes: Sequence[str], series: str, suffix: str
) -> list[pd.DataFrame]:
    """Rows of all images, and of those of every class with enough images, by the shape.

    Args:
        metrics: As `decisions` returns them.
        ids: Ids of the images.
        classes: The class of each image's shape.
        series: The series of all images; that of a class is `shape: CLASS`.
        suffix: Added to the names of the metrics, such as `, stand-in`.
    """
    frames = rows_of_metrics(metrics, Condition(series, 0), ids, suffix)
    names, counts = np.unique(np.asarray(classes, str), return_counts=True)
    for class_ in names[counts >= LEAST].tolist():
        members = np.flatnonzero(np.asarray(classes) == class_)
        some = tuple(ids[i] for i in members)
        of_class = {name: metrics[name][members] for name in ("shape bias", "cue accuracy")}
        frames += rows_of_metrics(of_class, Condition(f"shape: {class_}", 0), some, suffix)
    return frames


def choose_textures(ids: Sequence[str], classes: Sequence[str], seed: int) -> np.ndarray:
    """For each image, the number of another image of another class whose texture it gets: int64 [n].

    Every image has a random position on a ring and a random start, both by its id, and gets the first image of another
    class after its start. So the choice depends on the other images only where one of them lies between.

    Raises:
        ProbeError: All images are of one class.
    """
    if len({*classes}) < 2:
        raise ProbeError(f"shape and texture are of different classes, and all {len(ids)} images are of {classes[0]!r}")
    positions, starts = (
        np.array([stream.random() for stream in image_generators(seed, ids, what, 0)])
        for what in ("texture: place", "texture: start")
    )
    order = np.argsort(positions)
    chosen = []
    for i, first in enumerate(np.searchsorted(positions[order], starts)):
        ring = np.roll(order, -first)
        chosen.append(next(j for j in ring.tolist() if classes[j] != classes[i]))
    return np.array(chosen, np.int64)


def choose_partners(cues: Sequence[Cues], ids: Sequence[str], same: str, seed: int, draw: int) -> np.ndarray:
    """For each image, the number of another one that shares one cue's class only: int64 [n], -1 where none does.

    The other cue is of another class, and the shared one comes from another image of the class.

    Args:
        cues: The cues of the images.
        ids: Their ids.
        same: The shared cue, "shape" or "texture".
        seed: Seed of the run.
        draw: Which of several draws.
    """
    other = "texture" if same == "shape" else "shape"
    shared, differs, source = (
        np.array([getattr(cue, name) for cue in cues]) for name in (f"{same}_class", f"{other}_class", same)
    )
    partners = []
    for i, stream in enumerate(image_generators(seed, ids, f"same {same}", draw)):
        alike = np.flatnonzero((shared == shared[i]) & (differs != differs[i]) & (source != source[i]))
        partners.append(int(stream.choice(alike)) if len(alike) else -1)
    return np.array(partners, np.int64)
