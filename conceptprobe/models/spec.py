"""The grammar of model specs: `family:architecture[@weights][#pixels]`."""

import re
from dataclasses import dataclass
from pathlib import Path

from conceptprobe.models.errors import SpecError

FAMILIES = ("mini", "open_clip", "timm", "torchvision")
RANDOM = "random"
_EXAMPLES = "mini:clip, open_clip:ViT-B-32@openai, timm:vit_base_patch16_224.augreg_in1k, torchvision:resnet50@random"
_SUFFIXES = (".safetensors", ".pt", ".pth", ".bin")
_GRAMMAR = "family:architecture[@weights][#pixels]"


@dataclass(frozen=True)
class ModelSpec:
    """A parsed model spec.

    Attributes:
        text: The spec as written.
        family: One of FAMILIES.
        architecture: The family's name of the architecture.
        weights: A pretrained tag, a path, `random`, or None if the spec names no weights.
        settings: The pretrained tag of open_clip whose settings a weight file or random weights have, as in
            `@openai:clip.pt`; None if the spec names no such tag.
        pixels: Rows and columns of the input if the spec names another size than the model's default.
    """

    text: str
    family: str
    architecture: str
    weights: str | None
    pixels: int | None = None
    settings: str | None = None

    @classmethod
    def parse(cls, text: str) -> "ModelSpec":
        """Parse `family:architecture[@weights][#pixels]`; only digits after the last `#` are a size.

        For open_clip weights may be `TAG:FILE` or `TAG:random`, with the settings of a pretrained tag.

        Raises:
            SpecError: The text has another form or names an unknown family.
        """
        named, pixels = text, None
        if size := re.search(r"#([0-9]*)$", text):
            named, pixels = text[: size.start()], int(size[1] or 0)
            if not pixels:
                raise SpecError(f"{text!r}: write an input size in pixels after #, such as #224")
        family, colon, rest = named.partition(":")
        architecture, at, weights = rest.partition("@")
        if not colon or not architecture or (at and not weights):
            raise SpecError(f"{text!r} is not a model spec: write {_GRAMMAR}, such as {_EXAMPLES}")
        if family not in FAMILIES:
            raise SpecError(f"{text!r}: no family {family!r}; there are {', '.join(FAMILIES)} (such as {_EXAMPLES})")
        settings, colon, file = weights.partition(":")
        if family != "open_clip" or len(settings) < 2 or not file or Path(settings).name != settings:
            return cls(text, family, architecture, weights or None, pixels)
        return cls(text, family, architecture, file, pixels, settings)

    @property
    def name(self) -> str:
        """Family and architecture, without weights and size."""
        return f"{self.family}:{self.architecture}"

    @property
    def is_random(self) -> bool:
        """Whether the weights are random."""
        return self.weights == RANDOM

    @property
    def path(self) -> Path | None:
        """The local file or folder that the weights name, or None if they are a tag.

        Weights are a path if they exist, contain a folder or have a checkpoint's suffix; the path need not exist.
        """
        if self.weights is None or self.is_random:
            return None
        path = Path(self.weights).expanduser()
        is_path = len(path.parts) > 1 or path.suffix in _SUFFIXES or path.exists()
        return path if is_path else None
