"""Which classes models choose from, and which class each label names."""

from collections.abc import Sequence
from dataclasses import replace

from conceptprobe.images import ImageSource
from conceptprobe.models import VisionModel
from conceptprobe.probes.classifiers.categories import CATEGORIES, category_head
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.heads import ClassHead, class_keys, head_of
from conceptprobe.probes.framework.imagenet_classes import imagenet_synsets, is_imagenet
from conceptprobe.probes.framework.images import class_names
from conceptprobe.probes.framework.run_settings import RunSettings


def names_classes(model: VisionModel) -> bool:
    """Whether a model can name classes: by its classifier, or by text."""
    return model.has_class_names or model.has_text


def common_classes(models: Sequence[VisionModel], source: ImageSource, run: RunSettings) -> tuple[str, ...]:
    """The classes of the first model that has a classifier, or else the labels of the images."""
    native = next((model.class_names for model in models if model.has_class_names), None)
    if native is not None:
        return native
    return tuple(sorted({name for name in class_names(source, run) if name is not None}))


def complete_class_map(classes: Sequence[str], source: ImageSource, run: RunSettings) -> RunSettings:
    """The settings with a class map from WordNet ids, if the images are labelled by those of ImageNet's classes.

    Raises:
        ProbeError: A label is the name of several classes.
    """
    keys = class_keys(classes)
    labels = {*class_names(source, run)}
    if run.class_map is None and is_imagenet(classes) and not labels & {*keys} and labels & {*imagenet_synsets()}:
        return replace(run, class_map=dict(zip(imagenet_synsets(), keys, strict=True)))
    shared = sorted({name for name, key in zip(classes, keys, strict=True) if name != key and name in labels})
    if shared:
        several = " and ".join(repr(key) for name, key in zip(classes, keys, strict=True) if name == shared[0])
        raise ProbeError(f"{shared[0]!r} is the name of several classes: give class_map={{label: one of {several}}}")
    return run


def class_head(model: VisionModel, classes: Sequence[str], templates: Sequence[str]) -> ClassHead:
    """A head over some classes; ImageNet classifiers name the sixteen categories by the classes that belong to them."""
    if model.has_class_names and is_imagenet(model.class_names) and CATEGORIES.keys() >= {*classes}:
        return category_head(model).subset([tuple(CATEGORIES).index(name) for name in classes])
    return head_of(model, classes, templates)
