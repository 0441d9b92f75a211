"""The probes of a report: which models of the report a result is of, and what its page shows."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from conceptprobe.display.text import shorten
from conceptprobe.probes.framework.result import ProbeResult, load_probe
from conceptprobe.report.collect.models import ReportModel, numbered, plain_name
from conceptprobe.report.data.artifacts import write_artifacts
from conceptprobe.report.data.probe_commands import probe_command, probe_python
from conceptprobe.report.data.probe_tables import Texts, find_extremes, tabulate, write_csv
from conceptprobe.report.errors import ReportError
from conceptprobe.report.scripts import Json, number, write_data

Given = ProbeResult | str | os.PathLike[str]
FILE = "probe.json"
UNCHANGED = "clean"
LONGEST_NOTE = 1000
POINT = ("metric", "series", "x")
INTERVAL = ("value", "low", "high")
CURVES = ("model", *POINT, *INTERVAL, "n")
DIFFERENCES = ("first", "second", *POINT, *INTERVAL, "n")
PUBLISHED = ("name", "value", "source", "tag")
SURVIVAL = ("model", "layer", "verdict", "series", "x", "measure", *INTERVAL, "features")


@dataclass(frozen=True)
class ProbedModel:
    """A model that was probed.

    Attributes:
        spec: What the tables of the result call it.
        label: What the report calls it.
        colour: That of the model in the report, else one after those.
        numbers: The models of the report that have its weights.
        about: What the result says of it.
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
        number: Its position.
        key: Its name in links and folders: unique.
        label: What it is called: the probe's name, numbered where there are several of a name.
        command: What makes it again; None where no command does.
        written: When it was saved, in seconds since 1970; None where it was not.
    """

    number: int
    key: str
    label: str
    result: ProbeResult
    models: tuple[ProbedModel, ...]
    command: str | None
    written: float | None

    @property
    def folder(self) -> str:
        """What the commands of the report call its folder."""
        return f"probes/{self.key}"


def load_probes(given: Sequence[Given], models: Sequence[ReportModel]) -> tuple[ReportProbe, ...]:
    """Read results that are given by a folder, of one result or of a folder for each, and find their models.

    The models need not be in the report: what a probe asks is of a model, not of an index.

    Raises:
        ReportError: A folder holds no result.
        ConceptError: A result is damaged or of another version.
    """
    results: list[tuple[ProbeResult, float | None]] = []
    for own in given:
        if isinstance(own, ProbeResult):
            results.append((own, None))
        else:
            results += [(load_probe(folder), (folder / FILE).stat().st_mtime) for folder in result_folders(Path(own))]
    known = {
        (own["spec"], own["fingerprint"]): position
        for position, own in enumerate(
            {(m["spec"], m["fingerprint"]): m for result, _ in results for m in result.about["models"]
             if not of_report(m, models)}.values()
        )
    }  # fmt: skip
    names = [result.probe for result, _ in results]
    keys = numbered([plain_name(name) for name in names], "{}-{}")
    labels = numbered([shorten(name) for name in names], "{} ({})")
    return tuple(
        ReportProbe(
            at, key, label, result, tuple(probed(own, models, known) for own in result.about["models"]),
            probe_command(result, models, f"probes/{key}"), written,
        )
        for at, ((result, written), key, label) in enumerate(zip(results, keys, labels, strict=True))
    )  # fmt: skip


def result_folders(folder: Path) -> list[Path]:
    """The folder of a result itself, else those in it, by name.

    Raises:
        ReportError: There is none.
    """
    if (folder / FILE).is_file():
        return [folder]
    found = sorted(path.parent for path in folder.glob(f"*/{FILE}"))
    if not found:
        raise ReportError(
            f"{folder} holds no result of a probe, nor folders with one: give what `conceptprobe probe NAME --out DIR` "
            "or `conceptprobe probe all --out DIR` wrote"
        )
    return found


def of_report(about: dict[str, Any], models: Sequence[ReportModel]) -> tuple[int, ...]:
    """The models of the report that have the weights of one that was probed."""
    return tuple(m.number for m in models if m.index.manifest.model.fingerprint == about["fingerprint"])


def probed(about: dict[str, Any], models: Sequence[ReportModel], others: dict[tuple[str, str], int]) -> ProbedModel:
    numbers = of_report(about, models)
    if numbers:
        first = models[numbers[0]]
        return ProbedModel(about["spec"], first.label, first.number, numbers, about)
    colour = len(models) + others[about["spec"], about["fingerprint"]]
    return ProbedModel(about["spec"], shorten(about["spec"]), colour, (), about)


def write_probes(probes: Sequence[ReportProbe], models: Sequence[ReportModel], folder: Path) -> list[Json]:
    """Write the tables and pictures of each, and the data of its page.

    Returns:
        What every page knows of each.
    """
    for probe in probes:
        own = folder / "probes" / probe.key
        own.mkdir(parents=True)
        files = write_csv(probe.result, own)
        pictures = write_artifacts(probe.result.artifacts, [model.spec for model in probe.models], own)
        write_data(folder / "data", f"probes/{probe.number}", probe_data(probe, models, files, pictures))
    return [summary_data(probe) for probe in probes]


def summary_data(probe: ReportProbe) -> Json:
    """What lists of probes show."""
    result = probe.result
    return {
        "key": probe.key,
        "label": probe.label,
        "question": shorten(result.question),
        "images": result.about["images"],
        "source": shorten(result.about["source"]["spec"]),
        "models": [{"label": model.label, "colour": model.colour} for model in probe.models],
        "headline": headline(result, [model.spec for model in probe.models]),
    }


def headline(result: ProbeResult, specs: Sequence[str]) -> Json | None:
    """The first metric in the middle of its first curve: chosen by its place, not by its size."""
    if result.curves.empty:
        return None
    metric = result.curves["metric"].iloc[0]
    own = result.curves[result.curves["metric"] == metric]
    names = list(dict.fromkeys(own["series"]))
    series = next((name for name in names if name != UNCHANGED), names[0])
    line = own[own["series"] == series]
    middle = in_the_middle(line, ["model"])
    between = result.differences
    if len(between):
        between = between[(between["metric"] == metric) & (between["series"] == series)]
        between = in_the_middle(between, ["first", "second"])
    return {
        "metric": shorten(metric),
        "series": shorten(series),
        "axis": axis(result, metric, series),
        "points": int(line["x"].nunique()),
        "x": number(middle["x"].iloc[0]) if middle["x"].nunique() == 1 else None,
        "values": by_model(middle, specs),
        "clean": by_model(own[own["series"] == UNCHANGED], specs) if series != UNCHANGED else [],
        "differences": [
            [specs.index(row.first), specs.index(row.second), *map(number, (row.value, row.low, row.high))]
            for row in between.itertuples()
        ],
        "line": [[specs.index(row.model), number(row.x), number(row.value)] for row in line.itertuples()],
    }


def in_the_middle(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Of each group the row in the middle of its curve; models may have places of their own."""
    if rows.empty:
        return rows
    groups = rows.groupby(keys, sort=False)
    return groups.nth(int(groups.size().min()) // 2)


def by_model(rows: pd.DataFrame, specs: Sequence[str]) -> list[list[Any]]:
    return [[specs.index(row.model), *map(number, (row.value, row.low, row.high))] for row in rows.itertuples()]


def axis(result: ProbeResult, metric: str, series: str) -> str:
    """What x is, in words, where the probe says it."""
    axes = result.about.get("axes", {})
    return shorten(axes.get(metric) or axes.get(series) or axes.get("") or "x")


def probe_data(probe: ReportProbe, models: Sequence[ReportModel], files: list[Json], pictures: list[Json]) -> Json:
    """What the page of a result shows."""
    result, about = probe.result, probe.result.about
    specs = [model.spec for model in probe.models]
    texts = Texts(model=specs)
    tables = {
        "curves": tabulate(result.curves, CURVES, texts),
        "differences": tabulate(result.differences, DIFFERENCES, texts),
        "survival": tabulate(result.survival, SURVIVAL, texts),
        "extremes": find_extremes(result.features, texts),
    }
    axes = about.get("axes", {})
    return {
        "key": probe.key,
        "label": probe.label,
        "probe": shorten(result.probe),
        "question": note(result.question),
        "protocol": note(about.get("protocol", "")),
        "models": [
            {
                "label": model.label,
                "colour": model.colour,
                "spec": shorten(model.spec),
                "fingerprint": model.about["fingerprint"],
                "head": model.about.get("head"),
                "classes": model.about.get("classes"),
                "numbers": list(model.numbers),
            }
            for model in probe.models
        ],
        "source": {"spec": shorten(about["source"]["spec"]), "fingerprint": about["source"]["fingerprint"]},
        "images": about["images"],
        "seed": about["seed"],
        "pooling": about.get("pooling"),
        "settings": [[shorten(name), note(str(value))] for name, value in about["settings"].items()],
        "versions": about.get("versions", {}),
        "texts": texts.shown(),
        "axes": {
            "metric": [shorten(axes.get(name, "")) for name in texts.values("metric")],
            "series": [shorten(axes.get(name, "")) for name in texts.values("series")],
            "other": shorten(axes.get("", "")),
        },
        "unchanged": texts.find("series", UNCHANGED),
        **tables,
        "artifacts": pictures,
        "files": files,
        "caveats": [note(text) for text in result.caveats],
        "context": [[shorten(str(own.get(name, ""))) for name in PUBLISHED] for own in result.context],
        "command": probe.command,
        "python": probe_python(result, models, probe.folder),
    }  # fmt: skip


def note(text: str) -> str:
    """A sentence or a few, on one line."""
    return shorten(text, LONGEST_NOTE)
