"""Utilities."""

import random

import torch


def set_seed(seed: int) -> None:
    """Seed torch's and Python's own random numbers, from which parametrizations and transforms take theirs."""
    torch.manual_seed(seed)
    random.seed(seed)
