"""Images that show the shape of one class in the texture of another, and what a model decides on them (Geirhos et al.
2019, arXiv 1811.12231)."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.probe import rows_of
from conceptprobe.probes.framework.responses import Condition, image_generators

NAME = re.compile(r"(?P<shape>(?P<shape_class>[a-z]+)\d*)-(?P<texture>(?P<texture_class>[a-z]+)\d*)")
EXAMPLE = "airplane1-bear2.png"
LEAST = 5
"""A class with fewer images has no curve of its own."""


@dataclass(frozen=True)
class Cues:
    """The two cues of an image.

    Attributes:
        shape, texture: Names of the images that they are from, such as `airplane1` and `bear2`.
        shape_class, texture_class: Their classes.
    """

    shape: str
    texture: str
    shape_class: str
    texture_class: str


def read_cues(ids: Sequence[str], classes: Collection[str]) -> list[Cues]:
    """What the images' file names say, in the public release's way: `airplane1-bear2.png` has the shape of airplane 1
    and the texture of bear 2.

    Raises:
        ProbeError: A name is none of that kind, or a class none of those.
    """
    found = []
    for id_ in ids:
        match = NAME.fullmatch(PurePosixPath(id_).stem)
        if match is None or not {match["shape_class"], match["texture_class"]} <= {*classes}:
            raise ProbeError(
                f"{id_!r} is not named as a cue-conflict image, such as {EXAMPLE}: a class, a number, a hyphen, and "
                f"both again, the classes among {', '.join(sorted(classes))}"
            )
        found.append(Cues(**match.groupdict()))
    return found


def decisions(scores_nc: np.ndarray, shape_n: np.ndarray, texture_n: np.ndarray) -> dict[str, np.ndarray]:
    """What the best class is, of each image: [n].

    `shape bias`: 1 where it is the shape's, 0 where it is the texture's, NaN where it is neither, so that the mean is
    shape / (shape + texture). `shape decision`, `texture decision`: whether it is that one; `cue accuracy`: whether it
    is one of the two. `shape over texture`: whether the shape's class has the higher score of the two (1/2 where they
    are equal), which every image has.

    Args:
        shape_n, texture_n: Numbers of the classes.
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
    """Rows of all images, and of those of every class that has some, by the shape.

    Args:
        series: What all images are called; those of a class are called `shape: CLASS`.
        suffix: Added to the names of the metrics, such as `, stand-in`.
    """
    frames = [rows_of(name + suffix, Condition(series, 0), ids, values_n) for name, values_n in metrics.items()]
    names, counts = np.unique(np.asarray(classes, str), return_counts=True)
    for class_ in names[counts >= LEAST].tolist():
        members = np.flatnonzero(np.asarray(classes) == class_)
        some = tuple(ids[i] for i in members)
        about = Condition(f"shape: {class_}", 0)
        frames += [
            rows_of(name + suffix, about, some, metrics[name][members]) for name in ("shape bias", "cue accuracy")
        ]
    return frames


def choose_textures(ids: Sequence[str], classes: Sequence[str], seed: int) -> np.ndarray:
    """For each image another one, of another class, whose texture it gets: numbers int64 [n].

    Every image has a random place on a ring and a random start, by its id; it gets the first image of another class
    that comes after its start. So whom an image gets depends on the others only where one of them lies between.

    Raises:
        ProbeError: All images are of one class.
    """
    if len({*classes}) < 2:
        raise ProbeError(f"shape and texture are of different classes, and all {len(ids)} images are of {classes[0]!r}")
    places, starts = (
        np.array([stream.random() for stream in image_generators(seed, ids, what, 0)])
        for what in ("texture: place", "texture: start")
    )
    order = np.argsort(places)
    chosen = []
    for i, first in enumerate(np.searchsorted(places[order], starts)):
        ring = np.roll(order, -first)
        chosen.append(next(j for j in ring.tolist() if classes[j] != classes[i]))
    return np.array(chosen, np.int64)


def choose_alike(cues: Sequence[Cues], ids: Sequence[str], same: str, seed: int, draw: int) -> np.ndarray:
    """For each image another one that shares one cue's class and nothing else: numbers int64 [n], -1 where none does.

    Nothing else: the other cue is of another class, and the shared one is from another image of the class.

    Args:
        same: "shape" or "texture".
    """
    other = "texture" if same == "shape" else "shape"
    shared, differs, source = (
        np.array([getattr(cue, name) for cue in cues]) for name in (f"{same}_class", f"{other}_class", same)
    )
    found = []
    for i, stream in enumerate(image_generators(seed, ids, f"same {same}", draw)):
        alike = np.flatnonzero((shared == shared[i]) & (differs != differs[i]) & (source != source[i]))
        found.append(int(stream.choice(alike)) if len(alike) else -1)
    return np.array(found, np.int64)
