"""What a forward pass gains where the process keeps the memory that it frees.

    python benchmarks/allocator.py [--quick] [--images 256] [--rounds 5]

The bare forward of overhead.py, in batches of 64, in two processes that take turns: one as Python starts it, one that
keeps freed memory, as the command line does. `pages` is how many the kernel mapped anew in a turn.
"""

import multiprocessing
import os
import resource
from concurrent.futures import ProcessPoolExecutor

import numpy as np

from common import KEPT, Pictures, alternate, arguments, make_model, preprocessed, print_table, spread
from overhead import forward

STATE = {}


def start(images: int) -> None:
    """Make the model and the pixels of this process."""
    model = make_model()
    STATE["inputs"] = model, preprocessed(model, Pictures(images))


def turn() -> int:
    """Run them all; pages that were mapped meanwhile."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    forward(*STATE["inputs"])
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def main() -> None:
    given = arguments(__doc__, images=(256, 64), rounds=(5, 1))
    spawn = multiprocessing.get_context("spawn")
    pages: dict[str, list[int]] = {"as Python starts it": [], "freed memory kept": []}
    pools = {name: ProcessPoolExecutor(1, spawn, start, (given.images,)) for name in pages}
    pools["as Python starts it"].submit(int).result()
    os.environ.update(KEPT)  # what starts from here on
    pools["freed memory kept"].submit(int).result()
    ways = {name: lambda name=name: pages[name].append(pools[name].submit(turn).result()) for name in pools}
    seconds = alternate(ways, given.rounds)
    for pool in pools.values():
        pool.shutdown()
    default = seconds["as Python starts it"]
    print_table(
        [
            {
                "process": name,
                "seconds": spread(own),
                "times the default": spread(own / default, 3),
                "pages": f"{np.median(pages[name][1:]):,.0f}",
            }
            for name, own in seconds.items()
        ]
    )


if __name__ == "__main__":
    main()
