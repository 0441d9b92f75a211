"""The images that a probe looks at: the same ones for every model."""

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from conceptprobe.images import ImageSource, UnreadableImageError
from conceptprobe.images.decode import LoadedImage
from conceptprobe.models import VisionModel
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.cache import Memory

OPAQUE = 127
"""A mask shows what is above this level, of 255."""


@dataclass(frozen=True, eq=False)
class Items:
    """Images of a source in a fixed order.

    Attributes:
        source: Where they come from.
        rows: Their rows there, int64 [n], ascending.
        classes: The class name of each, or None where nobody needs it.
        masks_folder: Where the masks lie, `a/b.png` that of the image `a/b.jpg`; None takes the images' own alpha
            channels.
        left_out: How many images were left out for want of an alpha channel.
        memory: Where what is read is kept.
    """

    source: ImageSource
    rows: np.ndarray
    classes: tuple[str, ...] | None = None
    masks_folder: Path | None = None
    left_out: int = 0
    memory: Memory = field(default_factory=Memory, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self.source.table["id"].take(self.rows).to_pylist())

    @property
    def key(self) -> tuple[str, bytes]:
        """What tells these images from others, for `memory`."""
        return self.source.fingerprint, self.rows.tobytes()

    def pixels(self, model: VisionModel) -> Tensor:
        """What a model sees of the images: levels uint8 [n,3,h,w], on the CPU. Not to be changed: it is kept.

        Raises:
            ProbeError: An image cannot be read.
        """
        return self.memory.get(
            ("pixels", json.dumps(model.preprocessing), *self.key),
            lambda: self._stack(lambda row: _levels(model, self._load(row).image)),
            lambda levels_nchw: levels_nchw.nbytes,
        )

    def masks(self, model: VisionModel) -> Tensor:
        """Where the objects are, in a model's pixels: bool [n,h,w], on the CPU.

        Raises:
            ProbeError: An image has no mask, or one of another size.
        """
        return self._stack(lambda row: seen_mask(model, self.mask(row)))

    def with_masks(self) -> "Items":
        """Those that have an alpha channel; all where masks come from a folder.

        Raises:
            ProbeError: Fewer than two have one, or an image cannot be read.
        """
        if self.masks_folder is not None:
            return self
        kept = np.flatnonzero(self.masked())
        if len(kept) < 2:
            raise ProbeError(
                f"{self.source.spec}: {len(self) - len(kept)} of {len(self)} images have no alpha channel to take a "
                "mask from: give masks=FOLDER"
            )
        return replace(self.at(kept), left_out=len(self) - len(kept))

    def masked(self) -> np.ndarray:
        """Whether each image has a mask, bool [n]: an alpha channel, or one in the folder, which has one of each."""
        if self.masks_folder is not None:
            return np.ones(len(self), bool)
        return self.memory.get(
            ("masked", *self.key), lambda: np.array([self._load(row).mask is not None for row in self.rows.tolist()])
        )

    def at(self, places: np.ndarray) -> "Items":
        """Some of them, by their places, int64 [m]."""
        classes = None if self.classes is None else tuple(self.classes[i] for i in places)
        return replace(self, rows=self.rows[places], classes=classes)

    def _stack(self, make: Callable[[int], Tensor]) -> Tensor:
        return torch.stack([make(row) for row in self.rows.tolist()])

    def _load(self, row: int) -> LoadedImage:
        try:
            return self.source.load(row)
        except UnreadableImageError as error:
            id_ = self.source.table["id"][row].as_py()
            raise ProbeError(f"{self.source.spec}: {id_!r} cannot be read: {error}") from error

    def mask(self, row: int) -> Image.Image:
        """Where an image's objects are, mode L: its alpha channel, or what is not 0 in the folder's mask.

        Raises:
            ProbeError: The image has no mask, or one of another size.
        """
        kept = self.kept_mask(row)
        return kept if self.masks_folder is None else kept.convert("L").point(lambda level: 255 * (level > 0))

    def kept_mask(self, row: int) -> Image.Image:
        """An image's mask as it is kept: its alpha channel, or the folder's mask in the mode of its file.

        Raises:
            ProbeError: The image has no mask, or one of another size.
        """
        loaded, id_ = self._load(row), self.source.table["id"][row].as_py()
        if self.masks_folder is None:
            if loaded.mask is None:
                raise ProbeError(f"{id_!r} has no alpha channel to take a mask from: give masks=FOLDER")
            return loaded.mask
        path = self.masks_folder / PurePosixPath(id_).with_suffix(".png")
        try:
            mask = Image.open(path)
            mask.load()
        except OSError as error:
            raise ProbeError(f"the mask of {id_!r} cannot be read from {path}: {error}") from error
        if mask.size != loaded.image.size:
            raise ProbeError(
                f"the mask {path} is {mask.size}, its image {id_!r} is {loaded.image.size}: make them alike"
            )
        return mask


def choose_items(
    images: ImageSource,
    n: int | None,
    seed: int,
    *,
    among: Collection[str] | None = None,
    label: str = "label",
    class_map: Mapping[str, str] | None = None,
    masks: str | os.PathLike[str] | None = None,
    memory: Memory | None = None,
) -> Items:
    """A random sample of a source without repeats, the same for the same seed.

    Args:
        n: How many; all where it is None or more than there are.
        among: Class names that count; images of others are left out. None takes every image, labelled or not.
        label: The column that holds the labels.
        class_map: From labels to class names, where those differ.
        masks: A folder of masks.
        memory: Where what is read is kept.

    Raises:
        ProbeError: The source has no such column, or no image of the classes; or the folder does not exist.
    """
    if n is not None and n < 2:
        raise ProbeError(f"n is {n}: a probe needs at least 2 images")
    folder = None if masks is None else Path(masks).expanduser()
    if folder is not None and not folder.is_dir():
        raise ProbeError(f"{folder} is no folder of masks")
    names: list[str | None] | None = None
    rows = np.arange(len(images))
    if among is not None:
        names = class_names(images, label, class_map)
        rows = np.array([row for row, name in enumerate(names) if name in among], np.int64)
        if len(rows) < 2:
            shown = [name for name in names if name is not None][:3]
            raise ProbeError(
                f"{images.spec}: {len(rows)} images have one of the {len(among)} classes; its labels are such as "
                f"{shown}, the classes such as {sorted(among)[:3]}: give class_map={{label: class name}}"
            )
    if n is not None and n < len(rows):
        rows = np.sort(np.random.default_rng(seed).choice(rows, n, replace=False))
    classes = None if names is None else tuple(str(names[row]) for row in rows)
    return Items(images, rows, classes, folder, memory=memory or Memory())


def class_names(images: ImageSource, label: str, class_map: Mapping[str, str] | None) -> list[str | None]:
    """The class name of every image of a source, None where it has none.

    Raises:
        ProbeError: The source has no such column, or the class map none of its labels.
    """
    if label not in images.table.column_names:
        raise ProbeError(
            f"{images.spec} has no column {label!r}, which this probe needs for the right answers; it has "
            f"{', '.join(images.table.column_names)}: put images into a folder a class, or give a table with labels"
        )
    labels: Sequence[str | None] = images.table[label].to_pylist()
    if class_map is None:
        return list(labels)
    names = [None if name is None else class_map.get(name) for name in labels]
    if not any(names):
        raise ProbeError(
            f"the class map has none of the labels of {images.spec}: it maps such as {list(class_map)[:3]}, the labels "
            f"are such as {[name for name in labels if name is not None][:3]}"
        )
    return names


def seen_mask(model: VisionModel, mask: Image.Image) -> Tensor:
    """A mask as a model sees its image, resized and cropped: bool [h,w], on the CPU."""
    return _levels(model, mask.convert("RGB"))[0] > OPAQUE


def _levels(model: VisionModel, image: Image.Image) -> Tensor:
    return (model.preprocess(image) * 255).round().to(torch.uint8)
