"""Run a probe by its name: `run_probe`."""

import dataclasses
import functools
import importlib
import os
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from conceptprobe.concepts.scoring.scores import FeatureScores
from conceptprobe.images import ImageSource, as_images
from conceptprobe.indexing.reducers.pooling import check_pooling
from conceptprobe.models import VisionModel, as_model
from conceptprobe.models.layers import suggest
from conceptprobe.probes import protocols
from conceptprobe.probes.classifiers.categories import category_head
from conceptprobe.probes.classifiers.choose import class_head, common_classes, complete_class_map, names_classes
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.cache import Memory
from conceptprobe.probes.framework.heads import ClassHead, class_keys
from conceptprobe.probes.framework.images import choose_images, class_names
from conceptprobe.probes.framework.probe import Probe
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.result import ProbeResult
from conceptprobe.probes.framework.run_settings import RunSettings
from conceptprobe.probes.framework.runner import run_on_models
from conceptprobe.probes.framework.settings import make_probe_settings
from conceptprobe.validation import make_settings

PROBES: dict[str, Probe] = {
    name: importlib.import_module(f"{protocols.__name__}.{name}").PROBE
    for _, name, _ in pkgutil.iter_modules(protocols.__path__)
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
    masks: str | os.PathLike[str] | None = None,
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
            labels of the images where no model has one. Where several classes share a name, see `class_keys`.
        class_map: From labels to class names, where those differ. WordNet ids of ImageNet's classes need none.
        label: The column with the labels.
        templates: Texts with `{}` for zero-shot heads.
        masks: A folder of masks; by default the alpha channels.
        layers: Layers whose features are followed where the probe can; by default the last block's `mlp.hidden`, or the
            last listed layer. For probes that read features, the layers that they read; each has its own default.
        scores: By model spec: splits the survival of features by their verdict.
        pooling: How these features are pooled.
        seed: Seed of all random draws.
        memory: A cache that several probes of the same models and images share, so that the images are read, and shown
            to the models unchanged, only once.
        **settings: Settings of the probe itself; see the class `PROBES[name].settings`.

    Raises:
        ProbeError: The models, images or settings do not fit the probe. Nothing was computed.
        IndexingError: A layer has no such pooling. Nothing was computed.
    """
    probe = get_probe(name)
    config = make_probe_settings(probe, settings)
    run = make_settings(
        RunSettings,
        {
            "n": n, "classes": _as_list(classes), "label": label,
            "class_map": dict(class_map) if isinstance(class_map, Mapping) else class_map,
            "templates": _as_list(templates),
            "masks": os.fspath(masks) if isinstance(masks, os.PathLike) else masks,
            "layers": (layers,) if isinstance(layers, str) else _as_list(layers), "pooling": pooling, "seed": seed,
        },
        what="a run of a probe", error=ProbeError,
    )  # fmt: skip
    loaded = load_models(models)
    scores = check_scores(scores or {}, loaded)
    probe.check_models(loaded, config)
    memory = Memory() if memory is None else memory
    source, needs, candidates = as_images(images), probe.all_needs(config), run.classes
    naming = [model for model in loaded if "classes" in needs or ("answers" in needs and names_classes(model))]
    among = None
    if naming:
        candidates = common_classes(loaded, source, run) if candidates is None else candidates
        run = complete_class_map(candidates, source, run)
        among = {*class_keys(candidates)}
    elif "labels" in needs:
        known = {class_name for class_name in class_names(source, run) if class_name is not None}
        among = known if candidates is None else known & {*candidates}
    chosen = choose_images(source, run, among=among, memory=memory)
    if "masks" in needs:
        chosen = chosen.with_masks()
    probed_models = [
        probe_model(
            model, _layers_of(probe, model, run.layers), run.pooling, scores.get(model.spec) if probe.follows else None
        )
        for model in loaded
    ]

    def make_head(model: VisionModel) -> ClassHead | None:
        if "categories" in needs:
            return category_head(model, run.templates)
        if model not in naming:
            return None
        make = functools.partial(class_head, model, candidates or (), run.templates)
        return memory.get(("head", model, candidates, *run.templates), make)

    probed_models = [dataclasses.replace(probed, head=make_head(probed.model)) for probed in probed_models]
    result = run_on_models(probe, config, probed_models, chosen, run.seed)
    asked = {
        "n": run.n, "label": run.label, "templates": list(run.templates), "masks": run.masks,
        "scores": sorted(scores), "own_classes": run.classes is not None, "class_map": run.class_map is not None,
        "layers": run.layers and list(run.layers),
    }  # fmt: skip
    return dataclasses.replace(result, about={**result.about, "asked": asked})


def get_probe(name: str) -> Probe:
    """A probe by its name.

    Raises:
        ProbeError: There is none of that name; the message says which are near.
    """
    if name not in PROBES:
        raise ProbeError(f"no probe {name!r}.{suggest(name, PROBES)}")
    return PROBES[name]


def load_models(models: VisionModel | str | Sequence[VisionModel | str]) -> list[VisionModel]:
    """The models of a run, loaded.

    Raises:
        ProbeError: There is no model, or one model twice.
    """
    loaded = [as_model(model) for model in ([models] if isinstance(models, VisionModel | str) else models)]
    specs = [model.spec for model in loaded]
    if not specs:
        raise ProbeError("there is no model to probe: name at least one")
    if len({*specs}) != len(specs):
        raise ProbeError(f"the same model is listed twice: {specs}")
    return loaded


def check_scores(scores: Mapping[str, FeatureScores], models: Sequence[VisionModel]) -> Mapping[str, FeatureScores]:
    """The scores, if each is of one of the models.

    Raises:
        ProbeError: Scores are of another model.
    """
    specs = [model.spec for model in models]
    if unknown := sorted({*scores} - {*specs}):
        raise ProbeError(f"scores are given for {unknown[0]}, which is none of the models {', '.join(specs)}")
    return scores


def probe_model(
    model: VisionModel, layers: Sequence[str] | None, pooling: str, scores: FeatureScores | None
) -> ProbedModel:
    """A model with the layers to follow and the verdicts on their features; its head is still missing.

    Args:
        model: The model.
        layers: The layers; None takes the last block's `mlp.hidden`, or the last listed layer.
        pooling: How their features are pooled.
        scores: Whose verdicts these are; None leaves them out.

    Raises:
        ProbeError: The scores are of another model, or have no verdicts on a layer that is followed.
        IndexingError: A layer has no such pooling.
    """
    followed = _default_layers(model) if layers is None else layers
    resolved = tuple(model.resolve(followed)) if followed else ()
    for layer in resolved:
        if layer.kind != "vector":
            check_pooling(layer, pooling)
    verdicts: dict[str, np.ndarray] = {}
    if scores is not None:
        if scores.settings["fingerprints"]["model"] != model.fingerprint:
            raise ProbeError(f"the scores given for {model.spec} are of another model, {scores.settings['model']}")
        for layer in resolved:
            rows = scores.frame[scores.frame["layer"] == layer.name].sort_values("feature")
            if len(rows) != layer.width:
                scored = ", ".join(scores.frame["layer"].unique())
                raise ProbeError(
                    f"{layer.name} is followed, and the scores given for {model.spec} have verdicts on {len(rows)} of "
                    f"its {layer.width} features; they have layers {scored}: follow one of those, or score that layer"
                )
            verdicts[layer.name] = rows["verdict"].astype(str).to_numpy(object)
    return ProbedModel(model, None, resolved, pooling, verdicts)


def _layers_of(probe: Probe, model: VisionModel, layers: Sequence[str] | None) -> Sequence[str] | None:
    if probe.reads is not None:
        return probe.reads(model) if layers is None else layers
    return layers if probe.follows else ()


def _default_layers(model: VisionModel) -> tuple[str, ...]:
    hidden = [layer.name for layer in model.layers if layer.name.endswith(".mlp.hidden")]
    listed = [layer.name for layer in model.layers if layer.name not in ("embedding", "final")]
    return tuple((hidden or listed)[-1:])


def _as_list(values: Any) -> Any:
    """A sequence of any kind as a list, which validation takes; text stays as it is and is refused there."""
    return list(values) if isinstance(values, Sequence) and not isinstance(values, str) else values
