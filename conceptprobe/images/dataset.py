"""A torch map-style dataset of PIL images, or of tuples that begin with one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from conceptprobe.images.errors import SourceError, UnreadableImageError
from conceptprobe.images.readers import DatasetReader, read_item

TRIED = 100  # items of which one must be readable, to tell what they are


def list_dataset(dataset: Any) -> tuple[pa.Table, DatasetReader]:
    """List the items of a dataset: id is `dataset.ids[i]` where it has ids, else the position in nine digits.

    Labels come from `dataset.targets` where it has them, as torchvision's do; else from a walk over the whole dataset,
    if its items are (image, label). `dataset.classes` names numbered labels.

    Raises:
        SourceError: It has no length, or no items; or none of the first TRIED can be read, or the first that can holds
            no PIL image.
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
        raise SourceError(f"none of the first {min(count, TRIED)} items of {kind} can be read: see what item 0 raises")
    image, *rest = item if isinstance(item, tuple | list) and item else (item,)
    if not isinstance(image, Image.Image):
        raise SourceError(
            f"items of {kind} must be PIL images or begin with one, not {type(image).__name__}: "
            "remove its transform, since every model brings its own preprocessing"
        )
    ids = getattr(dataset, "ids", None)
    if ids is not None and len(ids) != count:
        raise SourceError(f"{kind} has {count} items and {len(ids)} ids: give one id an item")
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
    except UnreadableImageError:  # it is found again, and listed, when it is loaded
        return None


def _target(dataset: Any, position: int) -> Any:
    item = _item(dataset, position)
    return item[1] if isinstance(item, tuple | list) and len(item) > 1 else None


def _label(target: Any, classes: Sequence[Any] | None) -> str | None:
    """The name of a label; None where it is not a label, but a mask, a box or a feature."""
    if getattr(target, "ndim", None) == 0:
        target = target.item()
    if isinstance(target, int) and classes is not None and 0 <= target < len(classes):
        return str(classes[target])
    return str(target) if isinstance(target, str | int) else None
