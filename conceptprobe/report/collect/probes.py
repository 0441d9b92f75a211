"""The probes of a report: their results, and which models of the report each result is about."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conceptprobe.display.text import shorten
from conceptprobe.probes.framework.result import ProbeResult, load_probe
from conceptprobe.report.collect.models import ReportModel, numbered, plain_name
from conceptprobe.report.errors import ReportError

ProbeLike = ProbeResult | str | os.PathLike[str]
"""A result; or a folder with one result, or with a folder for each of several results."""
FILE = "probe.json"


@dataclass(frozen=True)
class ProbedModel:
    """A model that was probed.

    Attributes:
        spec: The name of the model in the tables of the result.
        label: The name of the model in the report.
        colour: The number of its colour: that of the model in the report, else a number after those.
        numbers: The models of the report with the same weights.
        about: The entry of the model in the result.
    """

    spec: str
    label: str
    colour: int
    numbers: tuple[int, ...]
    about: dict[str, Any]


@dataclass(frozen=True, eq=False)
class ReportProbe:
    """A result in a report.

    Attributes:
        number: The position of the result.
        key: The unique name of the result in links and folders.
        label: The name of the probe, numbered if several results share it.
        result: The result.
        models: The models that were probed.
        written: When the result was saved, in seconds since 1970; None if it was not saved.
    """

    number: int
    key: str
    label: str
    result: ProbeResult
    models: tuple[ProbedModel, ...]
    written: float | None

    @property
    def folder(self) -> str:
        """The folder that the commands of the report use for the result."""
        return f"probes/{self.key}"


def load_probes(probes: Sequence[ProbeLike], models: Sequence[ReportModel]) -> tuple[ReportProbe, ...]:
    """Load results from their folders, and match them with the models of the report.

    A probe is about models, not about indices, so its models need not be in the report.

    Raises:
        ReportError: A folder holds no result.
        ConceptError: A result is damaged or of another version.
    """
    results: list[tuple[ProbeResult, float | None]] = []
    for probe in probes:
        if isinstance(probe, ProbeResult):
            results.append((probe, None))
        else:
            results += [(load_probe(folder), (folder / FILE).stat().st_mtime) for folder in result_folders(Path(probe))]
    unmatched = dict.fromkeys(
        (about["spec"], about["fingerprint"])
        for result, _ in results
        for about in result.about["models"]
        if not models_with_weights(about, models)
    )
    colours = {model: len(models) + at for at, model in enumerate(unmatched)}
    names = [result.probe for result, _ in results]
    keys = numbered([plain_name(name) for name in names], "{}-{}")
    labels = numbered([shorten(name) for name in names], "{} ({})")
    return tuple(
        ReportProbe(
            at, key, label, result, tuple(probed(about, models, colours) for about in result.about["models"]), written
        )
        for at, ((result, written), key, label) in enumerate(zip(results, keys, labels, strict=True))
    )


def result_folders(folder: Path) -> list[Path]:
    """A folder, if it holds a result, else the folders with a result in it, by name.

    Raises:
        ReportError: There is no result.
    """
    if (folder / FILE).is_file():
        return [folder]
    folders = sorted(path.parent for path in folder.glob(f"*/{FILE}"))
    if not folders:
        raise ReportError(
            f"{folder} holds no result of a probe: pass a folder that `conceptprobe probe NAME --out DIR` or "
            "`conceptprobe probe all --out DIR` wrote"
        )
    return folders


def models_with_weights(about: dict[str, Any], models: Sequence[ReportModel]) -> tuple[int, ...]:
    """The numbers of the models of the report that have the weights of a probed model."""
    return tuple(m.number for m in models if m.index.manifest.model.fingerprint == about["fingerprint"])


def probed(about: dict[str, Any], models: Sequence[ReportModel], colours: dict[tuple[str, str], int]) -> ProbedModel:
    """Match a probed model with the report; `colours` has those of models that are not in it."""
    numbers = models_with_weights(about, models)
    if numbers:
        first = models[numbers[0]]
        return ProbedModel(about["spec"], first.label, first.number, numbers, about)
    return ProbedModel(about["spec"], shorten(about["spec"]), colours[about["spec"], about["fingerprint"]], (), about)
