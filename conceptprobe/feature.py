"""The name of a feature."""

from dataclasses import dataclass

from conceptprobe.errors import FeatureNameError


@dataclass(frozen=True, order=True)
class FeatureId:
    """One channel of a layer, printed as `blocks.10.mlp.hidden:1234`."""

    layer: str
    index: int

    def __str__(self) -> str:
        return f"{self.layer}:{self.index}"

    @classmethod
    def parse(cls, text: "str | FeatureId") -> "FeatureId":
        """Parse the printed form.

        Raises:
            FeatureNameError: The text does not end in `:` and a number.
        """
        if isinstance(text, FeatureId):
            return text
        layer, colon, index = text.rpartition(":")
        if not colon or not layer or not index.isdecimal():
            raise FeatureNameError(f"{text!r} is not a feature: write LAYER:NUMBER, such as blocks.10.mlp.hidden:1234")
        return cls(layer, int(index))
