"""The sixteen categories of Geirhos et al. 2019 (arXiv 1811.12231), and a head over them for models of ImageNet.

The classes of ImageNet that belong to each category are those of their public code (rgeirhos/texture-vs-shape,
human_categories.py); 207 of the 1,000 do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from conceptprobe.models import VisionModel
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.heads import ClassHead, imagenet_head

_NUMBERS = {
    "airplane": "404",
    "bear": "294-297",
    "bicycle": "444 671",
    "bird": "8 10-16 18-20 22-24 80-83 87-96 98-100 127-133 135-145",
    "boat": "472 554 625 814 914",
    "bottle": "440 720 737 898 899 901 907",
    "car": "436 511 817",
    "cat": "281-286",
    "chair": "423 559 765 857",
    "clock": "409 530 892",
    "dog": "152-191 193-203 205-226 228-241 243-250 252-257 259 261-263 265-268",
    "elephant": "385 386",
    "keyboard": "508 878",
    "knife": "499",
    "oven": "766",
    "truck": "555 569 656 675 717 734 864 867",
}


def _expand(text: str) -> tuple[int, ...]:
    ranges = [[int(end) for end in span.split("-")] for span in text.split()]
    return tuple(number for ends in ranges for number in range(ends[0], ends[-1] + 1))


CATEGORIES = {name: _expand(text) for name, text in _NUMBERS.items()}
"""The numbers of ImageNet's classes that belong to each category."""


@dataclass(frozen=True, eq=False)
class CategoryHead(ClassHead):
    """A head over groups of classes.

    A group's score is the logarithm of the mean probability of its classes, up to a constant of each image, so that the
    best group is the one with the highest mean (Geirhos et al. 2019).

    Attributes:
        classes: Names of the groups.
        members: The classes of each group, as indices of the head's columns.
    """

    members: tuple[tuple[int, ...], ...] = ()

    def __call__(self, value_bd: Tensor) -> Tensor:
        """Scores [b,groups], float32, of the layer's output."""
        scores_bc = super().__call__(value_bd)
        means = [torch.logsumexp(scores_bc[:, list(group)], 1) - math.log(len(group)) for group in self.members]
        return torch.stack(means, 1)

    def subset(self, indices: Sequence[int]) -> "CategoryHead":
        """The head over some of its groups, in this order.

        Raises:
            ProbeError: There is no index, or one that is not a group.
        """
        if not len(indices) or min(indices) < 0 or max(indices) >= len(self.classes):
            raise ProbeError(f"a subset takes numbers from 0 to {len(self.classes) - 1}, got {list(indices)[:5]}")
        classes = tuple(self.classes[i] for i in indices)
        return replace(self, classes=classes, members=tuple(self.members[i] for i in indices))


def category_head(model: VisionModel, templates: Sequence[str] = ("{}",)) -> CategoryHead:
    """A head over the sixteen categories, from the 1,000 classes of ImageNet of a classifier or a text tower.

    Args:
        model: The model.
        templates: Texts with `{}` for the class name.

    Raises:
        ProbeError: The model is no classifier of ImageNet's 1,000 classes and has no text tower either.
    """
    head = imagenet_head(model, templates)
    return CategoryHead(
        head.kind, head.layer, tuple(CATEGORIES), head.columns, head.weights_dc, tuple(CATEGORIES.values())
    )
