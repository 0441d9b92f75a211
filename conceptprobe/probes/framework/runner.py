"""Run a probe on models that are loaded, and put the findings together."""

import dataclasses
import importlib.metadata
from collections.abc import Sequence
from typing import Any

import pandas as pd

from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import Findings, Probe
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.result import ProbeResult, make_curves, make_differences

NO_ANSWERS = "{} cannot name classes, so that it is only compared with itself: by its embedding and its features."


def run_on_models(
    probe: Probe, config: Any, models: Sequence[ProbedModel], images: ProbeImages, seed: int
) -> ProbeResult:
    """Run a probe on every model, once models and images are known to have what it needs.

    Raises:
        ProbeError: A model has no attention, an image no mask, or the probe's check refuses them. Nothing was computed.
    """
    needs = probe.all_needs(config)
    for probed in models:
        if "attention" in needs and all(layer.kind != "attention" for layer in probed.model.layers):
            raise ProbeError(f"{probe.name} looks at attention, and {probed.model.spec} has none")
        probe.check(probed, images, config)
    if "masks" in needs:
        images.masks(models[0].model)
    findings = []
    for probed in models:
        of_model = probe.run(probed, images, config, seed)
        silent = "answers" in needs and probed.head is None
        findings.append(of_model.with_caveat(NO_ANSWERS.format(probed.model.spec)) if silent else of_model)
    return _assemble(probe, config, models, images, findings, seed)


def _assemble(
    probe: Probe,
    config: Any,
    models: Sequence[ProbedModel],
    images: ProbeImages,
    findings: Sequence[Findings],
    seed: int,
) -> ProbeResult:
    specs = [probed.model.spec for probed in models]

    def join(name: str) -> pd.DataFrame:
        frames = [getattr(of_model, name) for of_model in findings]
        named = [frame.assign(model=spec) for spec, frame in zip(specs, frames, strict=True) if len(frame)]
        joined = pd.concat(named, ignore_index=True) if named else pd.DataFrame({"model": pd.Series(dtype=str)})
        return joined[["model", *[column for column in joined if column != "model"]]]

    rows = join("rows")
    about = {
        "models": [
            {
                "spec": probed.model.spec,
                "fingerprint": probed.model.fingerprint,
                "head": None if probed.head is None else probed.head.kind,
                "classes": None if probed.head is None else len(probed.head.classes),
                "layers": [layer.name for layer in probed.layers],
            }
            for probed in models
        ],
        "source": {"spec": images.source.spec, "fingerprint": images.source.fingerprint},
        "images": len(images),
        "protocol": probe.source,
        "axes": dict(probe.axes),
        "settings": dataclasses.asdict(config),
        "pooling": models[0].pooling,
        "seed": seed,
        "versions": {name: importlib.metadata.version(name) for name in ("conceptprobe", "torch", "numpy")},
    }
    artifacts = {
        f"{spec}/{name}": array
        for spec, of_model in zip(specs, findings, strict=True)
        for name, array in of_model.artifacts.items()
    }
    caveats = [text for of_model in findings for text in of_model.caveats]
    if images.left_out:
        whole = len(images) + images.left_out
        caveats.append(f"Left out for want of an alpha channel: {images.left_out} of {whole} images.")
    return ProbeResult(
        probe.name, probe.question, rows, make_curves(rows),
        make_differences(rows, x_of_model=probe.x_of_model), join("features"), join("survival"), artifacts, about,
        tuple(dict.fromkeys(caveats)), probe.context,
    )  # fmt: skip
