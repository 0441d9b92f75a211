"""Accuracy on other test sets of ImageNet, read from folders: ImageNet-V2, -Sketch, -R, -A, -C and ReaL.

| set | folder of a class | classes | source |
|---|---|---|---|
| `v2` | number, 0 to 999 | all | Recht et al. 2019, arXiv 1902.10811 |
| `sketch` | synset | all | Wang et al. 2019, arXiv 1905.13549 |
| `r` | synset | 200 | Hendrycks et al. 2021, arXiv 2006.16241 |
| `a` | synset | 200 | Hendrycks et al. 2021, arXiv 1907.07174 |
| `c` | synset, below CORRUPTION/SEVERITY | all | Hendrycks & Dietterich 2019, arXiv 1903.12261 |
| `real` | any; files are named as in the validation set | all | Beyer et al. 2020, arXiv 2006.07159 |

The class lists and ReaL's labels come with timm.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Literal, get_args

import numpy as np
from pydantic.dataclasses import dataclass

from conceptprobe.images import ImageSource, load_images
from conceptprobe.models import VisionModel
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.heads import ClassHead, imagenet_head
from conceptprobe.probes.framework.imagenet_classes import imagenet_synsets, real_labels, subset_indices
from conceptprobe.probes.framework.images import ProbeImages, choose_images
from conceptprobe.probes.framework.probe import CLEAN, Findings, Probe, published, rows_of, run_conditions
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.responses import respond
from conceptprobe.probes.framework.result import ProbeResult
from conceptprobe.probes.framework.run_settings import RunSettings
from conceptprobe.probes.framework.runner import run_on_models
from conceptprobe.probes.framework.settings import make_probe_settings
from conceptprobe.probes.protocols.corruption import PROBE as CORRUPTION
from conceptprobe.probes.protocols.corruption import find_corruptions
from conceptprobe.probes.run import load_models, probe_model
from conceptprobe.probes.stimuli.corruptions import SEVERITIES
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
    models: VisionModel | str | Sequence[VisionModel | str],
    folder: str,
    *,
    n: int | None = None,
    templates: Sequence[str] = TEMPLATES,
    severities: Sequence[int] = SEVERITIES,
    seed: int = 0,
) -> ProbeResult:
    """Accuracy of models on one of the sets.

    Args:
        name: One of `SETS`.
        models: `VisionModel`s or what `load_model` takes: ImageNet classifiers, or models with a text tower.
        folder: The folder of the set; for `c` the folder above the corruptions.
        n: How many images, drawn at random; None takes all.
        templates: Texts with `{}` for zero-shot heads.
        severities: The severities of `c`; all fifteen of its corruptions are read.
        seed: Which images are drawn.

    Returns:
        Metric `correct`. For ReaL it is whether the answer is one of the image's labels, and NaN for images without
        any. For `c` it is the result of the probe `corruption`.

    Raises:
        ProbeError: A setting is not allowed, the folder's labels or file names are not those of the set, or a model
            knows no ImageNet classes.
    """
    what = "a test set of ImageNet"
    chosen = make_settings(ImageNetSet, {"name": name}, what=what, error=ProbeError)
    values = {"n": n, "templates": list(templates), "seed": seed}
    settings = make_settings(RunSettings, values, what=what, error=ProbeError)
    probe, config, source = PROBE, chosen, folder
    layers: tuple[str, ...] | None = ()
    if name == "c":
        probe, layers = CORRUPTION, None
        config = make_probe_settings(CORRUPTION, {"severities": severities, "folder": folder})
        first = find_corruptions(folder, config.corruptions)[config.corruptions[0]]
        source = str(first / str(config.severities[0]))
    loaded = load_models(models)
    images = label_images(load_images(f"folder:{source}"), name, settings)
    probed_models = [
        replace(probe_model(model, layers, settings.pooling, None), head=set_head(model, name, settings.templates))
        for model in loaded
    ]
    return run_on_models(probe, config, probed_models, images, settings.seed)


def run(probed: ProbedModel, images: ProbeImages, settings: ImageNetSet, seed: int) -> Findings:
    """The model's answers to the unchanged images."""
    if settings.name != "real":
        return run_conditions(probed, images, [], seed)
    labels = [real_labels()[number] for number in validation_numbers(images.ids)]
    response = respond(probed, images.pixels(probed.model), CLEAN)
    assert response.scores_nc is not None, probed
    correct_n = real_correct(response.scores_nc, labels)
    skipped = int(np.isnan(correct_n).sum())
    note = f"{skipped} of {len(images)} images have no label in ReaL and are left out."
    return Findings(rows_of("correct", CLEAN, images.ids, correct_n), caveats=(note,) if skipped else ())


def set_head(model: VisionModel, name: str, templates: Sequence[str] = TEMPLATES) -> ClassHead:
    """A head over a set's classes, named by their synsets because ImageNet's class names are not unique.

    Raises:
        ProbeError: The model is no classifier of ImageNet's 1,000 classes and has no text tower either.
    """
    head = replace(imagenet_head(model, templates), classes=imagenet_synsets())
    return head.subset(subset_indices(name)) if name in SUBSETS else head


def label_images(source: ImageSource, name: str, settings: RunSettings) -> ProbeImages:
    """Images of a set with the synsets of their classes; those of ReaL have none.

    Args:
        source: The images.
        name: One of `SETS`.
        settings: How many images are drawn, and the seed.

    Raises:
        ProbeError: A label or file name is not one of the set's.
    """
    images = choose_images(source, settings)
    if name == "real":
        validation_numbers(images.ids)
        return images
    synsets = imagenet_synsets()
    known = {synsets[i] for i in subset_indices(name)} if name in SUBSETS else {*synsets}
    labels = [PurePosixPath(id_).parent.name for id_ in images.ids]
    if name == "v2":
        known = {str(number) for number in range(len(synsets))}
    for id_, label in zip(images.ids, labels, strict=True):
        if label not in known:
            shape = (
                "a number from 0 to 999" if name == "v2" else f"one of its {len(known)} synsets, such as {min(known)}"
            )
            raise ProbeError(f"{source.spec}: the folder of {id_!r} is no class of {name!r}, which is {shape}")
    classes = tuple(synsets[int(label)] if name == "v2" else label for label in labels)
    return replace(images, classes=classes)


def validation_numbers(ids: Sequence[str]) -> list[int]:
    """The position of each image in the validation set, from 0, by its file name.

    Raises:
        ProbeError: A file is not named as in the validation set.
    """
    numbers = []
    for id_ in ids:
        match = VALIDATION.search(PurePosixPath(id_).name)
        if match is None or not 1 <= int(match[1]) <= len(real_labels()):
            raise ProbeError(f"{id_!r} is no file of ImageNet's validation set, such as ILSVRC2012_val_00000001.JPEG")
        numbers.append(int(match[1]) - 1)
    return numbers


def real_correct(scores_nc: np.ndarray, labels: Sequence[Sequence[int]]) -> np.ndarray:
    """Whether the best class is a label of the image, 1 or 0; NaN for images without labels (Beyer et al. 2020)."""
    best_n = scores_nc.argmax(1)
    return np.array([float(best in of) if of else np.nan for best, of in zip(best_n, labels, strict=True)])


PROBE = Probe(
    name="imagenet_set",
    question="How often is the model right on ImageNet's other test sets?",
    source="see `conceptprobe.probes.imagenet_sets`",
    settings=ImageNetSet,
    run=run,
    needs=frozenset({"classes"}),
    context=published(
        "Radford et al. 2021",
        "paper",
        {
            f"{model}, ImageNet-{name}": f"{value} %"
            for model, values in (
                ("RN101", {"V2": 64.3, "R": 37.7, "Sketch": 25.2, "A": 2.7}),
                ("CLIP L/14@336", {"V2": 70.1, "R": 88.9, "Sketch": 60.2, "A": 77.1}),
            )
            for name, value in values.items()
        },
    ),
)
