"""The whole workflow on the embedded emoji and mini models: index, score, contrast, probe, and report."""

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
    """Run the whole workflow on the embedded emoji and both mini models.

    The emoji are indexed with both models (the last four blocks, `mlp.hidden`), every feature is scored as object or
    concept, the models are contrasted, two quick probes are run, and a report is written.

    Args:
        out: The folder that gets `indices/`, `scores/`, `contrast/`, `probes/` and `report/`; those of an earlier demo
            are replaced.
        device: The device that the models run on.
        progress: Show progress bars on stderr.

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
    for spec, score in zip(TWINS, scores, strict=True):
        score.save(out / "scores" / spec.replace(":", "-"))
    difference = contrast(*indices, scores=scores, concepts=concepts, progress=progress)
    difference.save(out / "contrast")
    scores_by_model = dict(zip(TWINS, scores, strict=True))
    probes = [run_probe(name, models, images, n=PROBED, scores=scores_by_model) for name in PROBES]
    for result in probes:
        result.save(out / "probes" / result.probe)
    return write_report(
        out / "report", indices, scores=scores, contrasts=[difference], probes=probes, concepts=concepts, title=TITLE,
        progress=progress,
    )  # fmt: skip
