"""Weights from a fixed seed, a local file or a hub."""

import json
import socket
import urllib.parse
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import safetensors.torch
import torch
from torch import Tensor, nn

from conceptprobe.models.errors import WeightsError

SEED = 0
HUB_CACHE = "HF_HOME sets its folder; HF_HUB_OFFLINE=1 uses it without a network"
TORCH_CACHE = "TORCH_HOME sets its folder"
_PREFERRED = ("open_clip_model", "open_clip_pytorch_model", "model", "pytorch_model")
_SETS = ("state_dict_ema", "model_ema", "state_dict", "model", "teacher")
_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth")


@contextmanager
def seeded() -> Iterator[None]:
    """Within the context random weights come from a fixed seed; afterwards the global random state is restored."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(SEED)
        yield


def find_checkpoint(path: Path) -> Path:
    """The file itself, or the only weight file in a folder; of several, the one with a usual name on the hub.

    Raises:
        WeightsError: There is no weight file, or several and none with a usual name.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise WeightsError(f"no such file or folder: {path}")
    files = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES)
    usual = [file for stem in _PREFERRED for suffix in _SUFFIXES for file in files if file.name == stem + suffix]
    if usual or len(files) == 1:
        return (usual or files)[0]
    names = ", ".join(file.name for file in files) or "none"
    raise WeightsError(f"{path} must hold one weight file ({', '.join(_SUFFIXES)}), but holds {names}; name the file")


def read_config(path: Path, name: str) -> dict[str, Any]:
    """The JSON config of a folder of weights; empty if the path is a file or the folder has no config.

    Raises:
        WeightsError: The config is not a JSON object.
    """
    file = path / name
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise WeightsError(f"{file} is not JSON ({error}): download it again or remove it") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{file} must hold a JSON object, not {type(config).__name__}")
    return config


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a safetensors or torch file, without the wrappers that training scripts add.

    Of several sets of weights the moving average (EMA) is taken, as in timm, with a warning that names the sets.

    Raises:
        WeightsError: The file is not a safetensors or torch file, or it holds no state dict.
    """
    try:
        if path.suffix == ".safetensors":
            state: object = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path} is not a safetensors or torch file of plain tensors ({reason(error)})") from error
    while isinstance(state, Mapping) and (names := [name for name in _SETS if isinstance(state.get(name), Mapping)]):
        others = [name for name in (*names[1:], "student") if name in state]
        if others:
            warnings.warn(f"{path} holds {names[0]} and {', '.join(others)}: {names[0]} is loaded", stacklevel=2)
        state = state[names[0]]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()) or not state:
        raise WeightsError(f"{path} does not hold a state dict, which maps names to tensors")
    state = {key: value for key, value in state.items() if key != "n_averaged"}  # of torch's AveragedModel
    for prefix in ("module.", "_orig_mod."):
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def load_state(module: nn.Module, state: Mapping[str, Tensor], path: Path, name: str) -> None:
    """Load weights into a module; every key and shape must match.

    Args:
        module: The module.
        state: The weights by key.
        path: The file of the weights, for messages.
        name: The family and architecture, for messages.

    Raises:
        WeightsError: Keys or shapes differ, and the message lists those that are missing, unexpected or different; or
            weights are NaN.
    """
    expected = module.state_dict()
    missing = [key for key in expected if key not in state]
    unexpected = sorted(key for key in state if key not in expected)
    shapes = [
        f"{key} {list(state[key].shape)} in the file, {list(expected[key].shape)} in the architecture"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    problems = [
        f"{title}: {_first(keys)}"
        for title, keys in (("missing", missing), ("unexpected", unexpected), ("different shapes", shapes))
        if keys
    ]
    if problems:
        raise WeightsError(
            f"{path} does not fit {name}\n  " + "\n  ".join(problems) + "\nIs the file of another architecture?"
        )
    damaged = [key for key, value in state.items() if value.is_floating_point() and value.isnan().any()]
    if damaged:
        raise WeightsError(f"{path} holds NaN in {_first(damaged)}: its training diverged; take another checkpoint")
    module.load_state_dict(dict(state))


@contextmanager
def downloading(spec: str, prefix: str, cache: str = HUB_CACHE) -> Iterator[None]:
    """Within the context any failure to get pretrained weights becomes one clear error.

    Args:
        spec: The model's spec.
        prefix: The start of a spec after which the user can name other weights.
        cache: Which environment variable sets the cache of downloaded files.

    Raises:
        WeightsError: The weights cannot be downloaded or read from the cache.
    """
    try:
        with soon_without_network():
            yield
    except Exception as error:
        raise WeightsError(
            f"{spec}: cannot get the pretrained weights ({reason(error)}).\n"
            f"Ways out: {prefix}FILE with a local checkpoint; {prefix}random for random weights; "
            f"or the cache of a machine with a network ({cache})."
        ) from error


@contextmanager
def soon_without_network() -> Iterator[None]:
    """Within the context the hub's client uses its cache at once if the hub is unreachable, without long retries."""
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


def _first(keys: list[str], shown: int = 4) -> str:
    more = f" and {len(keys) - shown} more" if len(keys) > shown else ""
    return ", ".join(keys[:shown]) + more
