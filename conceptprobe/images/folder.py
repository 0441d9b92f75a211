"""`folder:PATH`: a folder or a zip file of images, flat or with a sub-folder for each class, at any depth."""

import os
import zipfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from conceptprobe.images.decode import IMAGE_EXTENSIONS
from conceptprobe.images.errors import SourceError
from conceptprobe.images.metadata import read_table
from conceptprobe.images.readers import FileReader, Reader
from conceptprobe.images.zip import list_zip

SIDECARS = ("metadata.csv", "metadata.jsonl")
CHUNK = 65536


def list_folder(path: str) -> tuple[pa.Table, Reader]:
    """List the images under a folder or in a zip file. The id is the relative path, the label is its folder.

    A `metadata.csv` or `metadata.jsonl` beside the images adds its columns, as in Hugging Face's ImageFolder:
    `file_name` is relative to the sidecar's folder, and `text` is the caption. Its labels replace those of the folders.

    Raises:
        SourceError: The folder does not exist, it has no images, or a sidecar names none of its images.
    """
    root = Path(path).expanduser()
    sidecars: list[str] = []
    reader: Reader
    if root.is_dir():
        paths = _binary_chunks(_walk(str(root), sidecars))
        reader = FileReader(str(root.absolute()), paths)
    elif root.is_file() and zipfile.is_zipfile(root):
        names, sidecars, reader = list_zip(str(root.absolute()), IMAGE_EXTENSIONS, SIDECARS)
        paths = _binary_chunks(names)
    else:
        what = "not a folder and not a zip file" if root.exists() else "no such folder"
        raise SourceError(f"folder:{path}: {what}: {root.absolute()}")
    if not len(paths):
        raise SourceError(
            f"folder:{path}: no image under {root.absolute()}; "
            f"images are files that end in {' '.join(sorted(IMAGE_EXTENSIONS))}"
        )
    ids = _as_text(paths)
    columns = {"id": ids}
    labels = pc.replace_substring_regex(ids, r"/?[^/]*$", "")
    classes = pc.not_equal(labels, "")
    if pc.any(classes).as_py():
        columns["label"] = pc.if_else(classes, labels, None)
    if sidecars:
        columns |= _read_sidecars(root if root.is_dir() else zipfile.Path(root), sorted(sidecars), ids)
    return pa.table(columns), reader


def _walk(root: str, sidecars: list[str]) -> Iterator[str]:
    """Relative paths of the images, unordered; the paths of sidecars are appended to `sidecars`."""
    extensions = tuple(IMAGE_EXTENSIONS)
    waiting = [("", frozenset[tuple[int, int]]())]
    while waiting:
        prefix, above = waiting.pop()
        folder = Path(root, prefix)
        try:
            status = folder.stat()
            here = (status.st_dev, status.st_ino)
            if here in above:  # a symbolic link to a folder above
                continue
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        waiting.append((f"{prefix}{entry.name}/", above | {here}))
                    elif entry.name.lower().endswith(extensions):
                        yield prefix + entry.name
                    elif entry.name in SIDECARS:
                        sidecars.append(prefix + entry.name)
        except OSError as error:
            raise SourceError(
                f"{folder} cannot be listed: {error.strerror}; make it readable or move it away"
            ) from error


def _binary_chunks(names: Iterable[str]) -> pa.ChunkedArray:
    rest = iter(names)
    chunks = []
    while chunk := [os.fsencode(name) for name in islice(rest, CHUNK)]:
        chunks.append(pa.array(chunk, pa.binary()))
    return pa.chunked_array(chunks, pa.binary())


def _as_text(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    try:
        return paths.cast(pa.string())
    except pa.ArrowInvalid:  # for names that are not UTF-8, bytes are escaped
        return pa.chunked_array([pa.array((p.as_py().decode(errors="backslashreplace") for p in paths), pa.string())])


def _read_sidecars(root: Path | zipfile.Path, sidecars: list[str], ids: pa.ChunkedArray) -> dict[str, pa.ChunkedArray]:
    """The sidecars' columns, one row for each id; null if no sidecar names the image."""
    tables = []
    for sidecar in sidecars:
        table = read_table(root / sidecar)
        if "file_name" not in table.column_names:
            raise SourceError(
                f"{root / sidecar} has no column `file_name`, only {', '.join(table.column_names)}: "
                "add it, or rename the file"
            )
        prefix = "" if "/" not in sidecar else f"{PurePosixPath(sidecar).parent}/"
        names = pc.binary_join_element_wise(prefix, table["file_name"].cast(pa.string()), "")
        tables.append(table.set_column(table.column_names.index("file_name"), "file_name", names))
    try:
        known = pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as error:
        raise SourceError(f"{', '.join(sidecars)} under {root} differ in their columns: {error}") from error
    rows = pc.index_in(ids, value_set=known["file_name"])
    if rows.null_count == len(rows):
        raise SourceError(
            f"{', '.join(sidecars)} under {root}: none of the {len(known)} file names is an image there, for "
            f"example {known['file_name'].slice(0, 1).to_pylist()}: they must be relative to the sidecar's folder"
        )
    columns = {name: known[name].take(rows) for name in known.column_names if name not in ("file_name", "id")}
    if "text" in columns and "caption" not in columns:
        columns["caption"] = columns.pop("text")
    return columns
