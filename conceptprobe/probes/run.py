"""Run a probe by its name: `run_probe`."""

import dataclasses
import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from conceptprobe.concepts.scores import FeatureScores
from conceptprobe.images import ImageSource, load_images
from conceptprobe.models import VisionModel, load_model
from conceptprobe.models.layers import suggest
from conceptprobe.probes import (
    adversarial,
    attention_distance,
    background,
    corruption,
    cutout,
    frequency,
    lesion,
    occlusion,
    shuffle,
)
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.heads import ClassHead, head_of
from conceptprobe.probes.items import Items, choose_items, class_names
from conceptprobe.probes.probe import Findings, Probe
from conceptprobe.probes.result import ProbeResult, make_curves, make_differences
from conceptprobe.probes.subject import Subject

PROBES: dict[str, Probe] = {
    module.PROBE.name: module.PROBE
    for module in (
        adversarial,
        attention_distance,
        background,
        corruption,
        cutout,
        frequency,
        lesion,
        occlusion,
        shuffle,
    )
}


def run_probe(
    name: str,
    models: VisionModel | str | Sequence[VisionModel | str],
    images: ImageSource | str,
    *,
    n: int | None = 512,
    classes: Sequence[str] | None = None,
    class_map: Mapping[str, str] | None = None,
    label: str = "label",
    templates: Sequence[str] = ("{}",),
    masks: str | None = None,
    layers: str | Sequence[str] | None = None,
    scores: Mapping[str, FeatureScores] | None = None,
    pooling: str = "mean",
    seed: int = 0,
    **settings: Any,
) -> ProbeResult:
    """Probe one or several models with the same images.

    Args:
        name: One of `PROBES`.
        models: `VisionModel`s or what `load_model` takes.
        images: An `ImageSource` or what `load_images` takes.
        n: How many images, drawn at random; None takes all.
        classes: The class names to choose from; by default those that the first model with a classifier has, or all
            labels of the images where none has one.
        class_map: From labels to class names, where those differ.
        label: The column with the labels.
        templates: Texts with `{}` for zero-shot heads.
        masks: A folder of masks; by default the alpha channels.
        layers: Layers whose features are followed where the probe can; by default the last block's `mlp.hidden`, or the
            last listed layer.
        scores: By model spec: splits the survival of features by their verdict.
        pooling: How followed features are pooled.
        seed: Where random draws come from.
        settings: Of the probe itself; see its class in `PROBES[name].settings`.

    Raises:
        ProbeError: Something is missing that the probe needs, or a setting is not one of its settings. Nothing was
            computed then.
    """
    probe = get_probe(name)
    config = make_settings(probe, settings)
    loaded = [load_model(model) if isinstance(model, str) else model for model in _listed(models)]
    specs = [model.spec for model in loaded]
    if len({*specs}) != len(specs):
        raise ProbeError(f"the same model is given twice: {specs}")
    source = load_images(images) if isinstance(images, str) else images
    heads: list[ClassHead | None] = [None] * len(loaded)
    among = None
    if "classes" in probe.needs:
        chosen = list(classes) if classes is not None else _common_classes(loaded, source, label, class_map)
        heads = [head_of(model, chosen, templates) for model in loaded]
        among = set(chosen)
    items = choose_items(source, n, seed, among=among, label=label, class_map=class_map, masks=masks)
    if "masks" in probe.needs:
        items = items.with_masks()
    subjects = [
        make_subject(model, head, layers if probe.follows else (), pooling, (scores or {}).get(model.spec))
        for model, head in zip(loaded, heads, strict=True)
    ]
    check_needs(probe, config, subjects, items)
    found = [probe.run(subject, items, config, seed) for subject in subjects]
    return assemble(probe, config, subjects, items, found, seed)


def get_probe(name: str) -> Probe:
    """A probe by its name.

    Raises:
        ProbeError: There is none of that name; says which are near.
    """
    if name not in PROBES:
        raise ProbeError(f"no probe {name!r}.{suggest(name, PROBES)}")
    return PROBES[name]


def make_settings(probe: Probe, given: Mapping[str, Any]) -> Any:
    """The probe's settings with some changed.

    Raises:
        ProbeError: One is not a setting of the probe, or has an impossible value.
    """
    known = [field.name for field in dataclasses.fields(probe.settings)]
    if unknown := sorted(set(given) - set(known)):
        raise ProbeError(f"{probe.name} has no setting {unknown[0]!r}; it has {', '.join(known) or 'none'}")
    defaults = probe.settings()
    for name, value in given.items():
        if not _is_like(value, getattr(defaults, name)):
            raise ProbeError(f"{probe.name}: {name} takes a value such as {getattr(defaults, name)!r}, got {value!r}")
    try:
        return probe.settings(**given)
    except TypeError as error:
        example = {name: getattr(defaults, name) for name in given}
        raise ProbeError(f"{probe.name} cannot take {dict(given)}: give values such as {example}") from error


def _is_like(value: Any, default: Any) -> bool:
    """Whether a value is of the default's kind; None says nothing of what else is possible."""
    match default:
        case None:
            return True
        case bool() | str():
            return isinstance(value, type(default))
        case tuple():
            return isinstance(value, tuple | list)
        case int():
            return isinstance(value, int) and not isinstance(value, bool)
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)


def make_subject(
    model: VisionModel,
    head: ClassHead | None,
    layers: str | Sequence[str] | None,
    pooling: str,
    scores: FeatureScores | None,
) -> Subject:
    """A model with the layers to follow, and the verdicts on their features.

    Raises:
        ProbeError: The scores are of another model.
    """
    followed = _default_layers(model) if layers is None else layers
    found = tuple(model.resolve(followed)) if followed else ()
    verdicts: dict[str, np.ndarray] = {}
    if scores is not None:
        if scores.settings["fingerprints"]["model"] != model.fingerprint:
            raise ProbeError(f"the scores given for {model.spec} are of another model, {scores.settings['model']}")
        for layer in found:
            part = scores.frame[scores.frame["layer"] == layer.name].sort_values("feature")
            if len(part) == layer.width:
                verdicts[layer.name] = part["verdict"].astype(str).to_numpy(object)
    return Subject(model, head, found, pooling, verdicts)


def check_needs(probe: Probe, config: Any, subjects: Sequence[Subject], items: Items) -> None:
    """Find out before any compute whether models and images have what a probe needs.

    Raises:
        ProbeError: A model has no attention, an image no mask, or the probe's own check says no.
    """
    for subject in subjects:
        kinds = {layer.kind for layer in subject.model.layers}
        if "attention" in probe.needs and "attention" not in kinds:
            raise ProbeError(f"{probe.name} looks at attention, and {subject.model.spec} has none")
        probe.check(subject, items, config)
    if "masks" in probe.needs:
        items.masks(subjects[0].model)


def assemble(
    probe: Probe, config: Any, subjects: Sequence[Subject], items: Items, found: Sequence[Findings], seed: int
) -> ProbeResult:
    """One result of the findings on all models."""
    specs = [subject.model.spec for subject in subjects]

    def join(name: str) -> pd.DataFrame:
        frames = [getattr(findings, name) for findings in found]
        named = [frame.assign(model=spec) for spec, frame in zip(specs, frames, strict=True) if len(frame)]
        joined = pd.concat(named, ignore_index=True) if named else pd.DataFrame({"model": pd.Series(dtype=str)})
        return joined[["model", *[column for column in joined if column != "model"]]]

    rows = join("rows")
    source = items.source
    about = {
        "models": [
            {
                "spec": subject.model.spec,
                "fingerprint": subject.model.fingerprint,
                "head": None if subject.head is None else subject.head.kind,
                "classes": None if subject.head is None else len(subject.head.classes),
                "layers": [layer.name for layer in subject.layers],
            }
            for subject in subjects
        ],
        "source": {"spec": source.spec, "fingerprint": source.fingerprint},
        "images": len(items),
        "protocol": probe.source,
        "settings": dataclasses.asdict(config),
        "pooling": subjects[0].pooling,
        "seed": seed,
        "versions": {name: importlib.metadata.version(name) for name in ("conceptprobe", "torch", "numpy")},
    }
    artifacts = {
        f"{spec}/{name}": array
        for spec, findings in zip(specs, found, strict=True)
        for name, array in findings.artifacts.items()
    }
    return ProbeResult(
        probe.name, probe.question, rows, make_curves(rows), make_differences(rows), join("features"), join("survival"),
        artifacts, about, tuple(dict.fromkeys(text for findings in found for text in findings.caveats)), probe.context,
    )  # fmt: skip


def _listed(models: VisionModel | str | Sequence[VisionModel | str]) -> Sequence[VisionModel | str]:
    listed = [models] if isinstance(models, VisionModel | str) else list(models)
    if not listed:
        raise ProbeError("no model is given")
    return listed


def _common_classes(
    models: Sequence[VisionModel], source: ImageSource, label: str, class_map: Mapping[str, str] | None
) -> list[str]:
    """The classes of the first model that has some, or what the images are labelled."""
    native = next((model.class_names for model in models if model.has_class_names), None)
    if native is not None:
        return list(native)
    return sorted({name for name in class_names(source, label, class_map) if name is not None})


def _default_layers(model: VisionModel) -> tuple[str, ...]:
    hidden = [layer.name for layer in model.layers if layer.name.endswith(".mlp.hidden")]
    listed = [layer.name for layer in model.layers if layer.name not in ("embedding", "final")]
    return tuple((hidden or listed)[-1:])
