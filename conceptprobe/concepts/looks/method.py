"""How scores tested whether images share a concept only because they look alike, as facts and in words."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

PREDICTED: Literal["predicted"] = "predicted"
ALIKE: Literal["alike"] = "alike"


@dataclass(frozen=True)
class LooksMethod:
    """How looks were tested; stored with scores.

    Attributes:
        method: `predicted`: lists that activations predicted from looks would give; `alike`: lists of images that look
            alike; None where looks were not tested.
        descriptors: `default`: colours and gradients; `array`: an array of the user; None where not tested.
        reason: Why looks were not tested: `off`: the user left the test out; `unreadable`: images could not be read.
        error: The error of the images.
    """

    method: Literal["predicted", "alike"] | None = None
    descriptors: Literal["default", "array"] | None = None
    reason: Literal["off", "unreadable"] | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields by name, as `FeatureScores.settings["looks"]` holds them."""
        return asdict(self)


def describe_looks(looks: Mapping[str, Any]) -> str:
    """What `FeatureScores.settings["looks"]` says, in words."""
    match looks["reason"]:
        case "off":
            return "not tested by choice"
        case "unreadable":
            return f"not tested, because the images cannot be read: {looks['error']}"
    space = {"default": "colours and gradients", "array": "the descriptors of the user"}[looks["descriptors"]]
    return {PREDICTED: f"activations predicted from {space}", ALIKE: f"lists of images alike in {space}"}[
        looks["method"]
    ]
