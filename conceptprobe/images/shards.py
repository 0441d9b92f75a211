"""`wds:PATTERN`: WebDataset tar shards, read in place after one pass that records the offset of each member."""

import json
import re
import tarfile
from collections.abc import Sequence
from glob import glob
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from conceptprobe.images.decode import IMAGE_EXTENSIONS
from conceptprobe.images.errors import SourceError
from conceptprobe.images.readers import TarReader

MEMBER = re.compile(r"^(?P<key>(?:.*/)?[^./]+)\.(?P<ending>[^/]*)$", re.DOTALL)
SIDECARS = ("cls", "txt", "json")
LONGEST_END = 1 << 16  # bytes of zeros that a writer may append
SCHEMA = pa.schema(
    {"id": pa.string(), "label": pa.string(), "caption": pa.string(), "tags": pa.list_(pa.string())},
)


def list_shards(pattern: str) -> tuple[pa.Table, TarReader]:
    """List the images in local tar shards. The id is the sample's key: the path up to the first dot of the file name.

    Members of the same key hold its metadata: `.cls` the label, `.txt` the caption, `.json` `label`, `caption`, `tags`.

    Raises:
        SourceError: A shard is missing, compressed, damaged or remote, or no shard holds an image.
    """
    return index_shards(find_shards(pattern))


def find_shards(pattern: str) -> list[str]:
    """Paths that match a pattern with `{000..012}`, `{a,b}`, `*`, `?`, `[...]`; each brace alternative must match.

    Raises:
        SourceError: The pattern is remote, or an alternative matches no file.
    """
    if re.match(r"[a-z0-9]+://|pipe:", pattern):
        raise SourceError(f"wds:{pattern} is not local: copy the shards to this machine, or mount their storage")
    found: set[str] = set()
    missing = []
    for alternative in expand_braces(pattern):
        path = Path(alternative).expanduser()
        paths = [str(path)] if path.is_file() else glob(str(path), recursive=True)
        found.update(str(Path(shard).absolute()) for shard in paths)
        if not paths:
            missing.append(alternative)
    if missing:
        raise SourceError(
            f"wds:{pattern}: nothing matches {', '.join(missing[:5])}{' and others' if len(missing) > 5 else ''} "
            f"({len(missing)} missing, {len(found)} found); patterns: shard-{{000..012}}.tar, {{a,b}}.tar, *.tar"
        )
    return sorted(found)


def expand_braces(pattern: str) -> list[str]:
    """Expand `a{1,2}` and `a{08..10}` like a shell; nested braces are expanded from the inside out."""
    braces = re.search(r"\{([^{}]*(?:,|\.\.)[^{}]*)\}", pattern)
    if not braces:
        return [pattern]
    if span := re.fullmatch(r"(\d+)\.\.(\d+)", braces[1]):
        first, last = int(span[1]), int(span[2])
        width = max(len(span[1]), len(span[2])) if "0" in (span[1][0], span[2][0]) else 0
        numbers = range(first, last + 1) if first <= last else range(first, last - 1, -1)
        parts = [f"{number:0{width}d}" for number in numbers]
    else:
        parts = braces[1].split(",")
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [text for part in parts for text in expand_braces(before + part + after)]


def index_shards(shards: Sequence[str]) -> tuple[pa.Table, TarReader]:
    """Record the offset and size of every image in these shards, and read its metadata.

    Raises:
        SourceError: A shard is compressed or damaged, or no shard holds an image.
    """
    tables, spans = [], []
    for shard in shards:
        table, span = _index_shard(shard)
        tables.append(table)
        spans.append(span)
    counts = [len(table) for table in tables]
    if not sum(counts):
        raise SourceError(
            f"no image in {len(shards)} shards such as {shards[0]}: a sample's image is a member KEY.jpg, "
            f"with one of {' '.join(sorted(IMAGE_EXTENSIONS))}"
        )
    table = pa.concat_tables(tables)
    table = table.select([name for name in table.column_names if table[name].null_count < len(table)])
    offset, size = np.concatenate(spans, axis=1)
    return table, TarReader(tuple(shards), np.repeat(np.arange(len(shards), dtype=np.int32), counts), offset, size)


def _index_shard(shard: str) -> tuple[pa.Table, np.ndarray]:
    """The metadata of a shard's images, and their offsets and sizes as [2,n]."""
    keys: list[str] = []
    offsets: list[int] = []
    sizes: list[int] = []
    known: dict[str, dict[str, Any]] = {}
    try:
        with tarfile.open(shard, "r:", errors="backslashreplace") as tar:
            while (member := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep every member in memory
                name = MEMBER.match(member.name.removeprefix("./"))
                if not (member.isreg() and name):
                    continue
                key, ending = name["key"], name["ending"].lower()
                if f".{ending}" in IMAGE_EXTENSIONS:
                    keys.append(key)
                    offsets.append(member.offset_data)
                    sizes.append(member.size)
                elif ending in SIDECARS and (file := tar.extractfile(member)):
                    known.setdefault(key, {}).update(_read_sidecar(ending, file.read()))
            _check_end(tar)
    except (tarfile.TarError, OSError, EOFError) as error:
        if shard.lower().endswith((".gz", ".tgz", ".bz2", ".xz", ".zst")):
            raise SourceError(
                f"{shard} is compressed, so its images cannot be read in place: unpack it to .tar"
            ) from error
        raise SourceError(f"{shard} is not a complete tar file ({error}): download it again or leave it out") from error
    rows = [known.get(key, {}) for key in keys]
    columns = [keys, *([row.get(name) for row in rows] for name in SCHEMA.names[1:])]
    return pa.table(columns, schema=SCHEMA), np.array([offsets, sizes], np.int64)


def _check_end(tar: tarfile.TarFile) -> None:
    """Check that only zeros follow the last member, because tarfile takes a damaged header for the end of the file."""
    tar.fileobj.seek(tar.offset)
    rest = tar.fileobj.read(LONGEST_END)
    if len(rest) < tarfile.BLOCKSIZE or rest.strip(b"\0"):
        raise tarfile.ReadError(f"it is truncated or damaged at byte {tar.offset}")


def _read_sidecar(ending: str, data: bytes) -> dict[str, Any]:
    text = data.decode(errors="replace").strip()
    if ending == "cls":
        return {"label": text}
    if ending == "txt":
        return {"caption": text}
    try:
        fields = json.loads(text)
    except ValueError:  # the image is good without its metadata
        return {}
    if not isinstance(fields, dict):
        return {}
    known: dict[str, Any] = {
        name: _text(fields[name]) for name in ("label", "caption") if isinstance(fields.get(name), str | int)
    }
    if isinstance(tags := fields.get("tags"), str):
        tags = tags.split("|")
    if isinstance(tags, list):
        known["tags"] = [_text(tag) for tag in tags]
    return known


def _text(value: Any) -> str:
    """A value as text that can be encoded; a lone surrogate, which JSON allows, becomes a question mark."""
    return str(value).encode(errors="replace").decode()
