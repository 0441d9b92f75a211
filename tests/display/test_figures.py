"""Results as matplotlib figures."""

import builtins
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from conceptprobe.concepts.comparison.contrast import Contrast
from conceptprobe.concepts.scoring.scores import FeatureScores
from conceptprobe.errors import DisplayError
from conceptprobe.indexing import TopImages
from conceptprobe.visualization.results.record import VisualizationRecord
from conceptprobe.visualization.results.visualizations import Visualizations

LAYER = "blocks.0.mlp.hidden"
ODD = "$\\frac{1}{$ <b>_^ {x} شعار"


def draw(figure: Figure) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="svg")
    return out.getvalue()


def record(target: str) -> VisualizationRecord:
    number = target.rpartition(":")[2]
    layer, feature, pooling = (LAYER, int(number), "mean") if number.isdecimal() else (None, None, None)
    return VisualizationRecord(
        target, layer, feature, pooling, 0, 0, 0, {"name": "fourier"}, 4, 1, (20, 20),
        {"spec": "mini:clip", "fingerprint": "f"}, 1.25, None, (0.5, 1.25), None, {},
    )  # fmt: skip


def test_bars_are_the_shares_of_the_summary_with_its_intervals(world: Any) -> None:
    figure = world.scores[0].figure(world.scores[1])
    assert [axes.get_title() for axes in figure.axes] == ["object", "conceptual", "polysemantic"]
    for axes, verdict in zip(figure.axes, ("object", "conceptual", "polysemantic"), strict=True):
        heights = [bar.get_height() for bar in axes.patches]
        tables = [scores.summary() for scores in world.scores]
        own = [table[table["verdict"] == verdict] for table in tables]
        np.testing.assert_allclose(heights, np.concatenate([100 * part["share"] for part in own]))
        ends = np.concatenate([[line[:, 1] for line in lines.get_segments()] for lines in axes.collections])
        expected = np.concatenate([100 * part[["low", "high"]].to_numpy() for part in own])
        np.testing.assert_allclose(ends, expected)
        lefts = [bar.get_x() for bar in axes.patches]
        assert lefts[0] < lefts[2] < lefts[1]  # the models stand beside each other at each layer
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == [LAYER, "blocks.1.mlp.hidden"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["mini:clip", "mini:supervised"]
    assert draw(figure)


def test_differences_stand_at_their_values_with_their_intervals(world: Any) -> None:
    figure = world.contrast.figure()
    measures = ("object", "conceptual", "polysemantic", "abstraction")
    for axes, measure in zip(figure.axes, measures, strict=True):
        rows = world.contrast.frame.query("measure == @measure").set_index("layer")
        rows = rows.loc[["all", LAYER, "blocks.1.mlp.hidden"]]
        unit = 1 if measure == "abstraction" else 100
        dots = axes.collections[1].get_offsets()
        np.testing.assert_allclose(dots[:, 0], unit * rows["difference"])
        np.testing.assert_allclose(dots[:, 1], [0, 1, 2])
        ends = np.array([line[:, 0] for line in axes.collections[0].get_segments()])
        np.testing.assert_allclose(ends, unit * rows[["low", "high"]].to_numpy())
    assert figure.axes[0].get_yticklabels()[0].get_text() == "all layers"
    assert figure.axes[0].get_ylim()[0] > figure.axes[0].get_ylim()[1]
    assert draw(figure)


def test_a_dot_is_filled_where_the_interval_leaves_out_zero(world: Any) -> None:
    rows = world.contrast.frame.copy()
    of = (rows["measure"] == "object") & (rows["layer"] == LAYER)
    rows.loc[of, ["difference", "low", "high"]] = [0.2, 0.1, 0.3]
    figure = replace(world.contrast, frame=rows).figure()
    faces = figure.axes[0].collections[1].get_facecolors()
    np.testing.assert_array_equal((faces[:, :3] == 1).all(axis=1), [True, False, True])


def test_top_images_are_the_images_with_their_values(make_index: Callable[..., Any]) -> None:
    index = make_index(np.random.default_rng(0).normal(size=(18, 3)))
    top = index.top(f"{LAYER}:1", 7)
    figure = top.figure(columns=3)
    assert len(figure.axes) == 9
    for axes, value, id_ in zip(figure.axes, top.values, top.ids, strict=False):
        assert axes.get_title() == f"{value:.3g}"
        kinds = ("skull", "coffin", "guitar", "radio", "cat", "education")
        pixels = np.asarray(axes.images[0].get_array())
        assert pixels.shape == (30, 40, 3)
        assert pixels[10, 10, 0] == 40 * kinds.index(id_.partition("/")[0])
    assert not any(axes.images for axes in figure.axes[7:])
    assert draw(figure)


def test_an_image_that_is_gone_leaves_words() -> None:
    figure = TopImages(("a", "b"), np.array([1.0, np.nan], np.float32)).figure()
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["no image", "no image"]
    assert [axes.get_title() for axes in figure.axes] == ["1", "–"]


def test_visualizations_make_a_contact_sheet() -> None:
    images = np.random.default_rng(0).integers(0, 255, (3, 20, 20, 3)).astype(np.uint8)
    records = tuple(record(f"{LAYER}:{i}") for i in range(3))
    figure = Visualizations(images, records).figure(2)
    for axes, pixels, own in zip(figure.axes, images, records, strict=False):
        np.testing.assert_array_equal(axes.images[0].get_array(), pixels)
        assert axes.get_title() == f"{own.target}\nactivation 1.25"
    assert draw(figure)


@pytest.mark.filterwarnings("ignore:Glyph:UserWarning")
def test_names_are_never_read_as_mathematics(world: Any) -> None:
    scores, own = world.scores[0], world.contrast
    settings = {**own.settings, "models": [ODD, ODD]}
    odd = Contrast(
        own.frame.assign(layer=ODD, model_b=ODD).drop_duplicates("measure"), own.models, own.concepts,
        own.matches, settings, (),
    )  # fmt: skip
    named = FeatureScores(scores.frame.assign(layer=ODD), scores.curve, {**scores.settings, "model": ODD})
    images = np.zeros((1, 8, 8, 3), np.uint8)
    for figure in (odd.figure(), named.figure(named), Visualizations(images, (record(ODD),)).figure()):
        assert draw(figure)


@pytest.mark.parametrize("columns", [0, -1])
def test_columns_must_be_positive(columns: int) -> None:
    with pytest.raises(DisplayError, match=f"columns is {columns}: it must be at least 1"):
        TopImages(("a",), np.ones(1, np.float32)).figure(columns)


def test_an_empty_list_has_no_figure() -> None:
    with pytest.raises(DisplayError, match="no image to show"):
        TopImages((), np.zeros(0, np.float32)).figure()


def test_without_matplotlib_the_error_says_how_to_get_it(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] == "matplotlib":
            raise ImportError(f"No module named {name!r}")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(DisplayError, match=r"python -m pip install 'conceptprobe\[plots\]'"):
        world.contrast.figure()
