"""What a probe found, as tables that can be saved, plotted and compared."""

import itertools
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors.numpy import load_file, save

from conceptprobe.output.tables import load_tables, save_tables
from conceptprobe.probes.framework.intervals import mean_interval, paired_interval

ROW_COLUMNS = ("model", "metric", "series", "x", "draw", "image", "value")
_POINT = ["metric", "series", "x"]


@dataclass(frozen=True, eq=False)
class ProbeResult:
    """The result of one probe on one or several models over the same images.

    Attributes:
        probe: Its name.
        question: What it asks, in a sentence.
        rows: One row an image: model, metric, series, x (where on the curve), draw, image (its id), value. NaN where
            an image has no value.
        curves: Means over images: model, metric, series, x, value, low, high (95 %), n images; draws of an image are
            averaged first.
        differences: first and second model, metric, series, x, value, low, high, n: means of the paired differences
            first - second on the same images. Where x is one of the models and not of a condition (`patch_size`), it
            is first - second too.
        features: Survival a feature: model, layer, feature, verdict, series, x, overlap, r. Empty where not followed.
        survival: Survival a verdict: model, layer, verdict, series, x, measure, value, low, high, features.
        artifacts: Pictures and maps by name, arrays of any shape.
        about: Models (spec, fingerprint, head), source, settings, seed, versions.
        caveats: What to mind in reading it, in sentences.
        context: Published figures for comparison: name, value, source, and a tag that says how sure they are.
    """

    probe: str
    question: str
    rows: pd.DataFrame
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

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write it as parquet tables, `artifacts.safetensors` and `probe.json`, the last of all."""
        arrays = {name: np.ascontiguousarray(array) for name, array in self.artifacts.items()}
        tables = {name: getattr(self, name) for name in TABLES}
        own = {name: getattr(self, name) for name in TEXTS}
        files = {"artifacts.safetensors": save(arrays)}
        return save_tables(folder, NAME, tables, {**own, **self.about}, files)


NAME = "probe"
TEXTS = ("probe", "question", "caveats", "context")
TABLES = ("rows", "curves", "differences", "features", "survival")


def load_probe(folder: str | os.PathLike[str]) -> ProbeResult:
    """Read what `ProbeResult.save` wrote.

    Raises:
        OutputError: The folder holds no such result, or it is damaged or of another version.
    """
    tables, about = load_tables(folder, NAME, TABLES, command="conceptprobe probe NAME --out {folder}")
    probe, question, caveats, context = (about.pop(name) for name in TEXTS)
    return ProbeResult(
        probe, question, **tables, artifacts=load_file(Path(folder) / "artifacts.safetensors"), about=about,
        caveats=tuple(caveats), context=tuple(context),
    )  # fmt: skip


def make_curves(rows: pd.DataFrame) -> pd.DataFrame:
    """Means over images with intervals; see `ProbeResult.curves`."""
    found = [
        {"model": model, **dict(zip(_POINT, point, strict=True)), **vars_of(mean_interval(values))}
        for (model, *point), values in _per_image(rows, ["model", *_POINT])
    ]
    return pd.DataFrame(found, columns=["model", *_POINT, "value", "low", "high", "n"])


def make_differences(rows: pd.DataFrame, *, x_of_model: bool = False) -> pd.DataFrame:
    """Paired differences of every two models, the first given minus the second; see `ProbeResult.differences`.

    Args:
        x_of_model: Every model has an x of its own; x of a difference is that of these.
    """
    found = []
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
            found.append({**about, **vars_of(interval)})
    return pd.DataFrame(found, columns=["first", "second", *_POINT, "value", "low", "high", "n"])


def vars_of(interval: Any) -> dict[str, float]:
    """An interval as columns of a table."""
    return {"value": interval.mean, "low": interval.low, "high": interval.high, "n": interval.n}


def _per_image(rows: pd.DataFrame, keys: list[str]) -> list[tuple[Any, np.ndarray]]:
    """The values of each group, averaged over the draws of an image, in order of appearance."""
    means = rows.groupby([*keys, "image"], sort=False)["value"].mean()
    return [(key, group.to_numpy()) for key, group in means.groupby(level=keys, sort=False)]
