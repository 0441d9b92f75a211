"""Results as matplotlib figures for papers. The classes' `figure` call these functions; the extra is `plots`.

Figures are made without pyplot, so that neither its state nor a backend is touched: `figure.savefig("scores.pdf")`
works anywhere, and a notebook shows a figure after `%matplotlib inline`. Texts are never read as mathematics.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from conceptprobe.report.errors import ReportError
from conceptprobe.report.pictures import find_pictures
from conceptprobe.report.scripts import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from conceptprobe.concepts.contrast import Contrast
    from conceptprobe.concepts.scores import FeatureScores
    from conceptprobe.indexing.index import TopImages
    from conceptprobe.visualization.visualizations import Visualizations

# The report's colours of models, in their order.
COLOURS = ("#2160c4", "#b94a0b", "#0a7484", "#6d6500", "#7a5444", "#55617a")
FOUND = ("object", "conceptual", "polysemantic")
MUTED, LINE = "#5c5953", "#dfdcd5"
ALL = "all"
SIDE = 256
COLUMNS = 5
LONGEST = 36


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches.

    Raises:
        ReportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ReportError(
            "figures need matplotlib, which is not installed: python -m pip install 'conceptprobe[plots]'"
        ) from error
    return Figure(figsize=(width, height), layout="constrained")


def scores_figure(scores: Sequence["FeatureScores"]) -> "Figure":
    """The share of tested features with each verdict by layer, with Wilson's 95 % intervals; models side by side."""
    layers = list(dict.fromkeys(layer for own in scores for layer in own.frame["layer"]))
    figure = new_figure(3.2 * len(FOUND), 3.0)
    width = 0.8 / len(scores)
    panels = figure.subplots(1, len(FOUND), sharey=True, squeeze=False)[0]
    for axes, verdict in zip(panels, FOUND, strict=True):
        for at, own in enumerate(scores):
            table = own.summary()
            part = table[table["verdict"] == verdict].set_index("layer")
            places = np.array([layers.index(layer) for layer in part.index]) - 0.4 + width * (at + 0.5)
            share, low, high = (100 * part[name].to_numpy(np.float64) for name in ("share", "low", "high"))
            label = shorten(str(own.settings["model"]))
            colour = COLOURS[at % len(COLOURS)]
            axes.bar(places, np.nan_to_num(share), 0.9 * width, color=colour, alpha=0.8, label=label)
            axes.vlines(places, low, high, color="black", linewidth=1)
        axes.set_title(verdict, parse_math=False)
        _name_ticks(axes, layers)
        _tidy(axes, "y")
    panels[0].set_ylabel("tested features, %")
    if len(scores) > 1:
        _legend(figure, panels[0])
    return figure


def contrast_figure(contrast: "Contrast") -> "Figure":
    """Differences between the first model and each other with their 95 % intervals, by place: shares of verdicts in
    percentage points, and mean abstraction. Filled where the interval leaves out zero."""
    measures = (*FOUND, "abstraction")
    places = list(dict.fromkeys(contrast.differences["place"]))
    places.sort(key=lambda place: place != ALL)
    others = list(dict.fromkeys(contrast.differences["model_b"]))
    figure = new_figure(2.8 * len(measures), 0.28 * len(places) * max(1, len(others)) + 1.4)
    panels = figure.subplots(1, len(measures), sharey=True, squeeze=False)[0]
    step = 0.6 / len(others)
    for axes, measure in zip(panels, measures, strict=True):
        unit = 1 if measure == "abstraction" else 100
        axes.axvline(0, color="black", linewidth=0.8)
        for at, other in enumerate(others):
            of = contrast.differences
            rows = of[(of["measure"] == measure) & (of["model_b"] == other)].set_index("place").reindex(places)
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
    first = _cut(str(contrast.settings["models"][0]))
    named = f"{first} minus {_cut(str(others[0]))}" if len(others) == 1 else f"{first} minus each other model"
    figure.supxlabel(named, fontsize="medium", parse_math=False)
    if len(others) > 1:
        _legend(figure, panels[0])
    return figure


def top_images_figure(top: "TopImages", columns: int = COLUMNS) -> "Figure":
    """The images of a list, best first, each with what it is ordered by.

    Args:
        top: The list.
        columns: Images in a row.

    Raises:
        ReportError: matplotlib is not installed, the list is empty, or columns is below 1.
    """
    found = find_pictures(top.origin, top.ids, SIDE)
    pictures = [None if image is None else np.asarray(image) for image in found.images]
    captions = [f"{value:.3g}" if math.isfinite(value) else "–" for value in top.values.tolist()]
    return _sheet(pictures, captions, columns)


def visualizations_figure(visualizations: "Visualizations", columns: int = COLUMNS) -> "Figure":
    """A contact sheet: every image with its target, and its quantile and rank or else its activation.

    Args:
        visualizations: The images.
        columns: Images in a row.

    Raises:
        ReportError: matplotlib is not installed, there is no image, or columns is below 1.
    """
    from conceptprobe.visualization.sheets import caption

    captions = ["\n".join(_cut(line) for line in caption(record)) for record in visualizations.records]
    return _sheet(list(visualizations.images_nhwc), captions, columns)


def _sheet(pictures: Sequence[np.ndarray | None], captions: Sequence[str], columns: int) -> "Figure":
    if columns < 1:
        raise ReportError(f"columns is {columns}: it must be at least 1")
    if not pictures:
        raise ReportError("there is no image to show: the list is empty")
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
    """Lines only where values are read."""
    axes.grid(axis=values, color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: "Figure", axes: "Axes") -> None:
    handles, labels = axes.get_legend_handles_labels()
    legend = figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _cut(text: str) -> str:
    """Names of layers and features differ at their end, which therefore stays."""
    line = shorten(text)
    return line if len(line) <= LONGEST else f"…{line[1 - LONGEST :]}"
