"""ImageNet's 1,000 classes by index and WordNet id, because their names are not unique; the lists come with timm."""

import functools
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path


def is_imagenet(names: Sequence[str]) -> bool:
    """Whether these are names of ImageNet's 1,000 classes in their usual order, in any wording."""
    return len(names) == len(imagenet_synsets()) and "tench" in names[0].lower()


@functools.cache
def imagenet_synsets() -> tuple[str, ...]:
    """The WordNet ids of the 1,000 classes in the order of the logits."""
    return tuple(_shipped("imagenet_synsets.txt").read_text().split())


@functools.cache
def subset_indices(name: str) -> tuple[int, ...]:
    """The indices of the 200 classes of ImageNet-R (`r`) or ImageNet-A (`a`)."""
    return tuple(int(line) for line in _shipped(f"imagenet_{name}_indices.txt").read_text().split())


@functools.cache
def real_labels() -> tuple[tuple[int, ...], ...]:
    """ReaL's labels of the 50,000 validation images, in the order of their file names; 3,163 images have none."""
    return tuple(tuple(labels) for labels in json.loads(_shipped("imagenet_real_labels.json").read_text()))


def _shipped(name: str) -> Path:
    return Path(str(files("timm.data") / "_info" / name))
