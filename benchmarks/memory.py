"""Whether memory grows with the number of images.

    python benchmarks/memory.py [--quick] [--images 1200]

Builds an index of so many embedded emoji, and one of ten times as many, each in a process of its own, without FAISS
files, and prints how much memory each had resident at most.
"""

import multiprocessing
import resource
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from common import arguments, like_the_command_line, make_model, print_table
from conceptprobe.images import load_images
from conceptprobe.indexing import build_index

LAYERS = "blocks[-2:].mlp.hidden"
TARGET = 100


def peak(images: int, workers: int = 1) -> tuple[float, float]:
    """MiB of this process and of its largest loader worker after a build."""
    with tempfile.TemporaryDirectory() as folder:
        source = load_images("mini:emoji").subset(range(images))
        build_index(make_model("mini:supervised"), source, LAYERS, Path(folder) / "i", workers=workers, vectors=False)
    own, worker = (resource.getrusage(who).ru_maxrss / 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own, worker


def main() -> None:
    given = arguments(__doc__, images=(1200, 120))
    rows = []
    for images in (given.images, 10 * given.images):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            own, worker = pool.submit(peak, images).result()
        rows.append({"images": images, "peak, MiB": own, "largest worker, MiB": worker})
    grown = rows[1]["peak, MiB"] - rows[0]["peak, MiB"]
    print_table([{**{name: f"{value:,.0f}" for name, value in row.items()}} for row in rows])
    print(f"Ten times the images took {grown:+.0f} MiB; target <= {TARGET}.\n")


if __name__ == "__main__":
    like_the_command_line()
    main()
