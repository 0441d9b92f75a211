"""CLIP's byte-pair tokenizer with only the tokens that occur in the mini captions.

The full vocabulary would need an embedding table four times the size of the ViT, nearly all of it untrained.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from open_clip.tokenizer import SimpleTokenizer

from conceptprobe.errors import ConceptProbeError


class UnknownWordError(ConceptProbeError):
    """A text has words on which the mini text tower was never trained."""


class MiniTokenizer:
    """Texts to token ids [n, context_length], int64, padded with 0.

    Args:
        token_ids: CLIP token ids in the vocabulary, including the start and end markers.
        context_length: Tokens per text, including the start and end markers; longer texts are cut.
    """

    def __init__(self, token_ids: Iterable[int], context_length: int) -> None:
        self.token_ids = tuple(sorted(token_ids))
        self.context_length = context_length
        self._clip = SimpleTokenizer(context_length=context_length)
        # The order stays and 0 is the padding, so the end marker stays the largest id, where CLIP pools.
        self._compact = {token: i for i, token in enumerate(self.token_ids, start=1)}

    @classmethod
    def from_texts(cls, texts: Iterable[str], context_length: int) -> "MiniTokenizer":
        """The tokenizer with the smallest vocabulary that covers these texts."""
        clip = SimpleTokenizer(context_length=context_length)
        used = {token for text in texts for token in clip.encode(text)}
        return cls(used | set(clip.all_special_ids), context_length)

    @classmethod
    def load(cls, path: Path) -> "MiniTokenizer":
        """Read a tokenizer that `save` wrote."""
        stored = json.loads(path.read_text())
        return cls(stored["token_ids"], stored["context_length"])

    def save(self, path: Path) -> None:
        """Write the vocabulary as JSON."""
        path.write_text(json.dumps({"context_length": self.context_length, "token_ids": self.token_ids}))

    @property
    def vocabulary_size(self) -> int:
        """Number of token ids, including the padding."""
        return len(self.token_ids) + 1

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Token ids of texts.

        Raises:
            UnknownWordError: A text has words outside the vocabulary.
        """
        ids = torch.zeros(len(texts), self.context_length, dtype=torch.int64, device="cpu")
        for row, text in enumerate(texts):
            tokens = self._clip.encode(text)
            if any(token not in self._compact for token in tokens):
                known = self._compact.keys()
                unknown = [word for word in text.split() if not known >= set(self._clip.encode(word))]
                raise UnknownWordError(
                    f"mini:clip cannot read {text!r}: it was not trained on {', '.join(map(repr, unknown or [text]))}. "
                    "Use words from the names and tags of the mini images."
                )
            tokens = [self._clip.sot_token_id, *tokens[: self.context_length - 2], self._clip.eot_token_id]
            ids[row, : len(tokens)] = torch.tensor([self._compact[token] for token in tokens], device="cpu")
        return ids
