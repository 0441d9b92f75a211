"""The main job on the embedded default: both mini twins over the emoji, scores, contrast, two probes, and a report."""

import os
from pathlib import Path

from conceptprobe.concepts.comparison.contrast import contrast
from conceptprobe.concepts.scoring.scores import score_features
from conceptprobe.concepts.sets.from_index import concepts_of
from conceptprobe.device import resolve_device
from conceptprobe.images import load_images
from conceptprobe.indexing import build_index
from conceptprobe.models import load_model
from conceptprobe.probes import run_probe
from conceptprobe.report import write_report

TWINS = ("mini:clip", "mini:supervised")
LAYERS = "blocks[-4:].mlp.hidden"
PROBES = ("attention_distance", "shuffle")
PROBED = 256
TITLE = "Emoji: a CLIP-trained ViT and its supervised twin"


def run_demo(out: str | os.PathLike[str], *, device: str = "auto", progress: bool = False) -> Path:
    """Index the emoji with both twins (last four blocks, `mlp.hidden`), score every feature as object or concept,
    contrast the twins, run two quick probes, and write the report.

    Args:
        out: A folder; gets `indices/`, `scores/`, `contrast/`, `probes/` and `report/`; an earlier demo is replaced.
        device: Where the models run.
        progress: Show bars on stderr.

    Returns:
        The path of the report's `index.html`.
    """
    out = Path(out)
    target = resolve_device(device)
    images = load_images("mini:emoji")
    models = [load_model(spec, device=target) for spec in TWINS]
    indices = [
        build_index(
            model, images, LAYERS, out / "indices" / model.spec.replace(":", "-"),
            overwrite=True, progress=progress,
        )
        for model in models
    ]  # fmt: skip
    concepts = concepts_of(indices[0])
    scores = [score_features(index, concepts, images=images, progress=progress) for index in indices]
    for spec, own in zip(TWINS, scores, strict=True):
        own.save(out / "scores" / spec.replace(":", "-"))
    difference = contrast(*indices, scores=scores, concepts=concepts, progress=progress)
    difference.save(out / "contrast")
    verdicts = dict(zip(TWINS, scores, strict=True))
    probes = [run_probe(name, models, images, n=PROBED, scores=verdicts) for name in PROBES]
    for found in probes:
        found.save(out / "probes" / found.probe)
    return write_report(
        out / "report", indices, scores=scores, contrasts=[difference], probes=probes, concepts=concepts, title=TITLE,
        progress=progress,
    )  # fmt: skip
