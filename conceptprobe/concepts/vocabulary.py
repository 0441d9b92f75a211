"""Words in the space of a scorer."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.words import cleaned, word_list
from conceptprobe.mini.tokenizer import UnknownWordError
from conceptprobe.models import VisionModel

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
