"""Lists of words that features can be named by."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pyarrow.parquet
import torch
from torch import Tensor

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.sets.taxonomy import imagenet
from conceptprobe.mini.tokenizer import UnknownWordError
from conceptprobe.models import VisionModel


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


TEXTS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words in a scorer's space.

    Attributes:
        words: Those that the scorer can read.
        vectors_md: Their embeddings of length one, float32.
        unread: Those that it cannot.
    """

    words: tuple[str, ...]
    vectors_md: Tensor
    unread: tuple[str, ...]


def read_words(
    scorer: VisionModel, words: str | os.PathLike[str] | Sequence[str], templates: Sequence[str] = ("{}",)
) -> Vocabulary:
    """Embed words as a scorer reads them.

    Raises:
        ConceptError: The list does not exist, or the scorer reads none of its words.
        ModelError: The scorer has no text encoder.
    """
    words = word_list(words) if isinstance(words, str | os.PathLike) else cleaned(words)
    read, parts = [], []
    with torch.inference_mode():
        for start in range(0, len(words), TEXTS_AT_ONCE):
            for batch, vectors in _embed(scorer, list(words[start : start + TEXTS_AT_ONCE]), templates):
                read += batch
                parts.append(vectors)
    if len(read) < 2:
        raise ConceptError(f"{scorer.spec} can read {len(read)} of {len(words)} words: give a list of words it knows")
    device = "cpu" if scorer.device.type == "mps" else scorer.device
    known = set(read)
    return Vocabulary(
        tuple(read), torch.cat(parts).float().to(device), tuple(word for word in words if word not in known)
    )


def _embed(scorer: VisionModel, words: list[str], templates: Sequence[str]) -> list[tuple[list[str], Tensor]]:
    try:
        means = sum(scorer.encode_text([template.replace("{}", word) for word in words]) for template in templates)
        assert isinstance(means, Tensor)
        return [(words, torch.nn.functional.normalize(means, dim=-1))]
    except UnknownWordError:  # the mini text tower knows few words; halving finds those that it knows
        middle = len(words) // 2
        return [part for half in (words[:middle], words[middle:]) if middle for part in _embed(scorer, half, templates)]
