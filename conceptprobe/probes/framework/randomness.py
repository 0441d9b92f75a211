"""Random streams that depend on an image's id and not on the other images."""

import hashlib
from collections.abc import Sequence

import numpy as np


def image_generators(seed: int, ids: Sequence[str], what: str, draw: int) -> list[np.random.Generator]:
    """A random stream for each image.

    Args:
        seed: Seed of the run.
        ids: Ids of the images.
        what: What is drawn; other draws of the same image are independent.
        draw: Which of several draws of the same.
    """
    return [
        np.random.default_rng(
            int.from_bytes(hashlib.sha256(f"{seed}\0{what}\0{draw}\0{id_}".encode()).digest()[:8], "little")
        )
        for id_ in ids
    ]
