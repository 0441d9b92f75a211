"""Which classes models are asked to choose from, and how labels lead to them."""

from collections.abc import Mapping, Sequence

from conceptprobe.images import ImageSource
from conceptprobe.models import VisionModel
from conceptprobe.probes.classifiers.categories import CATEGORIES, category_head
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.heads import ClassHead, class_keys, head_of
from conceptprobe.probes.framework.imagenet_classes import imagenet_synsets, is_imagenet
from conceptprobe.probes.framework.images import class_names


def names_classes(model: VisionModel) -> bool:
    """Whether a model can be asked for classes: by its own classifier, or by text."""
    return model.has_class_names or model.has_text


def common_classes(
    models: Sequence[VisionModel], source: ImageSource, label: str, class_map: Mapping[str, str] | None
) -> tuple[str, ...]:
    """The classes of the first model that has some, or what the images are labelled."""
    native = next((model.class_names for model in models if model.has_class_names), None)
    if native is not None:
        return native
    return tuple(sorted({name for name in class_names(source, label, class_map) if name is not None}))


def map_of_classes(
    classes: tuple[str, ...], source: ImageSource, label: str, class_map: Mapping[str, str] | None
) -> Mapping[str, str] | None:
    """The class map, or one from WordNet ids where images of ImageNet's classes are labelled by these.

    Raises:
        ProbeError: A label is the name of several classes.
    """
    keys = class_keys(classes)
    found = {*class_names(source, label, class_map)}
    if class_map is None and is_imagenet(classes) and not found & {*keys} and found & {*imagenet_synsets()}:
        return dict(zip(imagenet_synsets(), keys, strict=True))
    shared = sorted({name for name, key in zip(classes, keys, strict=True) if name != key and name in found})
    if shared:
        several = " and ".join(repr(key) for name, key in zip(classes, keys, strict=True) if name == shared[0])
        raise ProbeError(f"{shared[0]!r} is the name of several classes: give class_map={{label: one of {several}}}")
    return class_map


def class_head(model: VisionModel, classes: Sequence[str], templates: Sequence[str]) -> ClassHead:
    """Over some classes; ImageNet's classifiers know the sixteen categories by the classes that belong to them."""
    if model.has_class_names and is_imagenet(model.class_names) and CATEGORIES.keys() >= {*classes}:
        return category_head(model).subset([tuple(CATEGORIES).index(name) for name in classes])
    return head_of(model, classes, templates)
