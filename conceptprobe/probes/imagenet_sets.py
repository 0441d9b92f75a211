"""Accuracy on the sets that ImageNet classifiers are usually tested on beside their own, read from the user's folders:
ImageNet-V2, -Sketch, -R, -A, -C and ReaL.

| set | folder a class | classes | source |
|---|---|---|---|
| `v2` | number, 0 to 999 | all | Recht et al. 2019, arXiv 1902.10811 |
| `sketch` | synset | all | Wang et al. 2019, arXiv 1905.13549 |
| `r` | synset | 200 | Hendrycks et al. 2021, arXiv 2006.16241 |
| `a` | synset | 200 | Hendrycks et al. 2021, arXiv 1907.07174 |
| `c` | synset, below CORRUPTION/SEVERITY | all | Hendrycks & Dietterich 2019, arXiv 1903.12261 |
| `real` | any; files are named as in the validation set | all | Beyer et al. 2020, arXiv 2006.07159 |

Class lists and ReaL's labels are those that timm ships.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Literal, get_args

import numpy as np
from pydantic.dataclasses import dataclass

from conceptprobe.images import ImageSource, load_images
from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.heads import ClassHead, imagenet_head
from conceptprobe.probes.framework.imagenet_classes import imagenet_synsets, real_labels, subset_indices
from conceptprobe.probes.framework.images import Items, choose_items
from conceptprobe.probes.framework.probe import CLEAN, Findings, Probe, behave, rows_of
from conceptprobe.probes.framework.responses import Subject, respond
from conceptprobe.probes.framework.result import ProbeResult
from conceptprobe.probes.framework.settings import make_probe_settings
from conceptprobe.probes.protocols.corruption import PROBE as CORRUPTION
from conceptprobe.probes.protocols.corruption import find_corruptions
from conceptprobe.probes.run import assemble, check_needs, make_subject
from conceptprobe.validation import CONFIG, make_settings

SetName = Literal["v2", "sketch", "r", "a", "c", "real"]
SETS: tuple[str, ...] = get_args(SetName)
SUBSETS = ("r", "a")
VALIDATION = re.compile(r"ILSVRC2012_val_(\d{8})\b")
TEMPLATES = ("a photo of a {}.",)


@dataclass(frozen=True, config=CONFIG)
class ImageNetSet:
    """Settings.

    Attributes:
        name: One of `SETS`.
    """

    name: SetName


def probe_imagenet_set(
    name: str,
    models: Sequence[VisionModel | str],
    folder: str,
    *,
    n: int | None = None,
    templates: Sequence[str] = TEMPLATES,
    severities: tuple[int, ...] = (1, 2, 3, 4, 5),
    seed: int = 0,
) -> ProbeResult:
    """Accuracy of models on one of the sets.

    Args:
        name: One of `SETS`.
        models: `VisionModel`s or what `load_model` takes: ImageNet classifiers, or models with a text tower.
        folder: Where the set lies; for `c` the folder above the corruptions.
        n: How many images, drawn at random; None takes all.
        templates: Texts with `{}` for zero-shot heads.
        severities: Of `c`, whose fifteen corruptions are all taken.
        seed: Which images are drawn.

    Returns:
        Metric `correct`. Of ReaL it is whether the answer is one of the image's labels; images without any have none.
        Of `c` it is the result of the probe `corruption`.

    Raises:
        ProbeError: The folder's labels or file names are not those of the set, or a model knows no ImageNet classes.
    """
    chosen = make_settings(ImageNetSet, {"name": name}, what="the probe of an ImageNet test set", error=ProbeError)
    loaded = [load_model(model) if isinstance(model, str) else model for model in models]
    if name == "c":
        config = make_probe_settings(CORRUPTION, {"severities": severities, "folder": folder})
        first = find_corruptions(folder, config.corruptions)[config.corruptions[0]] / str(severities[0])
        items = label_items(load_images(f"folder:{first}"), name, n, seed)
        heads = [set_head(model, name, templates) for model in loaded]
        subjects = [make_subject(model, head, None, "mean", None) for model, head in zip(loaded, heads, strict=True)]
        check_needs(CORRUPTION, config, subjects, items)
        found = [CORRUPTION.run(subject, items, config, seed) for subject in subjects]
        return assemble(CORRUPTION, config, subjects, items, found, seed)
    items = label_items(load_images(f"folder:{folder}"), name, n, seed)
    heads = [set_head(model, name, templates) for model in loaded]
    subjects = [make_subject(model, head, (), "mean", None) for model, head in zip(loaded, heads, strict=True)]
    found = [PROBE.run(subject, items, chosen, seed) for subject in subjects]
    return assemble(PROBE, chosen, subjects, items, found, seed)


def run(subject: Subject, items: Items, settings: ImageNetSet, seed: int) -> Findings:
    """The model's answers as they are; nothing is changed."""
    if settings.name != "real":
        return behave(subject, items, [], seed)
    labels = [real_labels()[number] for number in validation_numbers(items.ids)]
    response = respond(subject, items.pixels(subject.model), CLEAN)
    assert response.scores_nc is not None, subject
    correct_n = real_correct(response.scores_nc, labels)
    skipped = int(np.isnan(correct_n).sum())
    note = f"{skipped} of {len(items)} images have no label in ReaL and are left out."
    return Findings(rows_of("correct", CLEAN, items.ids, correct_n), caveats=(note,) if skipped else ())


def set_head(model: VisionModel, name: str, templates: Sequence[str] = TEMPLATES) -> ClassHead:
    """A head over a set's classes, which are named by their synsets: words of ImageNet's classes are not unique.

    Raises:
        ProbeError: The model is no classifier of ImageNet's 1,000 classes and cannot compare images with text either.
    """
    head = replace(imagenet_head(model, templates), classes=imagenet_synsets())
    return head.subset(subset_indices(name)) if name in SUBSETS else head


def label_items(images: ImageSource, name: str, n: int | None, seed: int) -> Items:
    """Images of a set with the synsets of their classes; of ReaL without.

    Raises:
        ProbeError: A label or file name is not one of the set's.
    """
    items = choose_items(images, n, seed)
    if name == "real":
        validation_numbers(items.ids)
        return items
    synsets = imagenet_synsets()
    known = {synsets[i] for i in subset_indices(name)} if name in SUBSETS else {*synsets}
    labels = [PurePosixPath(id_).parent.name for id_ in items.ids]
    if name == "v2":
        known = {str(number) for number in range(len(synsets))}
    for id_, label in zip(items.ids, labels, strict=True):
        if label not in known:
            shape = (
                "a number from 0 to 999" if name == "v2" else f"one of its {len(known)} synsets, such as {min(known)}"
            )
            raise ProbeError(f"{images.spec}: the folder of {id_!r} is no class of {name!r}, which is {shape}")
    classes = tuple(synsets[int(label)] if name == "v2" else label for label in labels)
    return replace(items, classes=classes)


def validation_numbers(ids: Sequence[str]) -> list[int]:
    """The place of each image in the validation set, from 0, by its file name.

    Raises:
        ProbeError: A file is not named as there.
    """
    numbers = []
    for id_ in ids:
        match = VALIDATION.search(PurePosixPath(id_).name)
        if match is None or not 1 <= int(match[1]) <= len(real_labels()):
            raise ProbeError(f"{id_!r} is no file of ImageNet's validation set, such as ILSVRC2012_val_00000001.JPEG")
        numbers.append(int(match[1]) - 1)
    return numbers


def real_correct(scores_nc: np.ndarray, labels: Sequence[Sequence[int]]) -> np.ndarray:
    """Whether the best class is one of the image's labels, 1 or 0; NaN where it has none (Beyer et al. 2020)."""
    best_n = scores_nc.argmax(1)
    return np.array([float(best in of) if of else np.nan for best, of in zip(best_n, labels, strict=True)])


PROBE = Probe(
    name="imagenet_set",
    question="How often is the model right on ImageNet's other test sets?",
    source="see `conceptprobe.probes.imagenet_sets`",
    settings=ImageNetSet,
    run=run,
    needs=frozenset({"classes"}),
    context=tuple(
        {"name": f"{model}, ImageNet-{name}", "value": f"{value} %", "source": "Radford et al. 2021", "tag": "paper"}
        for model, values in (
            ("RN101", {"V2": 64.3, "R": 37.7, "Sketch": 25.2, "A": 2.7}),
            ("CLIP L/14@336", {"V2": 70.1, "R": 88.9, "Sketch": 60.2, "A": 77.1}),
        )
        for name, value in values.items()
    ),
)
