"""ImageNet's 1,000 classes by their places and WordNet ids: their names are not unique. Lists are those timm ships."""

import functools
import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path


def is_imagenet(names: Sequence[str]) -> bool:
    """Whether names are those of ImageNet's 1,000 classes in their usual order, in some source's wording."""
    return len(names) == len(imagenet_synsets()) and "tench" in names[0].lower()


@functools.cache
def imagenet_synsets() -> tuple[str, ...]:
    """The 1,000 classes in the order of the logits."""
    return tuple(_shipped("imagenet_synsets.txt").read_text().split())


@functools.cache
def subset_indices(name: str) -> tuple[int, ...]:
    """The logits of the 200 classes of `r` or `a`."""
    return tuple(int(line) for line in _shipped(f"imagenet_{name}_indices.txt").read_text().split())


@functools.cache
def real_labels() -> tuple[tuple[int, ...], ...]:
    """ReaL's labels of the 50,000 validation images, in the order of their names; 3,163 have none."""
    return tuple(tuple(labels) for labels in json.loads(_shipped("imagenet_real_labels.json").read_text()))


def _shipped(name: str) -> Path:
    return Path(str(files("timm.data") / "_info" / name))
