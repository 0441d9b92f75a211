"""What an index of JPEG files costs beside the slower of decoding them and running the model.

    python benchmarks/jpeg.py [--quick] [--images 1000] [--rounds 5]

All 12 `mlp.hidden` layers of a ViT-S/16 with random weights, over JPEG files of 500 x 375 pixels, with 2 loader
workers. Decoding alone is the loader with nobody behind it; the forward alone is torch over pixels in memory. Where the
workers and the model share the processors, no program can be as fast as the slower of the two: both need their
processor time, so `bound` is the larger of that and of the processor seconds of both over the number of processors.
"""

import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from common import Pictures, alternate, arguments, make_model, print_table, spread
from conceptprobe.images import ImageSource, load_images
from conceptprobe.indexing import build_index
from conceptprobe.indexing.streaming.loader import load_batches
from conceptprobe.models import VisionModel
from overhead import BATCH, LAYERS, forward

WORKERS = 2
TARGET = 1.05


def write_jpegs(folder: Path, count: int) -> ImageSource:
    pictures = Pictures(count, 500)
    for position in range(count):
        pictures[position].crop((0, 62, 500, 437)).save(folder / f"{position:05d}.jpg", quality=90)
    return load_images(f"folder:{folder}")


def decode(model: VisionModel, source: ImageSource, workers: int) -> None:
    batches = load_batches(
        source, model.preprocess, size=BATCH, shape=model.image_size, workers=workers, pin=False, device=model.device
    )
    for _ in batches:
        pass


def processor_seconds(run: Callable[[], object]) -> float:
    """Of this process, all threads together."""
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    given = arguments(__doc__, images=(1000, 64), rounds=(5, 1))
    model = make_model()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "images").mkdir()
        source = write_jpegs(Path(folder) / "images", given.images)
        pixels_nchw = torch.stack([model.preprocess(source.load(row).image) for row in range(len(source))])
        ways = {
            "decoding": partial(decode, model, source, WORKERS),
            "forward": partial(forward, model, pixels_nchw),
            "index": partial(
                build_index, model, source, LAYERS, Path(folder) / "index", batch_size=BATCH, workers=WORKERS,
                vectors=False, overwrite=True,
            ),
        }  # fmt: skip
        seconds = alternate(ways, given.rounds)
        work = processor_seconds(partial(decode, model, source, 0)) + processor_seconds(ways["forward"])
    cores = len(os.sched_getaffinity(0))
    slower = torch.maximum(*(torch.from_numpy(seconds[name]) for name in ("decoding", "forward"))).numpy()
    bound = slower.clip(min=work / cores)
    print(f"{given.images:,} images, {WORKERS} workers, {cores} processors.\n")
    print_table(
        [
            {
                "decoding alone": spread(seconds["decoding"], unit=" s"),
                "forward alone": spread(seconds["forward"], unit=" s"),
                "processor seconds of both": f"{work:.1f}",
                "index": spread(seconds["index"], unit=" s"),
                "times the slower": spread(seconds["index"] / slower, 3),
                "target": f"<= {TARGET}",
                "the bound, times the slower": spread(bound / slower, 3),
                "index, times the bound": spread(seconds["index"] / bound, 3),
            }
        ]
    )


if __name__ == "__main__":
    main()
