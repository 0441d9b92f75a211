"""What an index costs beyond the forward pass that it needs.

    python benchmarks/overhead.py [--quick] [--images 2000] [--rounds 5]

All 12 `mlp.hidden` layers (18,432 features) of a ViT-S/16 with random weights, over images in memory, on the CPU. The
bare forward is torch alone, over pixels that are preprocessed already: one hook, which ends the pass at the last of the
layers. The index begins with PIL images, and ends with all its files on the disk.
The process keeps the memory that it frees, as the command line does; so both sides gain.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from common import Pictures, alternate, arguments, like_the_command_line, make_model, preprocessed, print_table, spread
from conceptprobe.images import load_images
from conceptprobe.indexing import build_index
from conceptprobe.models import VisionModel

BATCH = 64
LAYERS = "blocks[0:12].mlp.hidden"
TARGET = 1.10


class Stop(Exception):  # noqa: N818
    pass


def stop(*_: object) -> None:
    raise Stop


def forward(model: VisionModel, pixels_nchw: torch.Tensor) -> None:
    """Every batch up to the last layer."""
    handle = model.module.blocks[-1].mlp.act.register_forward_hook(stop)
    with torch.inference_mode():
        for batch in pixels_nchw.split(BATCH):
            try:
                model.module(batch)
            except Stop:
                continue
            raise AssertionError("the hook was not reached")
    handle.remove()


def main() -> None:
    given = arguments(__doc__, images=(2000, 64), rounds=(5, 1))
    model, pictures = make_model(), Pictures(given.images)
    source, pixels_nchw = load_images(pictures), preprocessed(model, pictures)
    settings = {
        "mean": {"pooling": ("mean",), "vectors": False},
        "mean and max": {"pooling": ("mean", "max"), "vectors": False},
    }
    with tempfile.TemporaryDirectory() as folder:

        def index(**options: object) -> None:
            build_index(
                model, source, LAYERS, Path(folder) / "index", batch_size=BATCH, workers=0, overwrite=True, **options
            )

        ways: dict[str, Callable[[], None]] = {"forward": partial(forward, model, pixels_nchw)}
        ways |= {name: partial(index, **options) for name, options in settings.items()}
        seconds = alternate(ways, given.rounds)
    bare = seconds.pop("forward")
    print(f"{given.images:,} images, {torch.get_num_threads()} threads, batches of {BATCH}; the bare forward takes "
          f"{spread(bare, unit=' s')}.\n")  # fmt: skip
    print_table(
        [
            {
                "index of": name,
                "seconds": spread(own),
                "times the forward": spread(own / bare, 3),
                "target": f"<= {TARGET}",
            }
            for name, own in seconds.items()
        ]
    )


if __name__ == "__main__":
    like_the_command_line()
    main()
