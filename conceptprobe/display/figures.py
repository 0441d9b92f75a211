"""Results as matplotlib figures for papers. A result's `figure` calls these functions; the extra is `plots`.

Figures are made without pyplot and change neither its state nor the backend: `figure.savefig("scores.pdf")` works
anywhere, and a notebook shows a figure after `%matplotlib inline`. Texts are never parsed as mathematics.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from conceptprobe.display.text import shorten
from conceptprobe.errors import DisplayError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The colours of models, as in reports.
COLOURS = ("#2160c4", "#b94a0b", "#0a7484", "#6d6500", "#7a5444", "#55617a")
MUTED, LINE = "#5c5953", "#dfdcd5"
ALL = "all"
COLUMNS = 5
LONGEST = 36


def new_figure(width: float, height: float) -> "Figure":
    """Make an empty figure.

    Args:
        width: Width in inches.
        height: Height in inches.

    Raises:
        DisplayError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise DisplayError(
            "figures need matplotlib, which is not installed: python -m pip install 'conceptprobe[plots]'"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def shares_figure(tables: Sequence[tuple[str, pd.DataFrame]], verdicts: Sequence[str]) -> "Figure":
    """The share of tested features with each verdict by layer, with 95 % intervals; models side by side.

    Args:
        tables: Name and shares of each model; the columns are layer, verdict, share, low, high.
        verdicts: The verdicts to show, a panel for each.

    Raises:
        DisplayError: matplotlib is not installed.
    """
    layers = list(dict.fromkeys(layer for _, table in tables for layer in table["layer"]))
    figure = new_figure(3.2 * len(verdicts), 3.0)
    width = 0.8 / len(tables)
    panels = figure.subplots(1, len(verdicts), sharey=True, squeeze=False)[0]
    for axes, verdict in zip(panels, verdicts, strict=True):
        for at, (name, table) in enumerate(tables):
            part = table[table["verdict"] == verdict].set_index("layer")
            places = np.array([layers.index(layer) for layer in part.index]) - 0.4 + width * (at + 0.5)
            share, low, high = (100 * part[column].to_numpy(np.float64) for column in ("share", "low", "high"))
            label = shorten(name)
            colour = COLOURS[at % len(COLOURS)]
            axes.bar(places, np.nan_to_num(share), 0.9 * width, color=colour, alpha=0.8, label=label)
            axes.vlines(places, low, high, color="black", linewidth=1)
        axes.set_title(verdict, parse_math=False)
        _name_ticks(axes, layers)
        _tidy(axes, "y")
    panels[0].set_ylabel("tested features, %")
    if len(tables) > 1:
        _legend(figure, panels[0])
    return figure


def differences_figure(differences: pd.DataFrame, first: str, measures: Sequence[str]) -> "Figure":
    """Differences between the first model and each other model by layer, with their 95 % intervals.

    Shares of verdicts are in percentage points, the mean abstraction is as it is. Points are filled where the interval
    excludes zero.

    Args:
        differences: place, model_b, measure, difference, low, high.
        first: Name of the first model.
        measures: The measures to show, a panel for each.

    Raises:
        DisplayError: matplotlib is not installed.
    """
    places = list(dict.fromkeys(differences["place"]))
    places.sort(key=lambda place: place != ALL)
    others = list(dict.fromkeys(differences["model_b"]))
    figure = new_figure(2.8 * len(measures), 0.28 * len(places) * max(1, len(others)) + 1.4)
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    step = 0.6 / len(others)
    for axes, measure in zip(panels, measures, strict=True):
        unit = 1 if measure == "abstraction" else 100
        axes.axvline(0, color="black", linewidth=0.8)
        for at, other in enumerate(others):
            chosen = (differences["measure"] == measure) & (differences["model_b"] == other)
            rows = differences[chosen].set_index("place").reindex(places)
            value, low, high = (unit * rows[name].to_numpy(np.float64) for name in ("difference", "low", "high"))
            heights = np.arange(len(places)) + step * (at - (len(others) - 1) / 2)
            colour = COLOURS[(at + 1) % len(COLOURS)]
            clear = (low > 0) | (high < 0)
            axes.hlines(heights, low, high, color=colour, linewidth=1.6)
            axes.scatter(value, heights, s=28, zorder=3, edgecolors=colour, facecolors=np.where(clear, colour, "white"))
            axes.scatter([], [], color=colour, label=shorten(str(other)))
        axes.set_title(measure if unit == 1 else f"{measure}, points", parse_math=False)
        _tidy(axes, "x")
    panels[0].set_yticks(range(len(places)))
    panels[0].set_yticklabels(["all layers" if place == ALL else _cut(place) for place in places], parse_math=False)
    panels[0].set_ylim(len(places) - 0.4, -0.6)
    named = (
        f"{_cut(first)} minus {_cut(str(others[0]))}" if len(others) == 1 else f"{_cut(first)} minus each other model"
    )
    figure.supxlabel(named, fontsize="medium", parse_math=False)
    if len(others) > 1:
        _legend(figure, panels[0])
    return figure


def localisation_figure(summary: pd.DataFrame) -> "Figure":
    """The median AUC of probes by their number of features, a line for each layer, with its quartiles shaded.

    Args:
        summary: layer, features, median_auc, lower_quartile, upper_quartile.

    Raises:
        DisplayError: matplotlib is not installed.
    """
    figure = new_figure(4.2, 3.2)
    axes = figure.subplots()
    for at, (layer, rows) in enumerate(summary.groupby("layer", sort=False)):
        colour = COLOURS[at % len(COLOURS)]
        axes.plot(rows["features"], rows["median_auc"], marker="o", color=colour, label=_cut(str(layer)))
        axes.fill_between(rows["features"], rows["lower_quartile"], rows["upper_quartile"], color=colour, alpha=0.15)
    axes.set_xscale("log", base=2)
    ticks = sorted(summary["features"].unique())
    axes.set_xticks(ticks, labels=[str(count) for count in ticks])
    axes.set_xlabel("features of a probe")
    axes.set_ylabel("median AUC over the concepts")
    _tidy(axes, "y")
    _legend(figure, axes, columns=2)
    return figure


def images_figure(pictures: Sequence[np.ndarray | None], captions: Sequence[str], columns: int = COLUMNS) -> "Figure":
    """Images in rows, each under its caption.

    Args:
        pictures: Images, uint8 [h,w,3]; None where one is missing.
        captions: Texts above the images, of one or more lines.
        columns: Number of images in a row.

    Raises:
        DisplayError: matplotlib is not installed, there is no image, or columns is below 1.
    """
    captions = ["\n".join(_cut(line) for line in caption.split("\n")) for caption in captions]
    if columns < 1:
        raise DisplayError(f"columns is {columns}: it must be at least 1")
    if not pictures:
        raise DisplayError("there is no image to show: the list is empty")
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    lines = max(caption.count("\n") for caption in captions) + 1
    figure = new_figure(1.5 * columns, (1.5 + 0.16 * lines) * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for axes, picture, caption in zip(panels, pictures, captions, strict=False):
        if picture is None:
            axes.text(0.5, 0.5, "no image", ha="center", va="center", color=MUTED, transform=axes.transAxes)
        else:
            axes.imshow(picture)
        axes.set_title(caption, fontsize=7, parse_math=False)
    return figure


def _name_ticks(axes: "Axes", names: Sequence[str]) -> None:
    axes.set_xticks(range(len(names)))
    axes.set_xticklabels([_cut(name) for name in names], rotation=35, ha="right", fontsize=8, parse_math=False)


def _tidy(axes: "Axes", values: Any) -> None:
    """Draw grid lines only along the axis of the values."""
    axes.grid(axis=values, color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: "Figure", axes: "Axes", columns: int | None = None) -> None:
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=columns or len(labels), frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _cut(text: str) -> str:
    """Cut a name at its start, since names of layers and features differ at their end."""
    line = shorten(text)
    return line if len(line) <= LONGEST else f"…{line[1 - LONGEST :]}"
