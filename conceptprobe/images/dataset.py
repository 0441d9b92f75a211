"""A torch map-style dataset of PIL images or of tuples that start with one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from conceptprobe.images.errors import SourceError, UnreadableImageError
from conceptprobe.images.readers import DatasetReader, read_item

TRIED = 100  # one of the first so many items must be readable


def list_dataset(dataset: Any) -> tuple[pa.Table, DatasetReader]:
    """List the items of a dataset. The id is `dataset.ids[i]` if the dataset has ids, else the position in nine digits.

    Labels come from `dataset.targets` if it exists, as in torchvision; else, if items are (image, label), from one pass
    over the whole dataset. `dataset.classes` names numbered labels.

    Raises:
        SourceError: The dataset has no length or no items, none of the first TRIED items can be read, or the first
            readable item holds no PIL image.
    """
    kind = type(dataset).__name__
    if not (hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")):
        raise SourceError(
            f"{kind} is not an image source: give a spec such as 'folder:PATH', "
            "or a map-style dataset with __len__ and __getitem__"
        )
    count = len(dataset)
    if not count:
        raise SourceError(f"the dataset {kind} is empty")
    first = (_item(dataset, position) for position in range(min(count, TRIED)))
    item = next((item for item in first if item is not None), None)
    if item is None:
        raise SourceError(
            f"none of the first {min(count, TRIED)} items of {kind} can be read: check the error that item 0 raises"
        )
    image, *rest = item if isinstance(item, tuple | list) and item else (item,)
    if not isinstance(image, Image.Image):
        raise SourceError(
            f"items of {kind} must be PIL images or start with one, not {type(image).__name__}: "
            "remove its transform, because every model has its preprocessing"
        )
    ids = getattr(dataset, "ids", None)
    if ids is not None and len(ids) != count:
        raise SourceError(f"{kind} has {count} items and {len(ids)} ids: give one id for each item")
    columns: dict[str, list[str | None]] = {
        "id": [f"{i:09d}" for i in range(count)] if ids is None else [str(id) for id in ids]
    }
    classes = getattr(dataset, "classes", None)
    if rest and _label(rest[0], classes) is not None:
        targets = getattr(dataset, "targets", None)
        if targets is None or len(targets) != count:
            targets = [_target(dataset, i) for i in range(count)]
        columns["label"] = [_label(target, classes) for target in targets]
    return pa.table(columns), DatasetReader(dataset, np.arange(count))


def _item(dataset: Any, position: int) -> Any:
    try:
        return read_item(dataset, position)
    except UnreadableImageError:  # loading it fails again, and lists it as skipped
        return None


def _target(dataset: Any, position: int) -> Any:
    item = _item(dataset, position)
    return item[1] if isinstance(item, tuple | list) and len(item) > 1 else None


def _label(target: Any, classes: Sequence[Any] | None) -> str | None:
    """The name of a label, or None if the target is not a label but a mask, a box or a feature."""
    if getattr(target, "ndim", None) == 0:
        target = target.item()
    if isinstance(target, int) and classes is not None and 0 <= target < len(classes):
        return str(classes[target])
    return str(target) if isinstance(target, str | int) else None
