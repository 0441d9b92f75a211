"""Lists of words to name features with."""

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
    """A list of words or short phrases, each once without regard to case.

    Args:
        name: `mini` (the names and tags of the emoji), `imagenet` (the names of the 1,000 classes and of all broader
            nouns in WordNet 3.0), `english` (20,000 common words, the most common ones first), or the path of a text
            file with one word in each line.

    Raises:
        ConceptError: There is no such list or file, or the file is not a text or has no words.
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
    return clean_words(words)


def clean_words(words: Iterable[str]) -> tuple[str, ...]:
    """Words without blanks around them, each once without regard to case; a word has at least a letter or a digit."""
    first: dict[str, str] = {}
    for word in words:
        word = " ".join(word.split())
        if any(map(str.isalnum, word)):
            first.setdefault(word.casefold(), word)
    return tuple(first.values())


def _read_lines(path: Path) -> list[str]:
    if not path.is_file():
        raise ConceptError(
            f"there is no word list {path}: give mini, imagenet, english, or the path of a text file with one word in "
            "each line"
        )
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ConceptError(
            f"{path} is not a text in UTF-8 ({error.reason}): save it as one, with one word in each line"
        ) from error
    if not clean_words(lines):
        raise ConceptError(f"{path} has no words: write one word in each line")
    return lines


TEXTS_AT_ONCE = 256


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Words in a scorer's embedding space.

    Attributes:
        words: The words that the scorer can read.
        vectors_md: Their embeddings of length one, float32.
        unread: The words that it cannot read.
    """

    words: tuple[str, ...]
    vectors_md: Tensor
    unread: tuple[str, ...]


def read_words(
    scorer: VisionModel, words: str | os.PathLike[str] | Sequence[str], templates: Sequence[str] = ("{}",)
) -> Vocabulary:
    """Embed words with the text encoder of a scorer.

    Args:
        scorer: A model with a text encoder.
        words: The name or file of a word list, or the words themselves.
        templates: Sentences with `{}` where the word goes; a word's embeddings in them are averaged.

    Raises:
        ConceptError: The list does not exist, or the scorer can read fewer than two of its words.
        ModelError: The scorer has no text encoder.
    """
    words = word_list(words) if isinstance(words, str | os.PathLike) else clean_words(words)
    read, vectors_by_batch = [], []
    with torch.inference_mode():
        for start in range(0, len(words), TEXTS_AT_ONCE):
            for batch, vectors in _embed(scorer, list(words[start : start + TEXTS_AT_ONCE]), templates):
                read += batch
                vectors_by_batch.append(vectors)
    if len(read) < 2:
        raise ConceptError(
            f"{scorer.spec} can read {len(read)} of {len(words)} words: give a list with at least two that it knows"
        )
    device = "cpu" if scorer.device.type == "mps" else scorer.device
    known = set(read)
    unread = tuple(word for word in words if word not in known)
    return Vocabulary(tuple(read), torch.cat(vectors_by_batch).float().to(device), unread)


def _embed(scorer: VisionModel, words: list[str], templates: Sequence[str]) -> list[tuple[list[str], Tensor]]:
    try:
        means = sum(scorer.encode_text([template.replace("{}", word) for word in words]) for template in templates)
        assert isinstance(means, Tensor)
        return [(words, torch.nn.functional.normalize(means, dim=-1))]
    except UnknownWordError:  # the text encoder of the mini models knows few words; halving finds those that it knows
        middle = len(words) // 2
        return [part for half in (words[:middle], words[middle:]) if middle for part in _embed(scorer, half, templates)]
