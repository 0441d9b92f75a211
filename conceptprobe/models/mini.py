"""The embedded models: CLIP and supervised twins, and the distilled ViT from which both were trained."""

import json
from typing import Any

from torch import Tensor

from conceptprobe.mini.architecture import IMAGE_SIZE, MEAN, STD, WIDTH, data_path, make_classifier, make_clip
from conceptprobe.mini.tokenizer import MiniTokenizer
from conceptprobe.models import open_clip, timm
from conceptprobe.models.checkpoints import find_checkpoint, load_state, read_state, seeded
from conceptprobe.models.errors import SpecError
from conceptprobe.models.preprocessing import Preprocessing
from conceptprobe.models.spec import ModelSpec
from conceptprobe.models.vision_model import VisionModel

ARCHITECTURES = ("clip", "supervised", "distilled")
_SIZE = (IMAGE_SIZE, IMAGE_SIZE)
_PREPROCESSING = Preprocessing(size=_SIZE, resize=_SIZE, mean=MEAN, std=STD, mode="squash")


def load(spec: ModelSpec) -> VisionModel:
    """`mini:clip`, `mini:supervised` or `mini:distilled`: embedded weights, `@file`, or `@random`; `#pixels`."""
    if spec.architecture not in ARCHITECTURES or (spec.weights and not spec.path and not spec.is_random):
        raise SpecError(
            f"{spec.text!r}: the mini models are {', '.join(names())}, alone or followed by @FILE or @random"
        )
    preprocessing = _PREPROCESSING.at(spec.pixels) if spec.pixels else _PREPROCESSING
    if spec.architecture == "clip":
        tokenizer = MiniTokenizer.load(data_path("vocabulary.json"))
        with seeded():
            clip = make_clip(tokenizer.vocabulary_size)
        _load_weights(spec, clip)
        open_clip.resize_input(spec, clip)
        return open_clip.vision_model(spec, clip, WIDTH, preprocessing, tokenizer)
    classes = ()
    if spec.architecture == "supervised":
        classes = tuple(json.loads(data_path("classes.json").read_text()))
    with seeded():
        module = make_classifier(len(classes))
    _load_weights(spec, module)
    timm.resize_input(spec, module)
    return VisionModel(
        spec.text,
        module,
        timm.anatomy(module),
        preprocessing,
        architecture=spec.name,
        has_logits=bool(classes),
        class_names=classes or None,
    )


def names() -> list[str]:
    """Specs of all embedded models."""
    return [f"mini:{name}" for name in ARCHITECTURES]


def _load_weights(spec: ModelSpec, module: Any) -> None:
    if spec.is_random:
        return
    path = find_checkpoint(spec.path or data_path(f"{spec.architecture}.safetensors"))
    state: dict[str, Tensor] = {key: value.float() for key, value in read_state(path).items()}
    load_state(module, state, path, spec.name)
