"""The images that a probe looks at: the same ones for every model."""

import json
from collections.abc import Callable, Collection
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
from conceptprobe.probes.framework.run_settings import RunSettings

OPAQUE = 127
"""Pixels of a mask above this level, of 255, belong to the object."""


@dataclass(frozen=True, eq=False)
class ProbeImages:
    """Images of a source in a fixed order.

    Attributes:
        source: The source that they come from.
        rows: Their rows in the source, int64 [n], ascending.
        classes: The class name of each, or None where the probe needs none.
        masks_folder: The folder of the masks, with `a/b.png` for the image `a/b.jpg`; None takes the alpha channels.
        left_out: How many images were left out because they have no alpha channel.
        memory: A cache for what is read.
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
        """The ids of the images."""
        return tuple(self.source.table["id"].take(self.rows).to_pylist())

    @property
    def key(self) -> tuple[str, bytes]:
        """Identifies these images in the cache."""
        return self.source.fingerprint, self.rows.tobytes()

    def pixels(self, model: VisionModel) -> Tensor:
        """The images as a model sees them: levels uint8 [n,3,h,w], on the CPU, cached and so not to be changed.

        Raises:
            ProbeError: An image cannot be read.
        """
        return self.memory.get(
            ("pixels", json.dumps(model.preprocessing), *self.key),
            lambda: self._stack(lambda row: _levels(model, self._load(row).image)),
            lambda levels_nchw: levels_nchw.nbytes,
        )

    def masks(self, model: VisionModel) -> Tensor:
        """The masks as a model sees them: bool [n,h,w], on the CPU.

        Raises:
            ProbeError: An image has no mask, or one of another size.
        """
        return self._stack(lambda row: preprocess_mask(model, self.mask(row)))

    def with_masks(self) -> "ProbeImages":
        """The images that have an alpha channel; all of them where masks come from a folder.

        Raises:
            ProbeError: Fewer than two images have an alpha channel, or an image cannot be read.
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
        """Whether each image has a mask, bool [n]; a folder of masks counts as complete."""
        if self.masks_folder is not None:
            return np.ones(len(self), bool)
        return self.memory.get(
            ("masked", *self.key), lambda: np.array([self._load(row).mask is not None for row in self.rows.tolist()])
        )

    def at(self, numbers: np.ndarray) -> "ProbeImages":
        """Some of the images, by their numbers int64 [m] from 0."""
        classes = None if self.classes is None else tuple(self.classes[i] for i in numbers)
        return replace(self, rows=self.rows[numbers], classes=classes)

    def _stack(self, make: Callable[[int], Tensor]) -> Tensor:
        return torch.stack([make(row) for row in self.rows.tolist()])

    def _load(self, row: int) -> LoadedImage:
        try:
            return self.source.load(row)
        except UnreadableImageError as error:
            id_ = self.source.table["id"][row].as_py()
            raise ProbeError(f"{self.source.spec}: {id_!r} cannot be read: {error}") from error

    def mask(self, row: int) -> Image.Image:
        """An image's mask, mode L: its alpha channel, or all pixels of the folder's mask that are not 0.

        Raises:
            ProbeError: The image has no mask, or one of another size.
        """
        stored = self.stored_mask(row)
        return stored if self.masks_folder is None else stored.convert("L").point(lambda level: 255 * (level > 0))

    def stored_mask(self, row: int) -> Image.Image:
        """An image's mask as stored: its alpha channel, or the folder's mask in the mode of its file.

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
                f"the mask {path} is {mask.size}, its image {id_!r} is {loaded.image.size}: give a mask of that size"
            )
        return mask


def choose_images(
    source: ImageSource, run: RunSettings, *, among: Collection[str] | None = None, memory: Memory | None = None
) -> ProbeImages:
    """A random sample of a source without repeats, the same for the same seed.

    Args:
        source: The images to choose from.
        run: How many images, their labels and masks, and the seed.
        among: Class names; images of other classes are left out. None takes every image, labelled or not.
        memory: A cache for what is read.

    Raises:
        ProbeError: The source has no column of labels, or no image of the classes; or the folder of masks is missing.
    """
    folder = None if run.masks is None else Path(run.masks).expanduser()
    if folder is not None and not folder.is_dir():
        raise ProbeError(f"{folder} is no folder of masks: give an existing folder")
    names: list[str | None] | None = None
    rows = np.arange(len(source))
    if among is not None:
        names = class_names(source, run)
        rows = np.array([row for row, name in enumerate(names) if name in among], np.int64)
        if len(rows) < 2:
            shown = [name for name in names if name is not None][:3]
            raise ProbeError(
                f"{source.spec}: {len(rows)} images have one of the {len(among)} classes; its labels are such as "
                f"{shown}, the classes such as {sorted(among)[:3]}: give class_map={{label: class name}}"
            )
    if run.n is not None and run.n < len(rows):
        rows = np.sort(np.random.default_rng(run.seed).choice(rows, run.n, replace=False))
    classes = None if names is None else tuple(str(names[row]) for row in rows)
    return ProbeImages(source, rows, classes, folder, memory=memory or Memory())


def class_names(source: ImageSource, run: RunSettings) -> list[str | None]:
    """The class name of every image of a source, None where it has none.

    Args:
        source: The images.
        run: The column of labels, and the map from labels to class names.

    Raises:
        ProbeError: The source has no such column, or the class map none of its labels.
    """
    if run.label not in source.table.column_names:
        raise ProbeError(
            f"{source.spec} has no column {run.label!r}, which this probe needs for the right answers; it has "
            f"{', '.join(source.table.column_names)}: put images into a folder for each class, or label them in a table"
        )
    labels: list[str | None] = source.table[run.label].to_pylist()
    if run.class_map is None:
        return labels
    names = [None if label is None else run.class_map.get(label) for label in labels]
    if not any(names):
        raise ProbeError(
            f"the class map has none of the labels of {source.spec}: it maps labels such as {list(run.class_map)[:3]}, "
            f"the images have labels such as {[label for label in labels if label is not None][:3]}"
        )
    return names


def preprocess_mask(model: VisionModel, mask: Image.Image) -> Tensor:
    """A mask, resized and cropped as the model's images are: bool [h,w], on the CPU."""
    return _levels(model, mask.convert("RGB"))[0] > OPAQUE


def _levels(model: VisionModel, image: Image.Image) -> Tensor:
    return (model.preprocess(image) * 255).round().to(torch.uint8)
