"""Checkpoints of the optimisation of a chunk: one file, replaced as a whole."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from conceptprobe.output.atomic import replace_file

STEPS = 200  # steps between two checkpoints,
SECONDS = 30.0  # unless so much time has passed before


@dataclass
class Checkpoint:
    """The checkpoint of a chunk.

    Attributes:
        path: The file.
        units: Names of the chunk's units, in order. The state of other units is ignored.
    """

    path: Path
    units: Sequence[str]
    _step: int = field(default=0, init=False)
    _time: float = field(default_factory=time.monotonic, init=False)

    def load(self) -> dict[str, Tensor] | None:
        """The last saved state, on the CPU; None if there is none of this chunk."""
        state = None if stored_units(self.path) != tuple(self.units) else read(self.path)
        if state is not None:
            self._step = int(state["step"])
        return state

    def due(self, step: int) -> bool:
        """Whether the state after some steps should be saved."""
        return step - self._step >= STEPS or time.monotonic() - self._time >= SECONDS

    def save(self, step: int, state: Mapping[str, Tensor]) -> None:
        """Replace the state; after a kill the file is the old one or the new one."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
        replace_file(self.path, save(tensors, {"units": json.dumps(list(self.units))}))
        self._step, self._time = step, time.monotonic()


def stored_units(path: Path) -> tuple[str, ...] | None:
    """Names of the units whose state a file holds; None if the file is missing or damaged."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            return tuple(json.loads(file.metadata()["units"]))
    except (SafetensorError, KeyError, TypeError, ValueError):
        return None


def read(path: Path) -> dict[str, Tensor] | None:
    """All tensors of a file, on the CPU; None if it is damaged."""
    try:
        with safe_open(path, "pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError:
        return None
