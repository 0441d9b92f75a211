"""Checkpoints of a reduction: one file, replaced as a whole.

A build writes checkpoints while it runs, and resumes from the last one after a kill. A shard and a growable index keep
their last one. Data that is too large for a checkpoint lies in row files beside it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from conceptprobe.output.atomic import replace_file

NAME = "checkpoint.safetensors"
STATE = "state.safetensors"
INTERVAL = 30.0  # seconds between checkpoints; a kill costs at most that much work


@dataclass
class State:
    """The reduction of some batches of images.

    Attributes:
        batches: Runs of batches that are done, each from a first number up to but without a last.
        bad: Row and reason of every image that could not be read.
        sampled: Rows of the images whose values are all kept, in order.
        layers: The state of each layer's reducer.
    """

    batches: list[tuple[int, int]] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)
    sampled: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    layers: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)


def save_state(path: Path, state: State, *, plan: str = "", files: Iterable[Path] = ()) -> None:
    """Replace the state in a file.

    Args:
        path: The file.
        state: The state.
        plan: A description of the build; only a build with the same description resumes from the state.
        files: Other flushed files in the folder that are needed to resume.
    """
    tensors = {"sampled": torch.from_numpy(state.sampled)}
    for layer, arrays in state.layers.items():
        tensors |= {f"{layer}/{name}": tensor.cpu().contiguous() for name, tensor in arrays.items()}
    sizes = {file.relative_to(path.parent).as_posix(): file.stat().st_size for file in files}
    about = {"plan": plan, "batches": state.batches, "bad": state.bad, "files": sizes}
    replace_file(path, save(tensors, {"state": json.dumps(about)}))  # one entry: of several the order is not fixed


def load_state(path: Path, *, plan: str = "") -> State | None:
    """The state in a file, or None if it is missing, damaged, of another plan, or lacks some of its files."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["state"])
            if about["plan"] != plan:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, KeyError, TypeError, ValueError):
        return None
    sizes = {path.parent / name: size for name, size in about["files"].items()}
    if not all(file.is_file() and file.stat().st_size >= size for file, size in sizes.items()):
        return None
    bad = [(row, reason) for row, reason in about["bad"]]
    state = State([(first, last) for first, last in about["batches"]], bad, tensors.pop("sampled").numpy())
    for name, tensor in tensors.items():
        layer, _, key = name.rpartition("/")
        state.layers.setdefault(layer, {})[key] = tensor
    return state
