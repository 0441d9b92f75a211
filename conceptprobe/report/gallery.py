"""The images that occur in a report, numbered once, so that every page shares one thumbnail of each."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from conceptprobe.indexing import Index

TOP_IMAGES = 32
"""Images of a feature that a report looks at; a longer list in the index stays in the index."""


@dataclass(frozen=True)
class SourceKey:
    """A source, however its spec is written: the fingerprint decides the pixels of an image id."""

    fingerprint: str
    spec: str = field(compare=False)
    background: str = field(compare=False)
    fast_decode: bool = field(compare=False, default=False)

    @classmethod
    def of(cls, index: "Index") -> "SourceKey":
        source = index.manifest.source
        return cls(source["fingerprint"], source["spec"], source["background"], "fast_decode" in source)


@dataclass(frozen=True)
class Gallery:
    """Every image that occurs in the report.

    Attributes:
        frame: One row an image; the position is its number. Columns `source` (position in `sources`), `id`, `name`
            (label, else caption, else id), `group` (label, else id: images of one group share a stack), `style` and
            `tags` (tuple of str).
        sources: The sources the images come from.
        numbers: For every index, the number of each row of `index.images`; -1 where the image does not occur.
    """

    frame: pd.DataFrame
    sources: tuple[SourceKey, ...]
    numbers: tuple[np.ndarray, ...]


def collect_gallery(indices: Sequence["Index"], features_per_layer: int | None = None) -> Gallery:
    """Find the images among the first `TOP_IMAGES` of any feature and number them by source, label and id."""
    sources = tuple(dict.fromkeys(SourceKey.of(index) for index in indices))
    used_rows, frames = [], []
    for index in indices:
        tops = [index.top_rows(layer)[0][:features_per_layer, :TOP_IMAGES] for layer in index.layers]
        rows = np.unique(np.concatenate([top.ravel() for top in tops])) if tops else np.zeros(0, np.int64)
        rows = rows[rows >= 0]
        used_rows.append(rows)
        frames.append(describe_images(index.images.iloc[rows]).assign(source=sources.index(SourceKey.of(index))))

    frame = pd.concat(frames, ignore_index=True).drop_duplicates(["source", "id"])
    frame = frame.sort_values(["source", "group", "id"], kind="stable", ignore_index=True)
    position = pd.Series(np.arange(len(frame)), index=pd.MultiIndex.from_frame(frame[["source", "id"]]))
    numbers = []
    for index, rows, part in zip(indices, used_rows, frames, strict=True):
        number = np.full(len(index.images), -1, dtype=np.int64)
        number[rows] = position.loc[pd.MultiIndex.from_frame(part[["source", "id"]])].to_numpy()
        numbers.append(number)
    return Gallery(frame, sources, tuple(numbers))


def describe_images(images: pd.DataFrame) -> pd.DataFrame:
    """Bring a source's table to `id`, `name`, `group`, `style`, `tags`, whatever of these the source knows."""
    ids = images["id"].astype(str)
    label, caption, style = (text_column(images, column) for column in ("label", "caption", "style"))
    return pd.DataFrame(
        {
            "id": ids,
            "name": label.fillna(caption).fillna(ids),
            "group": label.fillna(ids),
            "style": style,
            "tags": tag_column(images),
        }
    )


def text_column(images: pd.DataFrame, column: str) -> pd.Series:
    """A column as strings, None where it is missing or empty."""
    if column not in images:
        return pd.Series([None] * len(images), index=images.index, dtype=object)
    values = [None if pd.isna(value) or not str(value).strip() else str(value) for value in images[column]]
    return pd.Series(values, index=images.index, dtype=object)


def tag_column(images: pd.DataFrame) -> pd.Series:
    """The tags of every image, each once, in the source's order; empty where there are none."""
    if "tags" not in images:
        return pd.Series([()] * len(images), index=images.index, dtype=object)
    values = [
        () if tags is None or np.isscalar(tags) else tuple(dict.fromkeys(str(tag) for tag in tags))
        for tags in images["tags"]
    ]
    return pd.Series(values, index=images.index, dtype=object)


def tag_rates(images: pd.DataFrame) -> dict[str, float]:
    """How common each tag is in the source: the share of images with it, averaged over labels.

    Every label weighs the same, however many images it has, because a feature's stacks are one label each.
    """
    described = describe_images(images)
    weight = 1 / described.groupby("group")["id"].transform("size")
    tagged = described.assign(weight=weight).explode("tags").dropna(subset="tags")
    return (tagged.groupby("tags")["weight"].sum() / described["group"].nunique()).to_dict()
