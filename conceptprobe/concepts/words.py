"""Lists of words that features can be named by."""

import os
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path

import pyarrow.parquet

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.taxonomy import imagenet


def word_list(name: str | os.PathLike[str]) -> tuple[str, ...]:
    """A list of words or short phrases, each once, without regard to case.

    Args:
        name: `mini` (names and tags of the emoji), `imagenet` (names of the 1,000 classes and of all that is broader in
            WordNet 3.0), `english` (20,000 common words, commonest first), or a text file with one a line.

    Raises:
        ConceptError: There is no such list or file, it is no text, or it is empty.
    """
    match name:
        case "mini":
            table = pyarrow.parquet.read_table(
                Path(str(files("conceptprobe.mini"))) / "data" / "emoji.parquet", columns=["name", "tags"]
            )
            tags = table["tags"].combine_chunks().flatten()
            words = [*table["name"].unique().to_pylist(), *sorted(tags.unique().to_pylist())]
        case "imagenet":
            words = [names[0] for names in imagenet().names.values()]
        case "english":
            text = (files("conceptprobe.concepts") / "data" / "english.txt").read_text(encoding="utf-8")
            words = text.splitlines()
        case _:
            words = _read_lines(Path(name).expanduser())
    return cleaned(words)


def cleaned(words: Iterable[str]) -> tuple[str, ...]:
    """Words without blanks around them, each once without regard to case; ones without letter or digit are left out."""
    first: dict[str, str] = {}
    for word in words:
        word = " ".join(word.split())
        if any(map(str.isalnum, word)):
            first.setdefault(word.casefold(), word)
    return tuple(first.values())


def _read_lines(path: Path) -> list[str]:
    if not path.is_file():
        raise ConceptError(
            f"there is no word list {path}: give mini, imagenet, english, or a text file with one a line"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConceptError(f"{path} is no text in UTF-8 ({error.reason}): save it as such, one word a line") from error
    if not cleaned(lines):
        raise ConceptError(f"{path} has no words: write one a line")
    return lines
