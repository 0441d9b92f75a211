"""Concepts from masks: an image shows a concept if the concept's mask of it is not empty."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from PIL import Image

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.images.metadata import read_table


def read_masks(path: str | os.PathLike[str], ids: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Read which image shows which concept.

    Args:
        path: A folder with a sub-folder for each concept, in which the mask of the image `a/b.jpg` is `a/b.png` or
            another image file of that name (a mask of zeros shows nothing); or a .csv, .jsonl or .parquet table with
            the columns `id` and `concept` and a row for each concept that an image shows.
        ids: Image ids, in the order of the rows.

    Returns:
        Rows of images and names of concepts, a pair for each concept that an image shows.

    Raises:
        ConceptError: There is no such folder or table, a mask cannot be read, or no mask is of one of the images.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        files = [
            (concept.name, file, str(file.relative_to(concept).with_suffix("")))
            for concept in sorted(path.iterdir())
            if concept.is_dir()
            for file in sorted(concept.rglob("*"))
            if file.suffix.lower() in Image.registered_extensions()
        ]
        rows = _rows([stem for _, _, stem in files], [str(PurePosixPath(id_).with_suffix("")) for id_ in ids])
        shown = np.array([row >= 0 and _shows(file) for row, (_, file, _) in zip(rows, files, strict=True)], bool)
        names = [name for name, _, _ in files]
    else:
        if not path.is_file():
            raise ConceptError(
                f"there is no folder or table of masks {path}: give a folder with a sub-folder for each concept, or a "
                "table with id and concept"
            )
        table = read_table(path).to_pandas()
        if missing := {"id", "concept"} - set(table.columns):
            raise ConceptError(f"{path} has no column {sorted(missing)[0]!r}: a table of masks has id and concept")
        rows, names = _rows(table["id"].astype(str), ids), table["concept"].astype(str).tolist()
        shown = rows >= 0
    if not (rows >= 0).any():
        raise ConceptError(
            f"{path}: none of its {len(rows)} masks is of one of the {len(ids)} images, whose ids are such as "
            f"{', '.join(list(ids)[:3])}"
        )
    return rows[shown], [name for name, keep in zip(names, shown, strict=True) if keep]


def _rows(mask_ids: Sequence[str], ids: Sequence[str]) -> np.ndarray:
    """The first row of each mask's image, int64; -1 where there is no such image."""
    first = pd.Series(np.arange(len(ids)), index=pd.Index(ids, dtype=object))
    first = first[~first.index.duplicated()]
    rows: np.ndarray = first.reindex(pd.Index(mask_ids, dtype=object), fill_value=-1).to_numpy(np.int64)
    return rows


def _shows(file: Path) -> bool:
    try:
        with Image.open(file) as mask:
            return bool(np.asarray(mask).any())
    except OSError as error:
        raise ConceptError(f"the mask {file} cannot be read: {error}") from error
