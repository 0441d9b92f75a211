"""How far a build has come: one file, replaced as a whole, from which the same command goes on after a kill."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

NAME = "state.safetensors"
INTERVAL = 30.0  # seconds between checkpoints; a kill costs at most that much work
HASH_BYTES = 32


@dataclass
class Ledger:
    """What happened to the images of the first batches.

    Attributes:
        batches: How many batches are done.
        hashes: Content hashes of the images that were read, in order, uint8 [n,32].
        bad: Row and reason of every image that could not be read.
    """

    batches: int = 0
    hashes: list[np.ndarray] = field(default_factory=list)
    bad: list[tuple[int, str]] = field(default_factory=list)

    def add(self, hashes: tuple[str, ...], bad: tuple[tuple[int, str], ...]) -> None:
        """Take in one more batch."""
        self.batches += 1
        self.hashes.append(np.frombuffer(bytes.fromhex("".join(hashes)), np.uint8).reshape(-1, HASH_BYTES))
        self.bad += bad

    def all_hashes(self) -> np.ndarray:
        self.hashes = [np.concatenate([np.empty((0, HASH_BYTES), np.uint8), *self.hashes])]
        return self.hashes[0]


def save_checkpoint(
    folder: Path, plan: str, ledger: Ledger, state: dict[str, torch.Tensor], files: Iterable[Path]
) -> None:
    """Replace the checkpoint.

    Args:
        plan: What is being built; only the same plan can go on from it.
        files: What else lies in the folder, flushed, and is needed to go on.
    """
    tensors = {name: tensor.cpu().contiguous() for name, tensor in state.items()}
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}
    metadata = {
        "plan": plan,
        "batches": str(ledger.batches),
        "bad": json.dumps(ledger.bad),
        "files": json.dumps(sizes),
    }
    temporary = folder / f"{NAME}.tmp"
    save_file({**tensors, "hashes": torch.from_numpy(ledger.all_hashes().copy())}, temporary, metadata)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, folder / NAME)


def load_checkpoint(folder: Path, plan: str) -> tuple[Ledger, dict[str, torch.Tensor]] | None:
    """The last checkpoint of this plan, or None: there is none, it is of another plan, or something of it is lost."""
    if not (folder / NAME).is_file():
        return None
    try:
        with safe_open(folder / NAME, "pt") as file:
            metadata = file.metadata()
            if metadata["plan"] != plan:
                return None
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except SafetensorError:
        return None
    sizes = {folder / name: size for name, size in json.loads(metadata["files"]).items()}
    if not all(path.is_file() and path.stat().st_size >= size for path, size in sizes.items()):
        return None
    bad = [(row, reason) for row, reason in json.loads(metadata["bad"])]
    return Ledger(int(metadata["batches"]), [state.pop("hashes").numpy()], bad), state
