"""Run a probe by its name: `run_probe`."""

import dataclasses
import functools
import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from conceptprobe.concepts.scoring.scores import FeatureScores
from conceptprobe.images import ImageSource, as_images
from conceptprobe.indexing.reducers.pooling import check_pooling
from conceptprobe.models import VisionModel, as_model
from conceptprobe.models.layers import suggest
from conceptprobe.probes.classifiers.categories import category_head
from conceptprobe.probes.classifiers.choose import class_head, common_classes, map_of_classes, names_classes
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.cache import Memory
from conceptprobe.probes.framework.heads import ClassHead, class_keys
from conceptprobe.probes.framework.images import Items, choose_items, class_names
from conceptprobe.probes.framework.probe import Findings, Probe
from conceptprobe.probes.framework.responses import Subject
from conceptprobe.probes.framework.result import ProbeResult, make_curves, make_differences
from conceptprobe.probes.framework.settings import make_probe_settings
from conceptprobe.probes.protocols import (
    adversarial,
    attention_distance,
    background,
    block_readout,
    cls_attention,
    corruption,
    cutout,
    frequency,
    lesion,
    local_attention,
    occlusion,
    patch_size,
    rotation,
    shape_bias,
    shape_distillation,
    shuffle,
    transfer,
    zero_shot,
)

PROBES: dict[str, Probe] = {
    module.PROBE.name: module.PROBE
    for module in (
        adversarial,
        attention_distance,
        background,
        block_readout,
        cls_attention,
        corruption,
        cutout,
        frequency,
        lesion,
        local_attention,
        occlusion,
        patch_size,
        rotation,
        shape_bias,
        shape_distillation,
        shuffle,
        transfer,
        zero_shot,
    )
}
NO_ANSWERS = "{} cannot name classes, so that it is only compared with itself: by its embedding and its features."


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
    memory: Memory | None = None,
    **settings: Any,
) -> ProbeResult:
    """Probe one or several models with the same images.

    Args:
        name: One of `PROBES`.
        models: `VisionModel`s or what `load_model` takes.
        images: An `ImageSource` or what `load_images` takes.
        n: How many images, drawn at random; None takes all.
        classes: The class names to choose from; by default those that the first model with a classifier has, or all
            labels of the images where none has one. Of a name that several have, `class_keys` tells them apart.
        class_map: From labels to class names, where those differ. WordNet ids of ImageNet's classes need none.
        label: The column with the labels.
        templates: Texts with `{}` for zero-shot heads.
        masks: A folder of masks; by default the alpha channels.
        layers: Layers whose features are followed where the probe can; by default the last block's `mlp.hidden`, or the
            last listed layer. For probes that read features, the layers that they read; each has its own default.
        scores: By model spec: splits the survival of features by their verdict.
        pooling: How these features are pooled.
        seed: Where random draws come from.
        memory: Give the same one to several probes of the same models and images, so that these are read, and shown to
            the models unchanged, only once.
        settings: Of the probe itself; see its class in `PROBES[name].settings`.

    Raises:
        ProbeError: Something is missing that the probe needs, or a setting is not one of its settings. Nothing was
            computed then.
        IndexingError: A layer has no such pooling; nothing was computed either.
    """
    probe = get_probe(name)
    config = make_probe_settings(probe, settings)
    loaded = [as_model(model) for model in _listed(models)]
    specs = [model.spec for model in loaded]
    if len({*specs}) != len(specs):
        raise ProbeError(f"the same model is given twice: {specs}")
    if unknown := sorted({*(scores or {})} - {*specs}):
        raise ProbeError(f"scores are given for {unknown[0]}, which is none of the models {', '.join(specs)}")
    memory = Memory() if memory is None else memory
    probe.check_models(loaded, config)
    source = as_images(images)
    heads: list[ClassHead | None] = [None] * len(loaded)
    among = None
    needs = probe.needs | probe.needs_more(config)
    naming = [model for model in loaded if "classes" in needs or ("answers" in needs and names_classes(model))]
    if naming:
        chosen = tuple(classes) if classes is not None else common_classes(loaded, source, label, class_map)
        class_map = map_of_classes(chosen, source, label, class_map)
        among = {*class_keys(chosen)}
    elif "labels" in needs:
        known = class_names(source, label, class_map)
        among = {name for name in known if name is not None and (classes is None or name in classes)}
    items = choose_items(source, n, seed, among=among, label=label, class_map=class_map, masks=masks, memory=memory)
    if "masks" in needs:
        items = items.with_masks()
    verdicts = scores if scores is not None and probe.follows else {}
    subjects = [
        make_subject(model, None, _asked_layers(probe, model, layers), pooling, verdicts.get(model.spec))
        for model in loaded
    ]
    if naming:
        heads = [
            memory.get(("head", model, chosen, *templates), functools.partial(class_head, model, chosen, templates))
            if model in naming
            else None
            for model in loaded
        ]
    elif "categories" in needs:
        heads = [category_head(model, templates) for model in loaded]
    subjects = [dataclasses.replace(subject, head=head) for subject, head in zip(subjects, heads, strict=True)]
    check_needs(probe, config, subjects, items)
    found = [probe.run(subject, items, config, seed) for subject in subjects]
    if "answers" in needs:
        found = [
            findings if model in naming else findings.with_caveat(NO_ANSWERS.format(model.spec))
            for model, findings in zip(loaded, found, strict=True)
        ]
    result = assemble(probe, config, subjects, items, found, seed)
    asked = {
        "n": n, "label": label, "templates": list(templates), "masks": None if masks is None else str(masks),
        "scores": sorted(scores or {}), "own_classes": classes is not None, "class_map": class_map is not None,
        "layers": [layers] if isinstance(layers, str) else layers and list(layers),
    }  # fmt: skip
    return dataclasses.replace(result, about={**result.about, "asked": asked})


def get_probe(name: str) -> Probe:
    """A probe by its name.

    Raises:
        ProbeError: There is none of that name; says which are near.
    """
    if name not in PROBES:
        raise ProbeError(f"no probe {name!r}.{suggest(name, PROBES)}")
    return PROBES[name]


def make_subject(
    model: VisionModel,
    head: ClassHead | None,
    layers: str | Sequence[str] | None,
    pooling: str,
    scores: FeatureScores | None,
) -> Subject:
    """A model with the layers to follow, and the verdicts on their features.

    Raises:
        ProbeError: The scores are of another model, or have no verdicts on a layer that is followed.
        IndexingError: A layer has no such pooling.
    """
    followed = _default_layers(model) if layers is None else layers
    found = tuple(model.resolve(followed)) if followed else ()
    for layer in found:
        if layer.kind != "vector":
            check_pooling(layer, pooling)
    verdicts: dict[str, np.ndarray] = {}
    if scores is not None:
        if scores.settings["fingerprints"]["model"] != model.fingerprint:
            raise ProbeError(f"the scores given for {model.spec} are of another model, {scores.settings['model']}")
        for layer in found:
            part = scores.frame[scores.frame["layer"] == layer.name].sort_values("feature")
            if len(part) != layer.width:
                scored = ", ".join(scores.frame["layer"].unique())
                raise ProbeError(
                    f"{layer.name} is followed, and the scores given for {model.spec} have verdicts on {len(part)} of "
                    f"its {layer.width} features; they have layers {scored}: follow one of those, or score that layer"
                )
            verdicts[layer.name] = part["verdict"].astype(str).to_numpy(object)
    return Subject(model, head, found, pooling, verdicts)


def check_needs(probe: Probe, config: Any, subjects: Sequence[Subject], items: Items) -> None:
    """Find out before any compute whether models and images have what a probe needs.

    Raises:
        ProbeError: A model has no attention, an image no mask, or the probe's own check says no.
    """
    needs = probe.needs | probe.needs_more(config)
    for subject in subjects:
        kinds = {layer.kind for layer in subject.model.layers}
        if "attention" in needs and "attention" not in kinds:
            raise ProbeError(f"{probe.name} looks at attention, and {subject.model.spec} has none")
        probe.check(subject, items, config)
    if "masks" in needs:
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
        "axes": dict(probe.axes),
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
    caveats = [text for findings in found for text in findings.caveats]
    if items.left_out:
        whole = len(items) + items.left_out
        caveats.append(f"Left out for want of an alpha channel: {items.left_out} of {whole} images.")
    return ProbeResult(
        probe.name, probe.question, rows, make_curves(rows),
        make_differences(rows, x_of_model=probe.x_of_model), join("features"), join("survival"), artifacts, about,
        tuple(dict.fromkeys(caveats)), probe.context,
    )  # fmt: skip


def _listed(models: VisionModel | str | Sequence[VisionModel | str]) -> Sequence[VisionModel | str]:
    listed = [models] if isinstance(models, VisionModel | str) else list(models)
    if not listed:
        raise ProbeError("no model is given")
    return listed


def _asked_layers(probe: Probe, model: VisionModel, layers: str | Sequence[str] | None) -> str | Sequence[str] | None:
    if probe.reads is not None:
        return probe.reads(model) if layers is None else layers
    return layers if probe.follows else ()


def _default_layers(model: VisionModel) -> tuple[str, ...]:
    hidden = [layer.name for layer in model.layers if layer.name.endswith(".mlp.hidden")]
    listed = [layer.name for layer in model.layers if layer.name not in ("embedding", "final")]
    return tuple((hidden or listed)[-1:])
