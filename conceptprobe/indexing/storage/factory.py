"""The index-factory strings that say what kind of FAISS index the images of an index get."""

import re
from dataclasses import dataclass

from conceptprobe.indexing.errors import IndexingError
from conceptprobe.models import Layer

EXACT = "Flat"
CODEBOOK = 256  # centroids of each part of a product quantizer
FORM = re.compile(r"(?:IVF(?P<lists>[1-9][0-9]*),)?(?:Flat|SQ4|SQ6|SQ8|SQfp16|SQbf16|PQ(?P<parts>[1-9][0-9]*))")


@dataclass(frozen=True)
class Factory:
    """An index-factory string, understood.

    Attributes:
        text: As FAISS takes it.
        lists: How many inverted lists it has; 0 for none.
        parts: Parts that its product quantizer cuts a vector into; 0 where it has none.
    """

    text: str
    lists: int
    parts: int

    @classmethod
    def parse(cls, text: str) -> "Factory":
        """Read an index-factory string.

        Raises:
            IndexingError: It is of no form that can be written here.
        """
        match = FORM.fullmatch(text) if isinstance(text, str) else None
        if match is None:
            raise IndexingError(
                f"faiss is {text!r}: give Flat (exact), SQfp16, SQbf16, SQ8, SQ6, SQ4 or PQ<parts>, each alone "
                "or after IVF<lists> and a comma, such as IVF1024,Flat or IVF4096,PQ64"
            )
        return cls(text, *(int(match[name] or 0) for name in ("lists", "parts")))

    @property
    def centroids(self) -> int:
        """Fewest vectors that it can be trained on."""
        return max(1, self.lists, CODEBOOK if self.parts else 0)

    def check(self, layer: Layer, images: int) -> None:
        """Refuse what cannot be trained on so many images of a layer.

        Raises:
            IndexingError: There are fewer images than centroids, or a vector cannot be cut into so many equal parts.
        """
        if images < self.centroids:
            raise IndexingError(
                f"faiss is {self.text!r}, which takes at least {self.centroids} images to train (better 39 times as "
                f"many), and there are {images}: give fewer lists, or Flat"
            )
        if self.parts and layer.width % self.parts:
            raise IndexingError(
                f"faiss is {self.text!r}, but {layer.name} has {layer.width} features, which are no {self.parts} equal "
                "parts: give a number that divides it"
            )
