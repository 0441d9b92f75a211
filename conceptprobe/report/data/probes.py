"""The data of the pages of probes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from conceptprobe.display.text import shorten
from conceptprobe.probes.framework.result import ProbeResult
from conceptprobe.report.collect.models import ReportModel
from conceptprobe.report.collect.probes import ReportProbe
from conceptprobe.report.data.artifacts import write_artifacts
from conceptprobe.report.data.probe_commands import probe_command, probe_python
from conceptprobe.report.data.probe_tables import Texts, find_extremes, tabulate, write_csv
from conceptprobe.report.scripts import Json, number, write_data

UNCHANGED = "clean"
LONGEST_NOTE = 1000
POINT = ("metric", "series", "x")
INTERVAL = ("value", "low", "high")
CURVES = ("model", *POINT, *INTERVAL, "n")
DIFFERENCES = ("first", "second", *POINT, *INTERVAL, "n")
PUBLISHED = ("name", "value", "source", "tag")
SURVIVAL = ("model", "layer", "verdict", "series", "x", "measure", *INTERVAL, "features")


def write_probes(probes: Sequence[ReportProbe], models: Sequence[ReportModel], folder: Path) -> list[Json]:
    """Write the tables and pictures of each probe, and the data of its page.

    Returns:
        The summary of each probe, which every page has.
    """
    for probe in probes:
        target = folder / "probes" / probe.key
        target.mkdir(parents=True)
        files = write_csv(probe.result, target)
        pictures = write_artifacts(probe.result.artifacts, [model.spec for model in probe.models], target)
        write_data(folder / "data", f"probes/{probe.number}", probe_data(probe, models, files, pictures))
    return [summary_data(probe) for probe in probes]


def summary_data(probe: ReportProbe) -> Json:
    """The summary of a probe, for lists of probes."""
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
    """The first metric in the middle of its first curve: chosen by its position, not by its size."""
    if result.curves.empty:
        return None
    metric = result.curves["metric"].iloc[0]
    curves = result.curves[result.curves["metric"] == metric]
    names = list(dict.fromkeys(curves["series"]))
    series = next((name for name in names if name != UNCHANGED), names[0])
    line = curves[curves["series"] == series]
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
        "clean": by_model(curves[curves["series"] == UNCHANGED], specs) if series != UNCHANGED else [],
        "differences": [
            [specs.index(row.first), specs.index(row.second), *map(number, (row.value, row.low, row.high))]
            for row in between.itertuples()
        ],
        "line": [[specs.index(row.model), number(row.x), number(row.value)] for row in line.itertuples()],
    }


def in_the_middle(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The row in the middle of the curve of each group; the x of models may differ."""
    if rows.empty:
        return rows
    groups = rows.groupby(keys, sort=False)
    return groups.nth(int(groups.size().min()) // 2)


def by_model(rows: pd.DataFrame, specs: Sequence[str]) -> list[list[Any]]:
    """The position of the model, value, low and high of each row."""
    return [[specs.index(row.model), *map(number, (row.value, row.low, row.high))] for row in rows.itertuples()]


def axis(result: ProbeResult, metric: str, series: str) -> str:
    """The name of the x axis, if the probe has one."""
    axes = result.about.get("axes", {})
    return shorten(axes.get(metric) or axes.get(series) or axes.get("") or "x")


def probe_data(probe: ReportProbe, models: Sequence[ReportModel], files: list[Json], pictures: list[Json]) -> Json:
    """The data of the page of a result."""
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
        "context": [[shorten(str(entry.get(name, ""))) for name in PUBLISHED] for entry in result.context],
        "command": probe_command(result, models, probe.folder),
        "python": probe_python(result, models, probe.folder),
    }  # fmt: skip


def note(text: str) -> str:
    """Cut a short paragraph to `LONGEST_NOTE` characters on one line."""
    return shorten(text, LONGEST_NOTE)
