"""The settings of a build: one frozen object, checked before any image is read."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic.dataclasses import dataclass

from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.storage.factory import EXACT, Factory
from conceptprobe.validation import CONFIG, make_settings

MAX_K = 10_000
MAX_BATCH = 65_536
MAX_WORKERS = 256


def as_names(value: Any) -> Any:
    """A text as a tuple of one, and a list as a tuple."""
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _different(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names or len(set(names)) < len(names):
        raise ValueError("give different names, such as ('mean', 'max')")
    return names


def _factory(text: str) -> str:
    return Factory.parse(text).text


def _shard(value: tuple[int, int]) -> tuple[int, int]:
    number, count = value
    if not 0 <= number < count:
        raise ValueError("shards are numbered from 0: of 8 shards the first is (0, 8) and the last (7, 8)")
    return value


def _limit(value: Any) -> Any:
    if value is not None and skip_limit(value, 100) is None:
        raise ValueError("give a number of images, or a share such as 5%")
    return value


def _path(value: Any) -> Any:
    return Path(value) if isinstance(value, str | os.PathLike) else value


Names = Annotated[tuple[str, ...], BeforeValidator(as_names)]
Pooling = Annotated[Names, AfterValidator(_different)]


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class IndexSettings:
    """The settings that decide what an index holds; see `build_index`."""

    pooling: Pooling | None = None
    k: Annotated[int, Field(ge=1, le=MAX_K)] = 100
    bottom: Annotated[int, Field(ge=0, le=MAX_K)] = 0
    batch_size: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 64
    vectors: bool = True
    faiss: Annotated[str, AfterValidator(_factory)] = EXACT
    growable: bool = False


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class RunSettings:
    """The settings of a pass over images that do not change its result; see `build_index`."""

    workers: Annotated[int, Field(ge=0, le=MAX_WORKERS)] | None = None
    max_skipped: Annotated[int | str | None, BeforeValidator(_limit)] = None
    progress: bool = False
    log: Annotated[Path, BeforeValidator(_path)] | None = None

    def limit(self, images: int) -> int | None:
        """How many of so many images may be skipped; None for any number."""
        return None if self.max_skipped is None else skip_limit(self.max_skipped, images)


@dataclass(frozen=True, kw_only=True, config=CONFIG)
class BuildSettings(IndexSettings, RunSettings):
    """All settings of a build; see `build_index`."""

    shard: Annotated[tuple[int, int], AfterValidator(_shard)] | None = None
    overwrite: bool = False


def build_settings(**values: Any) -> BuildSettings:
    """Settings from values that a user gave.

    Raises:
        IndexingError: A setting is unknown, of another type or out of range.
    """
    return make_settings(BuildSettings, values, what="an index", error=IndexingError)


def run_settings(**values: Any) -> RunSettings:
    """Settings of a pass over images, otherwise as `build_settings`."""
    return make_settings(RunSettings, values, what="a pass over images", error=IndexingError)


def index_settings(settings: IndexSettings) -> dict[str, Any]:
    """Those of some settings that decide what an index holds, by their names."""
    return {field.name: getattr(settings, field.name) for field in fields(IndexSettings)}


def shard_batches(shard: tuple[int, int] | None, batches: int) -> tuple[int, int]:
    """The first batch of a shard, and the first after it; of all batches where there are no shards."""
    number, count = (0, 1) if shard is None else shard
    return batches * number // count, batches * (number + 1) // count


def skip_limit(max_skipped: int | str, images: int) -> int | None:
    """How many of so many images may be skipped; None if `max_skipped` is neither a number nor a share."""
    text = str(max_skipped).strip()
    try:
        limit = float(text[:-1]) / 100 * images if text.endswith("%") else int(text)
    except ValueError:
        return None
    return int(limit) if 0 <= limit < float("inf") else None
