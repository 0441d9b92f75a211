"""How well does a model stand noise, blur, weather and compression? (ImageNet-C of Hendrycks & Dietterich 2019, arXiv
1903.12261; the corruptions are our own, see `corruptions`.)"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import Items
from conceptprobe.probes.framework.probe import Findings, Probe, behave, rows_of
from conceptprobe.probes.framework.responses import Condition, Subject, image_generators
from conceptprobe.probes.stimuli.corruptions import CORRUPTIONS, SEVERITIES, SMALLEST, check, corrupt

ALEXNET_ERRORS: Mapping[str, float] = {
    "gaussian_noise": 0.886428, "shot_noise": 0.894468, "impulse_noise": 0.922640, "defocus_blur": 0.819880,
    "glass_blur": 0.826268, "motion_blur": 0.785948, "zoom_blur": 0.798360, "snow": 0.866816, "frost": 0.826572,
    "fog": 0.819324, "brightness": 0.564592, "contrast": 0.853204, "elastic_transform": 0.646056,
    "pixelate": 0.717840, "jpeg_compression": 0.606500,
}  # fmt: skip
"""AlexNet's errors on ImageNet-C, means over the severities (github.com/hendrycks/robustness, `ImageNet-C/test.py`)."""


@dataclass(frozen=True)
class Corruption:
    """Settings.

    Attributes:
        corruptions: Names of those to try; all fifteen by default.
        severities: 1 to 5. Corruption errors need all five; two keep the number of conditions at thirty.
        folder: ImageNet-C itself, or anything in its layout: `CORRUPTION/SEVERITY/ID`, where wanted in folders such as
            `noise` above. Images are then read from there, by the ids of the images probed; None corrupts those.
    """

    corruptions: tuple[str, ...] = tuple(CORRUPTIONS)
    severities: tuple[int, ...] = (3, 5)
    folder: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.corruptions, str) or not self.corruptions or not self.severities:
            raise ProbeError(
                f"give tuples of corruptions and severities, got {self.corruptions!r}, {self.severities!r}"
            )
        for name in self.corruptions:
            for severity in self.severities:
                check(name, severity)
        if self.folder is not None and not Path(self.folder).expanduser().is_dir():
            raise ProbeError(f"{self.folder} is no folder: give the one that holds ImageNet-C")

    @property
    def kind(self) -> str:
        """What the images are; results of the two kinds do not compare."""
        return "C-like" if self.folder is None else "ImageNet-C"


def check_size(subject: Subject, items: Items, settings: Corruption) -> None:
    """Refuse images too small to be corrupted."""
    if min(subject.model.image_size) < SMALLEST:
        raise ProbeError(
            f"{subject.model.spec} looks at {subject.model.image_size} pixels: corruptions need {SMALLEST}"
        )


def run(subject: Subject, items: Items, settings: Corruption, seed: int) -> Findings:
    """Corrupt every image, or read it corrupted, and add corruption errors to what the model answers."""
    points = [(name, severity) for name in settings.corruptions for severity in settings.severities]
    changes: list[Corrupted | ReadCorrupted]
    if settings.folder is None:
        changes = [Corrupted(items.ids, name, severity, seed) for name, severity in points]
    else:
        folders = find_corruptions(settings.folder, settings.corruptions)
        changes = [
            ReadCorrupted(items.ids, folders[name] / str(severity), subject.model.image_size)
            for name, severity in points
        ]
    conditions = [
        Condition(name, severity, change=change) for (name, severity), change in zip(points, changes, strict=True)
    ]
    findings = behave(subject, items, conditions, seed)
    rows = pd.concat([findings.rows, error_rows(findings.rows, settings.kind)], ignore_index=True)
    return replace(findings, rows=rows, caveats=_caveats(settings))


class Corrupted:
    """Corrupts images, each by its own random stream, which all severities share."""

    def __init__(self, ids: tuple[str, ...], name: str, severity: int, seed: int) -> None:
        self._ids, self._name, self._severity, self._seed = ids, name, severity, seed

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        streams = image_generators(self._seed, [self._ids[i] for i in numbers], f"corruption {self._name}", 0)
        images_bhwc = pixels_bchw.permute(0, 2, 3, 1).cpu().numpy()
        changed = [
            corrupt(image, self._name, self._severity, rng) for image, rng in zip(images_bhwc, streams, strict=True)
        ]
        return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2).to(pixels_bchw.device)


class ReadCorrupted:
    """Reads images that are corrupted already. They are cropped already too: each is scaled to the model's size whole.

    Raises:
        ProbeError: An image is not there.
    """

    def __init__(self, ids: tuple[str, ...], folder: Path, size: tuple[int, int]) -> None:
        self._paths = [folder / id_ for id_ in ids]
        self._size = size
        missing = [path for path in self._paths if not path.is_file()]
        if missing:
            raise ProbeError(
                f"{len(missing)} of {len(ids)} images are not in {folder}, such as {missing[0].relative_to(folder)}: "
                "probe images whose ids are their paths there, such as folder:IMAGENET-C/noise/gaussian_noise/1"
            )

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        images_bhwc = np.stack([self._read(self._paths[i]) for i in numbers])
        pixels = torch.from_numpy(images_bhwc).permute(0, 3, 1, 2).to(pixels_bchw.device)
        return pixels / torch.full((), 255.0, device=pixels.device)

    def _read(self, path: Path) -> np.ndarray:
        try:
            image = Image.open(path).convert("RGB")
        except OSError as error:
            raise ProbeError(f"{path} cannot be read: {error}") from error
        height, width = self._size
        return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def find_corruptions(folder: str | Path, names: Sequence[str]) -> dict[str, Path]:
    """Where each corruption lies in a copy of ImageNet-C.

    Raises:
        ProbeError: One is missing.
    """
    root = Path(folder).expanduser()
    found = {path.name: path for path in [*sorted(root.glob("*/*")), *sorted(root.iterdir())] if path.is_dir()}
    if missing := [name for name in names if name not in found]:
        raise ProbeError(
            f"{root} has no folder {missing[0]!r}, neither directly nor one level below; it has "
            f"{', '.join(sorted(path.name for path in root.iterdir() if path.is_dir())[:8]) or 'none'}"
        )
    return {name: found[name] for name in names}


def error_rows(rows: pd.DataFrame, kind: str) -> pd.DataFrame:
    """`CE` of every corruption with all five severities and, where all fifteen have them, their mean `mCE`.

    The value of an image is its own share of wrong answers in units of AlexNet's mean error, so that the mean over
    images is the corruption error, with an interval.
    """
    correct = rows[(rows["metric"] == "correct") & rows["series"].isin(list(CORRUPTIONS))]
    frames, values = [], []
    for name, part in correct.groupby("series", sort=False):
        answers_ns = part.pivot(index="image", columns="x", values="value")
        if len(answers_ns.columns) < len(SEVERITIES):
            continue
        error_n = pd.Series(1 - answers_ns.mean(axis=1)) / ALEXNET_ERRORS[str(name)]
        frames.append(rows_of(f"CE, {kind}", Condition(str(name), 0), tuple(error_n.index), error_n.to_numpy()))
        values.append(error_n)
    if len(values) == len(CORRUPTIONS):
        mean_n = pd.concat(values, axis=1).mean(axis=1)
        frames.append(rows_of(f"mCE, {kind}", Condition("all", 0), tuple(mean_n.index), mean_n.to_numpy()))
    return pd.concat(frames, ignore_index=True) if frames else rows.iloc[:0]


def _caveats(settings: Corruption) -> tuple[str, ...]:
    made = (
        "C-like: images are corrupted here, by our own code after that of ImageNet-C, with drawn frost and at the "
        "model's own size. Errors and mCE are not those of ImageNet-C and must not be pooled with published ones."
        if settings.folder is None
        else f"ImageNet-C as read from {settings.folder}: each image is scaled whole to the model's size."
    )
    short = (
        ()
        if {*settings.severities} == {*SEVERITIES}
        else ("Corruption errors need all five severities: set severities=(1, 2, 3, 4, 5).",)
    )
    return (made, *short)


PROBE = Probe(
    name="corruption",
    question="How well does the model stand noise, blur, weather and compression?",
    source="Hendrycks & Dietterich 2019, arXiv 1903.12261",
    settings=Corruption,
    run=run,
    axes={"": "severity"},
    check=check_size,
    needs=frozenset({"answers"}),
    follows=True,
    context=tuple(
        {"name": f"{name}, mCE on ImageNet-C", "value": value, "source": source, "tag": tag}
        for name, value, source, tag in (
            ("RN50", "76.7 %", "Hendrycks & Dietterich, public code", "code"),
            ("DeiT-B", "48.5 %", "Naseer et al. 2021", "paper"),
            ("DeiT-S", "54.6 %", "Naseer et al. 2021", "paper"),
            ("DeiT-T", "71.1 %", "Naseer et al. 2021", "paper"),
        )
    ),
)
