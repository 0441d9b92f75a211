"""Utilities."""

import random

import torch


def set_seed(seed: int) -> None:
    """Seed the global random numbers of torch and Python, which parametrizations and transforms use."""
    torch.manual_seed(seed)
    random.seed(seed)
