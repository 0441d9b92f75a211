"""An ordered collection of images with stable ids."""

import bisect
import hashlib
import json
import operator
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from conceptprobe.images.decode import DECODING, LoadedImage, decode_image, parse_background
from conceptprobe.images.errors import SourceError, UnknownImageError, UnreadableImageError
from conceptprobe.images.metadata import take_rows
from conceptprobe.images.readers import Reader

HASHED_ROWS = 65536


@dataclass(frozen=True, eq=False, repr=False)
class ImageSource:
    """Images in one global order: ascending by id, whatever the order of the rows.

    Attributes:
        spec: The spec that `load_images` took.
        table: One row for each image: `id` and, if known, `label`, `caption`, `tags` and the source's other columns.
        reader: Reads the image of each row.
        background: The colour on which transparent images are blended.
        fast_decode: Whether an index may decode JPEGs at a reduced size.

    Raises:
        SourceError: An id occurs twice, or the background is not a colour.
    """

    spec: str
    table: pa.Table
    reader: Reader
    background: str = "white"
    fast_decode: bool = False

    def __post_init__(self) -> None:
        parse_background(self.background)
        order = pc.sort_indices(self.table["id"]).to_numpy()
        if (order[1:] < order[:-1]).any():
            object.__setattr__(self, "table", take_rows(self.table, order))
            object.__setattr__(self, "reader", self.reader.take(order))
        ids = self.table["id"]
        same = pc.indices_nonzero(pc.equal(ids.slice(1), ids.slice(0, max(len(ids) - 1, 0))))
        if len(same):
            some = ", ".join(repr(ids[row.as_py()].as_py()) for row in same[:5])
            raise SourceError(
                f"{self.spec}: {len(same)} rows repeat the id of another row, for example {some}; ids must be unique: "
                "rename the images, or add an `id` column to the table"
            )

    def __len__(self) -> int:
        rows: int = self.table.num_rows
        return rows

    def __repr__(self) -> str:
        return f"ImageSource({self.spec!r}, {len(self):,} images, columns: {', '.join(self.table.column_names)})"

    def __getitem__(self, key: int | str) -> "SourceImage":
        """The image at a position, counted from the end if it is negative, or the image with an id.

        Raises:
            IndexError: There is no such position.
            UnknownImageError: No image has the id.
        """
        row = self.row_of(key) if isinstance(key, str) else operator.index(key)
        if not -len(self) <= row < len(self):
            raise IndexError(f"position {row} of {len(self)} images")
        return SourceImage(self, row % len(self))

    def __iter__(self) -> Iterator["SourceImage"]:
        return (SourceImage(self, row) for row in range(len(self)))

    def load(self, row: int, *, least: int | None = None) -> LoadedImage:
        """Read and decode one image.

        Args:
            row: The image's position.
            least: If set, a JPEG may be decoded at a reduced size, with no side shorter than this.

        Raises:
            UnreadableImageError: The file is missing or damaged; the message is the reason.
        """
        return self.decode(self.read(row), least=least)

    def read(self, row: int) -> bytes | Image.Image:
        """The raw bytes of an image, or the opened image if a dataset has no bytes.

        Raises:
            UnreadableImageError: The file is missing or cannot be read; the message is the reason.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)} images")
        try:
            return self.reader.read(row)
        except FileNotFoundError as error:
            raise UnreadableImageError("file is missing") from error
        except OSError as error:
            raise UnreadableImageError(error.strerror or type(error).__name__) from error

    def decode(self, data: bytes | Image.Image, *, least: int | None = None) -> LoadedImage:
        """Decode the result of `read`, as `load` does."""
        return decode_image(data, parse_background(self.background), least=least)

    def row_of(self, id: str) -> int:
        """The row of the image with an id.

        Raises:
            UnknownImageError: No image has the id; the message lists the nearest ids.
        """
        ids = self.table["id"]
        row = bisect.bisect_left(range(len(self)), id, key=lambda at: ids[at].as_py())
        if row == len(self) or ids[row].as_py() != id:
            near = ", ".join(repr(text) for text in ids.slice(max(row - 2, 0), 4).to_pylist())
            raise UnknownImageError(f"{self.spec} has no image {id!r}; nearest ids: {near or 'none'}")
        return row

    def subset(self, rows: Iterable[int]) -> "ImageSource":
        """A source with these rows only, in the global order."""
        chosen = np.fromiter(rows, np.int64)
        return replace(self, table=take_rows(self.table, chosen), reader=self.reader.take(chosen))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over every column of the table, the background, the version of the decoder and the images' sizes.

        It reads no image, so it misses a file that is replaced by another of the same size and every change inside a
        torch dataset; the content hashes in an index catch those. The location of the source does not matter.
        """
        rules = [DECODING, parse_background(self.background), *(["fast"] if self.fast_decode else [])]
        sha = hashlib.sha256(json.dumps(rules).encode())
        for name in sorted(self.table.column_names):
            column = self.table[name]
            sha.update(json.dumps(name).encode())
            for start in range(0, len(self), HASHED_ROWS):
                sha.update(json.dumps(column.slice(start, HASHED_ROWS).to_pylist(), default=str).encode())
        sha.update(self.reader.identity())
        return sha.hexdigest()


@dataclass(frozen=True)
class SourceImage:
    """One image of a source with its metadata; `image` decodes it.

    Attributes:
        source: The source.
        row: Its position in the source.
    """

    source: ImageSource = field(repr=False)
    row: int = field(repr=False)

    def __repr__(self) -> str:
        return f"SourceImage({self.id!r}, label={self.label!r})"

    @property
    def id(self) -> str:
        """The id, unique in the source."""
        return str(self._cell("id"))

    @property
    def label(self) -> Any:
        """The label, or None if it is unknown."""
        return self._cell("label")

    @property
    def caption(self) -> str | None:
        """The caption, or None if it is unknown."""
        caption: str | None = self._cell("caption")
        return caption

    @property
    def tags(self) -> tuple[str, ...]:
        """The tags; empty if they are unknown."""
        return tuple(self._cell("tags") or ())

    @property
    def image(self) -> Image.Image:
        """The image in RGB, read and decoded at each access.

        Raises:
            UnreadableImageError: The file is missing or damaged; the message is the reason.
        """
        return self.source.load(self.row).image

    def _cell(self, column: str) -> Any:
        table = self.source.table
        return table[column][self.row].as_py() if column in table.column_names else None
