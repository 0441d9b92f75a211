"""From what a model puts out to scores of classes: its own classifier, or a zero-shot one made of text."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptprobe.models import VisionModel
from conceptprobe.models.layers import suggest
from conceptprobe.probes.errors import ProbeError

LOGIT_SCALE = 100.0


@dataclass(frozen=True, eq=False)
class ClassHead:
    """A classifier over named classes.

    Attributes:
        kind: "native": columns of the model's own logits; "zero-shot": cosines with the classes' text embeddings, times
            100 (Radford et al. 2021, arXiv 2103.00020).
        layer: The layer that it reads: `logits` or `embedding`.
        classes: Names, one a score.
        columns: native: which logit each class is, int64 [c].
        weights_dc: zero-shot: text embeddings of length one, a column a class.
    """

    kind: str
    layer: str
    classes: tuple[str, ...]
    columns: Tensor | None = None
    weights_dc: Tensor | None = None

    def __call__(self, value_bd: Tensor) -> Tensor:
        """Scores [b,c], float32, of what the layer gave."""
        value_bd = value_bd.float()
        if self.weights_dc is not None:
            return LOGIT_SCALE * F.normalize(value_bd, dim=-1) @ self.weights_dc
        assert self.columns is not None, self
        return value_bd[:, self.columns]

    def subset(self, indices: Sequence[int]) -> "ClassHead":
        """The head of some of its classes, in the order given, such as the 200 of ImageNet-R.

        Raises:
            ProbeError: An index is not one of a class, or no index is given.
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
        """The number of each label's class, int64 [n].

        Raises:
            ProbeError: A label is none of the classes.
        """
        number = {name: i for i, name in enumerate(self.classes)}
        if unknown := [label for label in labels if label not in number]:
            raise ProbeError(f"{unknown[0]!r} is no class of this head.{suggest(unknown[0], self.classes)}")
        return np.array([number[label] for label in labels], np.int64)


def native_head(model: VisionModel, classes: Sequence[str] | None = None) -> ClassHead:
    """The model's own classifier, restricted to some of its classes by name.

    Raises:
        ModelError: The model has no classifier, or its classes no names.
        ProbeError: A class is not one of the model's.
    """
    names = model.class_names
    head = ClassHead("native", "logits", names, columns=torch.arange(len(names), device=model.device))
    return head if classes is None or tuple(classes) == names else head.subset(head.targets(classes).tolist())


def zero_shot_head(model: VisionModel, classes: Sequence[str], templates: Sequence[str] = ("{}",)) -> ClassHead:
    """Text embeddings as a classifier: for each class the embeddings of all templates, each of length one, are
    averaged, and the mean brought to length one (Radford et al. 2021).

    Args:
        templates: Texts with `{}` for the class name.

    Raises:
        ModelError: The model has no text tower.
        ProbeError: No template, or one without `{}`.
    """
    if not templates or any("{}" not in template for template in templates):
        raise ProbeError(f"templates are texts with {{}} for the class name, got {list(templates)[:3]}")
    texts = [template.format(name) for name in classes for template in templates]
    with torch.inference_mode():
        parts = [model.encode_text(texts[i : i + 256]).float() for i in range(0, len(texts), 256)]
        means_cd = torch.cat(parts).unflatten(0, (len(classes), len(templates))).mean(1)
    return ClassHead("zero-shot", "embedding", tuple(classes), weights_dc=F.normalize(means_cd, dim=-1).T.contiguous())


def head_of(model: VisionModel, classes: Sequence[str], templates: Sequence[str] = ("{}",)) -> ClassHead:
    """The model's own classifier where it knows all the classes by name, else a zero-shot one.

    Raises:
        ProbeError: The model can do neither.
    """
    known = set(model.class_names) if model.has_class_names else set()
    if known.issuperset(classes):
        return native_head(model, classes)
    if model.has_text:
        return zero_shot_head(model, classes, templates)
    if known:
        missing = [name for name in classes if name not in known]
        raise ProbeError(
            f"{model.spec} knows {len(classes) - len(missing)} of the {len(classes)} classes; it lacks "
            f"{missing[0]!r}: choose images of its classes, or give class_map={{label: class name}}"
        )
    raise ProbeError(
        f"{model.spec} has neither a classifier with named classes nor a text tower: this probe needs one of them"
    )
