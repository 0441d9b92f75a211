"""Concepts that a user defines in a file, beside the labels of the images."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.sets.concept_set import ConceptSet

KIND = "set"


def read_sets(path: str | os.PathLike[str]) -> dict[str, list[str]]:
    """Read named lists of labels or image ids from a JSON object such as `{"death": ["skull", "coffin"]}`.

    Raises:
        ConceptError: The file has another format.
    """
    path = Path(path).expanduser()
    try:
        sets = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConceptError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(sets, dict) or not sets:
        raise ConceptError(f'{path} is not an object of lists, such as {{"death": ["skull", "coffin"]}}')
    for name, entries in sets.items():
        if not isinstance(entries, list) or not entries or not all(isinstance(entry, str) for entry in entries):
            raise ConceptError(f"{path}: {name!r} is not a list of labels or image ids")
    return sets


def sets_of(entries: Mapping[str, Sequence[str]], images: pd.DataFrame) -> dict[str, list[str]]:
    """The image ids of each set.

    Args:
        entries: Labels, which stand for all their images, or image ids, by the name of the set.
        images: `Index.images`.

    Raises:
        ConceptError: An entry is neither a label nor an image id.
    """
    labels = images.groupby("label")["id"].apply(list).to_dict() if "label" in images else {}
    ids = set(images["id"])
    sets = {}
    for name, members in entries.items():
        if unknown := [entry for entry in members if entry not in labels and entry not in ids]:
            raise ConceptError(
                f"{name!r}: {unknown[0]!r} is neither a label nor an image id of this index "
                f"({len(unknown)} of {len(members)} entries); labels include {', '.join(map(str, list(labels)[:3]))}"
            )
        sets[name] = [id_ for entry in members for id_ in labels.get(entry, [entry])]
    return sets


def beside_labels(entries: Mapping[str, Sequence[str]], images: pd.DataFrame) -> ConceptSet:
    """Make concepts of the sets and the labels, in which the labels are the leaves.

    A feature is then for a set only where the set explains its images better than any label does.

    Args:
        entries: Labels or image ids by the name of the set; see `sets_of`.
        images: `Index.images`.

    Raises:
        ConceptError: An entry is neither a label nor an image id, or no set has two images.
    """
    sets = sets_of(entries, images)
    labels = images.groupby("label")["id"].apply(list).to_dict() if "label" in images else {}
    renamed = {f"{KIND}:{name}" if name in labels else name: ids for name, ids in sets.items()}
    kinds = {**dict.fromkeys(labels, "label"), **dict.fromkeys(renamed, KIND)}
    return ConceptSet.from_sets({**labels, **renamed}, images["id"], leaves=list(labels) or None, kinds=kinds)
