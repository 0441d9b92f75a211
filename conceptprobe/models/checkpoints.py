"""Weights from a fixed seed, from a local file, or from a hub."""

import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub.constants
import safetensors.torch
import torch
from torch import Tensor, nn

from conceptprobe.models.errors import WeightsError

SEED = 0
HUB_CACHE = "HF_HOME says where it is; HF_HUB_OFFLINE=1 uses it without a network"
TORCH_CACHE = "TORCH_HOME says where it is"
_PREFERRED = ("open_clip_model", "open_clip_pytorch_model", "model", "pytorch_model")
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


@contextmanager
def seeded() -> Iterator[None]:
    """Random weights come from one seed, and the global random state is afterwards as before."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        yield


def find_checkpoint(path: Path) -> Path:
    """The file itself, or the one file of weights in a directory (by the hub's usual names where there are several).

    Raises:
        WeightsError: There is none, or no telling which.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise WeightsError(f"no such file or directory: {path}")
    found = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    named = [file for stem in _PREFERRED for suffix in _SUFFIXES for file in found if file.name == stem + suffix]
    if named or len(found) == 1:
        return (named or found)[0]
    names = ", ".join(file.name for file in found) or "none"
    raise WeightsError(f"{path} must hold one file of weights ({', '.join(_SUFFIXES)}), found: {names}; name the file")


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a safetensors or torch file; wrappers of training scripts are taken off.

    Raises:
        WeightsError: The file is no such thing.
    """
    try:
        if path.suffix == ".safetensors":
            state: object = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path} is not a safetensors or torch file of plain tensors ({reason(error)})") from error
    for wrapper in ("state_dict", "model", "teacher"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()) or not state:
        raise WeightsError(f"{path} does not hold a state dict (names and tensors)")
    for prefix in ("module.", "_orig_mod."):
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return dict(state)


def load_state(module: nn.Module, state: Mapping[str, Tensor], path: Path, name: str) -> None:
    """Put weights into a module; every key and shape must fit.

    Raises:
        WeightsError: Says which keys are missing or too many, and which shapes differ.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in state]
    unexpected = sorted(key for key in state if key not in own)
    shapes = [
        f"{key} {list(state[key].shape)} in the file, {list(own[key].shape)} in the architecture"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    problems = [
        f"{title}: {_first(items)}"
        for title, items in (("missing", missing), ("not known", unexpected), ("other shapes", shapes))
        if items
    ]
    if problems:
        raise WeightsError(
            f"{path} does not fit {name}\n  " + "\n  ".join(problems) + "\nIs it the file of another architecture?"
        )
    module.load_state_dict(dict(state))


@contextmanager
def downloading(spec: str, name: str, cache: str = HUB_CACHE) -> Iterator[None]:
    """Pretrained weights from a hub or its cache; whatever fails becomes one clear error.

    Args:
        name: Family and architecture, to which the user can add other weights.
        cache: Where files that were downloaded before are looked for.
    """
    try:
        with soon_without_network():
            yield
    except Exception as error:
        raise WeightsError(
            f"{spec}: cannot get the pretrained weights ({reason(error)}).\n"
            f"Ways out: {name}@FILE with a local checkpoint; {name}@random for random weights; "
            f"or the cache of a machine with a network ({cache})."
        ) from error


@contextmanager
def soon_without_network() -> Iterator[None]:
    """Where the hub cannot be reached its client looks into its cache at once, instead of trying again for minutes."""
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    huggingface_hub.constants.HF_HUB_OFFLINE = before or not _reachable(huggingface_hub.constants.ENDPOINT)
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before


def reason(error: Exception) -> str:
    """The first line of another library's error, for a message."""
    line = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {line[:300]}"


def _reachable(address: str) -> bool:
    if urllib.request.getproxies():
        return True
    parts = urllib.parse.urlsplit(address)
    try:
        socket.create_connection((parts.hostname or "", parts.port or 443), timeout=3).close()
    except OSError:
        return False
    return True


def _first(items: list[str], shown: int = 4) -> str:
    more = f" and {len(items) - shown} more" if len(items) > shown else ""
    return ", ".join(items[:shown]) + more
