"""Chunks of units that are optimised together, as many as the memory holds."""

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch

from conceptprobe.visualization.errors import VisualizeError

CPU_IMAGES = 32  # the batch for which a CPU is fastest
GPU_PIXELS = 512 * 224 * 224  # a larger batch does not make a GPU faster

Unit = TypeVar("Unit")
Made = TypeVar("Made")


def default_units(device: torch.device, views: int, images: int, view_size: tuple[int, int]) -> int:
    """The number of units whose views keep a device busy.

    Args:
        device: The model's device.
        views: Views of an image.
        images: Images of a unit.
        view_size: Rows and columns of a view.
    """
    rows, columns = view_size
    at_once = CPU_IMAGES if device.type == "cpu" else max(1, GPU_PIXELS // (rows * columns))
    return max(1, at_once // (views * images))


class Chunks:
    """Splits units into chunks, and into smaller ones after memory ran out.

    Attributes:
        limit: The largest number of units that may fit into memory.
    """

    def __init__(self) -> None:
        self.limit = sys.maxsize

    def run(
        self, units: Sequence[Unit], size: int, make: Callable[[Sequence[Unit]], Made]
    ) -> Iterator[tuple[Sequence[Unit], Made]]:
        """Every chunk of at most `size` units with the result of `make`, in order.

        Raises:
            VisualizeError: Memory runs out with a chunk of one unit.
        """
        first = 0
        while first < len(units):
            chunk = units[first : first + min(size, self.limit)]
            made: list[Made] = []
            try:
                made.append(make(chunk))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if len(chunk) == 1:
                    raise VisualizeError(
                        "memory ran out with one unit at once: lower the views or the size, or load the model in a "
                        "smaller dtype (such as bfloat16); what was finished before is kept"
                    ) from error
            if made:  # outside of the handler, which keeps the tensors of the failed chunk alive
                yield chunk, made.pop()
                first += len(chunk)
            else:
                self.limit = len(chunk) // 2
                gc.collect()
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device ran out of memory; only CUDA has an exception class for it."""
    text = str(error)
    return isinstance(error, torch.cuda.OutOfMemoryError) or "can't allocate memory" in text or "out of memory" in text
