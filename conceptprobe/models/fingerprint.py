"""A hash that identifies a model."""

import hashlib
from typing import Any

import torch
from torch import nn


def fingerprint(architecture: str, preprocessing: dict[str, Any], module: nn.Module) -> str:
    """SHA-256, in hex, over the weights (name, dtype, shape, bytes), the preprocessing and the architecture's name."""
    digest = hashlib.sha256(repr((architecture, sorted(preprocessing.items()))).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
