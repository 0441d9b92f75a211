"""`hf:PATH_OR_NAME[#SPLIT]`: parquet files that hold images, or a dataset of the `datasets` library."""

import re
from glob import glob, has_magic
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from conceptprobe.images.errors import SourceError
from conceptprobe.images.parquet import image_column, is_metadata, list_parquet, name_columns
from conceptprobe.images.readers import DatasetsReader, Reader

NAME = re.compile(r"[\w.-]+(/[\w.-]+)?")


def list_hf(text: str) -> tuple[pa.Table, Reader]:
    """List a parquet file, a glob or folder of parquet files, a folder of `save_to_disk`, or a dataset by its name.

    Parquet files are read in place; the others need the extra `hf`.

    Raises:
        SourceError: The path does not exist, has no such split or no images, or the `datasets` library is missing.
    """
    where, _, split = text.partition("#")
    path = Path(where).expanduser()
    if has_magic(where):
        files = [Path(file) for file in glob(str(path), recursive=True)]
    elif path.is_dir():
        if (path / "state.json").is_file() or (path / "dataset_dict.json").is_file():
            return list_datasets(_open(text, str(path), split, saved=True))
        files = list(path.rglob("*.parquet"))
    elif path.is_file():
        files = [path]
    elif NAME.fullmatch(where):
        return list_datasets(_open(text, where, split, saved=False))
    else:
        raise SourceError(f"hf:{text}: no such file or folder: {path.absolute()}")
    root = path if path.is_dir() else path.parent
    chosen = [file for file in files if file.is_file() and (not split or split in _splits(file, root))]
    if not chosen:
        known = sorted({name for file in files for name in _splits(file, root)})
        raise SourceError(
            f"hf:{text}: no parquet file {'of that split ' if files else ''}under {path.absolute()}"
            + (f"; their names hold {', '.join(known[:20])}" if files else "")
        )
    return list_parquet(sorted(str(file.absolute()) for file in chosen))


def list_datasets(dataset: Any) -> tuple[pa.Table, DatasetsReader]:
    """List a `datasets.Dataset`. The id is its column `id` if it has one, else the position in nine digits.

    Raises:
        SourceError: The dataset is another type, is empty or has no column of images.
    """
    from datasets import Dataset, Image

    if not isinstance(dataset, Dataset):
        splits = f", such as dataset[{next(iter(dataset))!r}]" if isinstance(dataset, dict) and dataset else ""
        raise SourceError(f"{type(dataset).__name__} is not a table of images: give one `datasets.Dataset`{splits}")
    if not len(dataset):
        raise SourceError(f"the dataset {dataset} is empty")
    features = dataset.features.to_dict()
    column = image_column(dataset.features.arrow_schema, features, "the dataset").removesuffix(".bytes")
    if features[column].get("_type") == "Image":
        dataset = dataset.cast_column(column, Image(decode=False))
    known = [field.name for field in dataset.features.arrow_schema if is_metadata(field)]
    table = dataset.select_columns(known).with_format("arrow")[:] if known else pa.table({})
    if "id" not in known:
        ids = pa.array((f"{row:09d}" for row in range(len(dataset))), pa.string())
        table = table.append_column("id", ids) if known else pa.table({"id": ids})
    images = dataset.select_columns([column]).with_format(None)
    return name_columns(table, features), DatasetsReader(images, column, np.arange(len(dataset)))


def is_datasets(dataset: Any) -> bool:
    """Whether this is a `datasets.Dataset`; the check does not import the library."""
    return type(dataset).__module__.startswith("datasets.") and hasattr(dataset, "cast_column")


def _splits(file: Path, root: Path) -> set[str]:
    """Possible names of a file's split: its folders under the root, and the start of its file name."""
    name = re.sub(r"(-\d{5}-of-\d{5}(-[0-9a-f]+)?)?$", "", file.stem)
    return {*file.relative_to(root).parts[:-1], name} if file.is_relative_to(root) else {file.parent.name, name}


def _open(text: str, where: str, split: str, *, saved: bool) -> Any:
    try:
        import datasets
    except ImportError as error:
        raise SourceError(
            f"hf:{text} needs the datasets library: pip install 'conceptprobe[hf]', or give parquet files, "
            "which do not need it"
        ) from error
    try:
        dataset = datasets.load_from_disk(where) if saved else datasets.load_dataset(where, split=split or None)
    except Exception as error:  # a hub, a cache or a builder script may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise SourceError(f"hf:{text} cannot be opened: {reason}") from error
    if isinstance(dataset, dict):
        splits = list(dataset)
        if not split and len(splits) == 1:
            return dataset[splits[0]]
        if split not in splits:
            raise SourceError(f"hf:{text}: name one of its splits, as in hf:{where}#{splits[0]}: {', '.join(splits)}")
        return dataset[split]
    return dataset
