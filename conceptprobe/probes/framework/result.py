"""The result of a probe: tables that can be saved, plotted and compared."""

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save

from conceptprobe.display import figures, html
from conceptprobe.output.tables import load_tables, save_tables
from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.intervals import mean_interval, paired_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAME = "probe"
TEXTS = ("probe", "question", "caveats", "context")
TABLES = {"rows": "frame", "curves": "curves", "differences": "differences", "features": "features",
          "survival": "survival"}  # fmt: skip
"""The attribute that each file holds, by the file's name."""

UNCHANGED = "clean"
HEADS = ("model", "metric", "series", "x", "value", "95 % interval", "n")
_POINT = ["metric", "series", "x"]


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """The result of one probe on one or several models over the same images.

    Attributes:
        probe: The probe's name.
        question: What the probe asks, in a sentence.
        frame: One row an image and condition: model, metric, series, x (the point of the curve), draw, image (its id),
            value. The value is NaN where an image has none.
        curves: Means over images: model, metric, series, x, value, low, high (95 %), n images; draws of an image are
            averaged first.
        differences: first and second model, metric, series, x, value, low, high, n: means of the paired differences
            first - second on the same images. Where x describes the model and not the condition (`patch_size`), x is a
            difference too.
        features: Survival of each feature: model, layer, feature, verdict, series, x, overlap, r. Empty where features
            are not followed.
        survival: Mean survival by verdict: model, layer, verdict, series, x, measure, value, low, high, features.
        artifacts: Pictures and maps by name, arrays of any shape.
        about: Models (spec, fingerprint, head), source, settings, seed, versions.
        caveats: What to keep in mind when reading the result, in sentences.
        context: Published figures for comparison: name, value, source, and a tag that says how sure they are.
    """

    probe: str
    question: str
    frame: pd.DataFrame
    curves: pd.DataFrame
    differences: pd.DataFrame
    features: pd.DataFrame
    survival: pd.DataFrame
    artifacts: Mapping[str, np.ndarray]
    about: dict[str, Any]
    caveats: tuple[str, ...] = ()
    context: tuple[dict[str, str], ...] = field(default=())

    def __repr__(self) -> str:
        models = ", ".join(model["spec"] for model in self.about["models"])
        return f"ProbeResult({self.probe}: {models} on {self.about['images']} images of {self.about['source']['spec']})"

    def _repr_html_(self) -> str:
        summary = self.summary()
        first = summary[summary["metric"] == summary["metric"].iloc[0]] if len(summary) else summary
        every = html.folded(f"All {html.count_of(len(self.curves), 'point')}", html.table(HEADS, _cells(self.curves)))
        return html.block(repr(self), html.table(HEADS, _cells(first)) + every, (self.question, *self.caveats))

    def summary(self) -> pd.DataFrame:
        """The headline figures: each model's metrics at the middle point of each curve, with 95 % intervals.

        Returns:
            Columns model, metric, series, x, value, low, high, n. The middle is counted in points and the same for all
            models; where their curves have different lengths, it is that of the shortest.
        """
        curves = self.curves
        groups = curves.groupby(["model", "metric", "series"], sort=False)
        points = groups["x"].transform("size").groupby([curves["metric"], curves["series"]]).transform("min")
        return curves[groups.cumcount() == points // 2].reset_index(drop=True)

    def figure(self, metric: str | None = None) -> "Figure":
        """The curves of a metric as a matplotlib figure, a panel for each series; needs the extra `plots`.

        Args:
            metric: One of `curves["metric"]`; by default the first.

        Raises:
            ProbeError: The result has no such metric.
            DisplayError: matplotlib is not installed.
        """
        known = list(dict.fromkeys(self.curves["metric"]))
        if not known:
            raise ProbeError(f"{self!r} has no curves to draw")
        metric = known[0] if metric is None else metric
        if metric not in known:
            raise ProbeError(f"{self.probe} has no metric {metric!r}: choose from {', '.join(known)}")
        curves, axes = self.curves[self.curves["metric"] == metric], self.about.get("axes", {})
        names = {series: axes.get(metric) or axes.get(series) or axes.get("") or "x" for series in curves["series"]}
        return figures.curves_figure(curves, metric, names, UNCHANGED)

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write parquet tables, `artifacts.safetensors` and `probe.json`; equal results give equal bytes."""
        arrays = {name: np.ascontiguousarray(array) for name, array in self.artifacts.items()}
        tables = {file: getattr(self, name) for file, name in TABLES.items()}
        texts = {name: getattr(self, name) for name in TEXTS}
        files = {"artifacts.safetensors": save(arrays)}
        return save_tables(folder, NAME, tables, {**texts, **self.about}, files)


def load_probe(folder: str | os.PathLike[str]) -> ProbeResult:
    """Read what `ProbeResult.save` wrote.

    Raises:
        OutputError: The folder holds no such result, or it is damaged or of another version.
    """
    tables, about = load_tables(folder, NAME, tuple(TABLES), command="conceptprobe probe NAME --out {folder}")
    probe, question, caveats, context = (about.pop(name) for name in TEXTS)
    return ProbeResult(
        probe, question, **{TABLES[file]: table for file, table in tables.items()},
        artifacts=load_file(Path(folder) / "artifacts.safetensors"), about=about, caveats=tuple(caveats),
        context=tuple(context),
    )  # fmt: skip


def make_curves(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over images with intervals; see `ProbeResult.curves`."""
    points = [
        {"model": model, **dict(zip(_POINT, point, strict=True)), **interval_columns(mean_interval(values))}
        for (model, *point), values in _per_image(rows, ["model", *_POINT])
    ]
    return pd.DataFrame(points, columns=["model", *_POINT, "value", "low", "high", "n"])


def make_differences(rows: pd.DataFrame, *, x_of_model: bool = False) -> pd.DataFrame:
    """Paired differences of every two models, the earlier minus the later; see `ProbeResult.differences`.

    Args:
        rows: As `ProbeResult.frame`.
        x_of_model: Whether x describes the model; x of a difference is then the difference of both.
    """
    points = []
    x_of = rows.groupby("model")["x"].first() if x_of_model else None
    rows = rows.assign(x=0.0) if x_of_model else rows
    models = list(dict.fromkeys(rows["model"]))
    means = rows.groupby([*_POINT, "image", "model"], sort=False)["value"].mean().unstack("model")
    for first, second in itertools.combinations(models, 2):
        both = means[[first, second]].dropna()
        for point, group in both.groupby(level=_POINT, sort=False):
            interval = paired_interval(group[first].to_numpy(), group[second].to_numpy())
            about = {"first": first, "second": second, **dict(zip(_POINT, point, strict=True))}
            if x_of is not None:
                about["x"] = x_of[first] - x_of[second]
            points.append({**about, **interval_columns(interval)})
    return pd.DataFrame(points, columns=["first", "second", *_POINT, "value", "low", "high", "n"])


def _cells(curves: pd.DataFrame) -> list[list[str]]:
    """The cells of points under `HEADS`."""
    return [
        [row.model, row.metric, row.series, f"{row.x:g}", html.number(row.value),
         f"[{html.number(row.low)}, {html.number(row.high)}]", f"{row.n:,}"]
        for row in curves.itertuples()
    ]  # fmt: skip


def interval_columns(interval: Any) -> dict[str, float]:
    """An interval as columns of a table."""
    return {"value": interval.mean, "low": interval.low, "high": interval.high, "n": interval.n}


def _per_image(rows: pd.DataFrame, keys: list[str]) -> list[tuple[Any, np.ndarray]]:
    """The values of each group, averaged over the draws of an image, in order of appearance."""
    means = rows.groupby([*keys, "image"], sort=False)["value"].mean()
    return [(key, group.to_numpy()) for key, group in means.groupby(level=keys, sort=False)]
