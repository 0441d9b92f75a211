"""The images of a report. Each has one number and one thumbnail, which all pages share."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa

from conceptprobe.display.text import shorten
from conceptprobe.indexing import Index
from conceptprobe.indexing.pictures import SourceKey
from conceptprobe.indexing.reducers.sample import sampled_rows
from conceptprobe.report.collect.concepts import ReportConcepts
from conceptprobe.report.collect.models import ReportModel
from conceptprobe.report.scripts import Interner, Json, integers, packed, shorten_id

TOP_IMAGES = 32
"""How many images of each list a report shows; the rest of a longer list is left out."""
RANDOM_IMAGES = 16
IMAGE_CHUNK = 512
COLUMNS = ("source", "id", "label", "caption", "style", "tags", "content", "top")

Kind = Literal["top", "bottom", "strips"]


@dataclass(frozen=True, eq=False)
class Gallery:
    """Every image that occurs in the report.

    Attributes:
        frame: One row an image; the position is its number. Columns `source` (position in `sources`), `id`, `label`,
            `caption`, `style` (each None if unknown), `tags` (tuple of str), `content` (hash, or None) and `top`
            (whether the image is on a list of top images).
        sources: The sources of the images.
        numbers: For every index, the number of each row of `index.images`; -1 if the image does not occur.
        random: For every index, the rows of random images that all its features share as controls.
    """

    frame: pd.DataFrame
    sources: tuple[SourceKey, ...]
    numbers: tuple[np.ndarray, ...]
    random: tuple[np.ndarray, ...]

    def of_rows(self, model: int, rows: np.ndarray) -> np.ndarray:
        """Numbers of rows of a model's index, of any shape; -1 stays."""
        return np.where(rows >= 0, self.numbers[model][rows], -1)

    def source_of(self, index: Index) -> int:
        """The position of an index's source in `sources`."""
        return self.sources.index(SourceKey.of(index.manifest))


def collect_gallery(models: Sequence[ReportModel], concepts: ReportConcepts | None = None) -> Gallery:
    """Find the images that the pages show, and number them by source, label and id.

    The images are those of every list (top, bottom, strip; the first `TOP_IMAGES` of each), the random controls of
    each index, and the sample of each concept.
    """
    if not models:
        return Gallery(pd.DataFrame(columns=COLUMNS), (), (), ())
    sources = tuple(dict.fromkeys(SourceKey.of(model.index.manifest) for model in models))
    used_rows, frames, random = [], [], []
    for model in models:
        index = model.index
        control = random_rows(index)
        tops = unique_rows(index.lists(*of).rows[:, :TOP_IMAGES] for of in lists_of(index, "top"))
        others = [index.lists(*of).rows for of in lists_of(index, "strips")]
        if index.manifest.bottom:
            others += [index.lists(*of).rows[:, :TOP_IMAGES] for of in lists_of(index, "bottom")]
        if concepts is not None and model.number in concepts.models:
            others.append(concepts.sample)
        rows = unique_rows([tops, control, *others])
        described = describe_images(index.images.iloc[rows]).assign(
            source=sources.index(SourceKey.of(index.manifest)), top=np.isin(rows, tops)
        )
        used_rows.append(rows)
        frames.append(described)
        random.append(control)

    frame = pd.concat(frames, ignore_index=True)
    frame["top"] = frame.groupby(["source", "id"])["top"].transform("any")
    frame = frame.drop_duplicates(["source", "id"])
    frame = frame.sort_values(["source", "label", "id"], kind="stable", ignore_index=True, na_position="last")
    numbered = pd.Series(np.arange(len(frame)), index=pd.MultiIndex.from_frame(frame[["source", "id"]]))
    numbers = []
    for model, rows, described in zip(models, used_rows, frames, strict=True):
        number = np.full(len(model.index.images), -1, dtype=np.int64)
        number[rows] = numbered.loc[pd.MultiIndex.from_frame(described[["source", "id"]])].to_numpy()
        numbers.append(number)
    return Gallery(frame, sources, tuple(numbers), tuple(random))


def lists_of(index: Index, kind: Kind) -> Iterator[tuple[str, Kind, str]]:
    """The arguments of `Index.lists` for all lists of a kind."""
    for layer in index.layers:
        for pooling in index.manifest.pooling:
            yield layer, kind, pooling


def unique_rows(lists: Iterable[np.ndarray]) -> np.ndarray:
    """The distinct rows of some lists, ascending, without -1."""
    rows = np.unique(np.concatenate([np.unique(rows) for rows in lists]))
    return rows[rows >= 0]


def random_rows(index: Index) -> np.ndarray:
    """Rows of random images, ascending; equal for indices of the same images."""
    ids = pa.chunked_array([pa.array(index.images["id"], pa.string())])
    return sampled_rows(ids, RANDOM_IMAGES)


def describe_images(images: pd.DataFrame) -> pd.DataFrame:
    """Reduce the table of a source to `id`, `label`, `caption`, `style`, `tags` and `content`."""
    columns = {column: text_column(images, column) for column in ("label", "caption", "style")}
    content = text_column(images, "content_hash")
    return pd.DataFrame({"id": images["id"].astype(str), **columns, "tags": tag_column(images), "content": content})


def text_column(images: pd.DataFrame, column: str) -> pd.Series:
    """A column as strings; None for a missing or empty value."""
    if column not in images:
        return pd.Series([None] * len(images), index=images.index, dtype=object)
    values = [None if pd.isna(value) or not str(value).strip() else str(value) for value in images[column]]
    return pd.Series(values, index=images.index, dtype=object)


def tag_column(images: pd.DataFrame) -> pd.Series:
    """The distinct tags of every image, in the source's order."""
    if "tags" not in images:
        return pd.Series([()] * len(images), index=images.index, dtype=object)
    values = [
        () if tags is None or np.isscalar(tags) else tuple(dict.fromkeys(str(tag) for tag in tags))
        for tags in images["tags"]
    ]
    return pd.Series(values, index=images.index, dtype=object)


def images_data(gallery: Gallery, shown_nd: np.ndarray, files: Sequence[str | None] | None) -> Json:
    """The data of all images, in columns that refer to labels, styles and tag lists by position.

    Args:
        gallery: The images.
        shown_nd: The width and height that each image takes of its tile, 0 to 255 [n,2]; 0 for a missing image.
        files: The addresses of the whole images; None if the report has tiles only.
    """
    labels, styles, tags, tag_lists = Interner(), Interner(), Interner(), Interner()
    frame = gallery.frame
    short = [tuple(tags.position(shorten(tag)) for tag in names) for names in frame["tags"]]
    data = {
        "count": len(frame),
        "label": integers(labels.positions([shorten_known(text) for text in frame["label"]])),
        "style": integers(styles.positions([shorten_known(text) for text in frame["style"]])),
        "tags": integers(tag_lists.positions(short)),
        "source": integers(frame["source"]),
        "same": integers(first_of_equals(frame)),
        "width": packed(shown_nd[:, 0], "u1"),
        "height": packed(shown_nd[:, 1], "u1"),
        "file": None if files is None else True,
    }
    return data | {
        "labels": labels.values, "styles": styles.values, "tag_lists": tag_lists.values, "tag_names": tags.values
    }  # fmt: skip


def image_chunks(gallery: Gallery, files: Sequence[str | None] | None) -> Iterable[tuple[str, Json]]:
    """The data of single images, 512 images a chunk: ids, captions, addresses of the whole images."""
    ids, captions = gallery.frame["id"].tolist(), gallery.frame["caption"].tolist()
    for at, first in enumerate(range(0, len(ids), IMAGE_CHUNK)):
        chunk = slice(first, first + IMAGE_CHUNK)
        shortened = [shorten_known(text) for text in captions[chunk]]
        data = {
            "first": first,
            "id": [shorten_id(text) for text in ids[chunk]],
            "caption": shortened if any(shortened) else None,
            "file": None if files is None else list(files[chunk]),
        }
        yield f"images/{at}", data


def shorten_known(text: str | None) -> str | None:
    """Shorten a text, unless it is None."""
    return None if text is None else shorten(text)


def first_of_equals(frame: pd.DataFrame) -> np.ndarray:
    """The number of the first image with the content of each image, int64 [n]; -1 if it is the image itself."""
    numbers = np.arange(len(frame))
    known = frame["content"].notna().to_numpy()
    first = numbers.copy()
    if known.any():
        contents = frame.loc[known, ["source", "content"]].apply(tuple, axis=1).to_numpy()
        first[known] = pd.Series(numbers[known]).groupby(contents).transform("min").to_numpy()
    return np.where(first == numbers, -1, first)
