"""CLIP's byte-pair tokenizer, cut down to the tokens that occur in the mini captions.

The full vocabulary would need an embedding table four times the size of the ViT, nearly all of it untrained.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from open_clip.tokenizer import SimpleTokenizer

from conceptprobe.errors import ConceptProbeError


class UnknownWordError(ConceptProbeError):
    """A text has words that the mini text tower was never trained on."""


class MiniTokenizer:
    """Texts to token ids [n, context_length], int64, padded with 0.

    Args:
        token_ids: CLIP token ids that the vocabulary keeps, start and end of text among them.
        context_length: Tokens a text, the start and end markers included; longer texts are cut.
    """

    def __init__(self, token_ids: Iterable[int], context_length: int) -> None:
        self.token_ids = tuple(sorted(token_ids))
        self.context_length = context_length
        self._clip = SimpleTokenizer(context_length=context_length)
        # Order is kept and 0 is left for padding, so the end of text stays the largest id, where CLIP pools.
        self._compact = {token: i for i, token in enumerate(self.token_ids, start=1)}

    @classmethod
    def from_texts(cls, texts: Iterable[str], context_length: int) -> "MiniTokenizer":
        """The smallest vocabulary that can write these texts."""
        clip = SimpleTokenizer(context_length=context_length)
        used = {token for text in texts for token in clip.encode(text)}
        return cls(used | set(clip.all_special_ids), context_length)

    @classmethod
    def load(cls, path: Path) -> "MiniTokenizer":
        stored = json.loads(path.read_text())
        return cls(stored["token_ids"], stored["context_length"])

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({"context_length": self.context_length, "token_ids": self.token_ids}))

    @property
    def vocabulary_size(self) -> int:
        return len(self.token_ids) + 1

    def __call__(self, texts: list[str]) -> torch.Tensor:
        ids = torch.zeros(len(texts), self.context_length, dtype=torch.int64, device="cpu")
        for row, text in enumerate(texts):
            tokens = self._clip.encode(text)
            if any(token not in self._compact for token in tokens):
                known = self._compact.keys()
                unknown = [word for word in text.split() if not known >= set(self._clip.encode(word))]
                raise UnknownWordError(
                    f"mini:clip cannot read {text!r}: it has never seen {', '.join(map(repr, unknown or [text]))}. "
                    "It knows the words in the names and tags of the mini images; ask with one of those."
                )
            tokens = [self._clip.sot_token_id, *tokens[: self.context_length - 2], self._clip.eot_token_id]
            ids[row, : len(tokens)] = torch.tensor([self._compact[token] for token in tokens], device="cpu")
        return ids
