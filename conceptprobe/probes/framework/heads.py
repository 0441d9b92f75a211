"""Heads: classifiers over named classes, either the model's own or a zero-shot one made of text."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptprobe.models import VisionModel
from conceptprobe.models.layers import suggest
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.imagenet_classes import is_imagenet

LOGIT_SCALE = 100.0
TEMPLATE_LISTS: Mapping[str, tuple[str, ...]] = {
    "openai": tuple(fill("{}") for fill in open_clip.OPENAI_IMAGENET_TEMPLATES),
    "simple": tuple(fill("{}") for fill in open_clip.SIMPLE_IMAGENET_TEMPLATES),
}
"""CLIP's 80 templates for ImageNet, and the seven that its authors selected from them."""


@dataclass(frozen=True, eq=False)
class ClassHead:
    """A classifier over named classes.

    Attributes:
        kind: "native": columns of the model's own logits; "zero-shot": cosines with the classes' text embeddings, times
            100 (Radford et al. 2021, arXiv 2103.00020).
        layer: The layer that it reads: `logits` or `embedding`.
        classes: Names, one a score.
        columns: native: the logit of each class, int64 [c].
        weights_dc: zero-shot: text embeddings of length one, a column for each class.
    """

    kind: str
    layer: str
    classes: tuple[str, ...]
    columns: Tensor | None = None
    weights_dc: Tensor | None = None

    def __call__(self, value_bd: Tensor) -> Tensor:
        """Scores [b,c], float32, of the layer's output."""
        value_bd = value_bd.float()
        if self.weights_dc is not None:
            return LOGIT_SCALE * F.normalize(value_bd, dim=-1) @ self.weights_dc
        assert self.columns is not None, self
        return value_bd[:, self.columns]

    def subset(self, indices: Sequence[int]) -> "ClassHead":
        """The head over some of its classes, in this order, such as the 200 of ImageNet-R.

        Raises:
            ProbeError: There is no index, or one that is not a class.
        """
        chosen = np.asarray(indices, np.int64)
        if not len(chosen) or chosen.min() < 0 or chosen.max() >= len(self.classes):
            raise ProbeError(f"a subset takes numbers from 0 to {len(self.classes) - 1}, got {list(indices)[:5]}")
        classes = tuple(self.classes[i] for i in chosen)
        if self.weights_dc is not None:
            return replace(self, classes=classes, weights_dc=self.weights_dc[:, chosen])
        assert self.columns is not None, self
        return replace(self, classes=classes, columns=self.columns[chosen])

    def targets(self, labels: Sequence[str]) -> np.ndarray:
        """The index of each label's class, int64 [n].

        Raises:
            ProbeError: A label is none of the classes.
        """
        index = {key: i for i, key in enumerate(class_keys(self.classes))}
        if unknown := [label for label in labels if label not in index]:
            raise ProbeError(f"{unknown[0]!r} is not a class of this head.{suggest(unknown[0], index)}")
        return np.array([index[label] for label in labels], np.int64)


def class_keys(names: Sequence[str]) -> tuple[str, ...]:
    """Unique keys of classes: their names, with the class number where several share a name, as "crane (134)".

    Among ImageNet's 1,000 classes, timm's names repeat one and open_clip's two.
    """
    count = Counter(names)
    return tuple(name if count[name] == 1 else f"{name} ({number})" for number, name in enumerate(names))


def native_head(model: VisionModel, classes: Sequence[str] | None = None) -> ClassHead:
    """The model's classifier, restricted to some of its classes by name (see `class_keys`).

    Raises:
        ModelError: The model has no classifier, or its classes have no names.
        ProbeError: A class is not one of the model's.
    """
    names = model.class_names
    head = ClassHead("native", "logits", class_keys(names), columns=torch.arange(len(names), device=model.device))
    return head if classes is None or tuple(classes) == names else head.subset(head.targets(classes).tolist())


def zero_shot_head(model: VisionModel, classes: Sequence[str], templates: Sequence[str] = ("{}",)) -> ClassHead:
    """Text embeddings as a classifier (Radford et al. 2021).

    For each class, the embeddings of all templates are scaled to length one and averaged, and their mean is scaled to
    length one.

    Args:
        model: A model with a text tower.
        classes: Class names.
        templates: Texts with `{}` for the class name, or names of `TEMPLATE_LISTS`.

    Raises:
        ModelError: The model has no text tower.
        ProbeError: There is no template, or one without `{}`.
    """
    return ensemble_head(template_heads(model, classes, templates))


def template_heads(model: VisionModel, classes: Sequence[str], templates: Sequence[str]) -> list[ClassHead]:
    """A zero-shot head for each template alone; see `zero_shot_head`."""
    texts = [text.format(name) for text in template_texts(templates) for name in classes]
    with torch.inference_mode():
        embeddings = [model.encode_text(texts[i : i + 256]).float() for i in range(0, len(texts), 256)]
    return [
        ClassHead("zero-shot", "embedding", tuple(classes), weights_dc=weights_cd.T.contiguous())
        for weights_cd in torch.split(torch.cat(embeddings), len(classes))
    ]


def ensemble_head(heads: Sequence[ClassHead]) -> ClassHead:
    """The zero-shot head of the mean of several heads' text embeddings."""
    weights = [head.weights_dc for head in heads if head.weights_dc is not None]
    return replace(heads[0], weights_dc=F.normalize(torch.stack(weights).mean(0), dim=0))


def template_texts(templates: Sequence[str]) -> tuple[str, ...]:
    """Templates, with the names of `TEMPLATE_LISTS` replaced by their templates.

    Raises:
        ProbeError: There is no template, or one that is no list and has no `{}`.
    """
    if not templates or any("{}" not in text and text not in TEMPLATE_LISTS for text in templates):
        raise ProbeError(
            f"templates are texts with {{}} for the class name, or {' or '.join(TEMPLATE_LISTS)}, got "
            f"{list(templates)[:3]}"
        )
    return tuple(text for name in templates for text in TEMPLATE_LISTS.get(name, (name,)))


def imagenet_head(model: VisionModel, templates: Sequence[str] = ("{}",)) -> ClassHead:
    """A head over ImageNet's 1,000 classes in the order of the logits.

    Raises:
        ProbeError: The model is no classifier of these classes and has no text tower either.
    """
    if model.has_class_names and is_imagenet(model.class_names):
        return native_head(model)
    if model.has_text:
        return zero_shot_head(model, open_clip.IMAGENET_CLASSNAMES, templates)
    raise ProbeError(f"{model.spec} is no classifier of ImageNet's 1,000 classes and has no text tower")


def head_of(model: VisionModel, classes: Sequence[str], templates: Sequence[str] = ("{}",)) -> ClassHead:
    """The model's classifier where it knows all the classes by name, else a zero-shot head.

    Raises:
        ProbeError: The model has neither.
    """
    if model.has_class_names and is_imagenet(model.class_names) and is_imagenet(classes):
        return replace(native_head(model), classes=tuple(classes))  # other wording, same order
    known = {*class_keys(model.class_names)} if model.has_class_names else set[str]()
    if known.issuperset(class_keys(classes)):
        return native_head(model, classes)
    if model.has_text:
        return zero_shot_head(model, classes, templates)
    if known:
        missing = [name for name in classes if name not in known]
        several = sorted(key for key in known if key.startswith(f"{missing[0]} ("))
        instead = f", which is the name of {' and '.join(several)}" if several else ""
        raise ProbeError(
            f"{model.spec} knows {len(classes) - len(missing)} of the {len(classes)} classes; it lacks "
            f"{missing[0]!r}{instead}: choose images of its classes, or give class_map={{label: class name}}"
        )
    raise ProbeError(
        f"{model.spec} has neither a classifier with named classes nor a text tower: this probe needs one of them"
    )
