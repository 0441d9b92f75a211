"""The main job on the embedded default: both mini twins over the emoji images, and a report of them."""

import os
from pathlib import Path

from conceptprobe.device import resolve_device
from conceptprobe.images import load_images
from conceptprobe.indexing import build_index
from conceptprobe.models import load_model
from conceptprobe.report import write_report

TWINS = ("mini:clip", "mini:supervised")
LAYERS = "blocks[-4:].mlp.hidden"
TITLE = "Emoji: a CLIP-trained ViT and its supervised twin"


def run_demo(out: str | os.PathLike[str], *, device: str = "auto", progress: bool = False) -> Path:
    """Index the emoji with both twins (last four blocks, `mlp.hidden`) and write the report.

    Args:
        out: A folder; gets `indices/` and `report/`. An earlier demo there is replaced.
        device: Where the models run.
        progress: Show bars on stderr.

    Returns:
        The path of the report's `index.html`.
    """
    out = Path(out)
    target = resolve_device(device)
    images = load_images("mini:emoji")
    indices = [
        build_index(
            load_model(spec, device=target), images, LAYERS, out / "indices" / spec.replace(":", "-"),
            overwrite=True, progress=progress,
        )
        for spec in TWINS
    ]  # fmt: skip
    return write_report(out / "report", indices, title=TITLE, progress=progress)
