import numpy as np
import pandas as pd
import pytest

from conceptprobe.probes import ProbeError, ProbeResult
from conceptprobe.probes.framework.result import make_curves, make_differences

MODELS = ("a", "<b> $x_1$")
POINTS = [("correct", "clean", (0.0,)), ("correct", "random", (0.1, 0.5, 0.9)), ("cosine", "random", (0.1, 0.5, 0.9))]


@pytest.fixture
def result() -> ProbeResult:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"model": model, "metric": metric, "series": series, "x": x, "draw": 0, "image": f"i{i}", "value": rng.random()}
        for model in MODELS
        for metric, series, points in POINTS
        for x in (points[:1] if (model, metric) == (MODELS[1], "cosine") else points)
        for i in range(6)
    )
    about = {
        "models": [{"spec": model} for model in MODELS],
        "images": 6,
        "source": {"spec": "s"},
        "axes": {"": "share"},
    }
    none = pd.DataFrame({"model": pd.Series(dtype=str)})
    return ProbeResult(
        "hide", "What?", frame, make_curves(frame), make_differences(frame), none, none, {}, about, ("Note.",)
    )


def test_the_summary_is_the_middle_of_each_curve_with_its_interval(result: ProbeResult) -> None:
    summary = result.summary()
    assert summary.columns.tolist() == ["model", "metric", "series", "x", "value", "low", "high", "n"]
    assert summary.groupby(["model", "metric", "series"]).size().eq(1).all()
    x = summary.set_index(["model", "metric", "series"])["x"]
    for model in MODELS:
        assert (x[model, "correct", "clean"], x[model, "correct", "random"]) == (0, 0.5)
        assert x[model, "cosine", "random"] == 0.1  # one of the two curves has this point only
    both = summary.merge(result.curves, on=summary.columns.tolist())
    assert len(both) == len(summary) == 6


def test_the_figure_shows_the_curves_of_one_metric(result: ProbeResult) -> None:
    pytest.importorskip("matplotlib")
    (axes,) = result.figure().axes
    assert (axes.get_title(), axes.get_xlabel()) == ("random", "share")
    lines = [line for line in axes.lines if len(line.get_xdata()) == 3]
    for model, line in zip(MODELS, lines, strict=True):
        values = result.curves.set_index(["model", "metric", "series"])["value"].sort_index()
        np.testing.assert_array_equal(line.get_ydata(), values[model, "correct", "random"])
    levels = [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert levels == result.curves.query("series == 'clean'")["value"].tolist()
    result.figure("cosine").draw_without_rendering()
    with pytest.raises(ProbeError, match="hide has no metric 'r': choose from correct, cosine"):
        result.figure("r")


def test_a_notebook_shows_the_first_metric_the_question_and_the_caveats(result: ProbeResult) -> None:
    shown = result._repr_html_()
    assert shown.count("<tr>") == 1 + 4 + 1 + len(result.curves)
    assert "&lt;b&gt; $x_1$" in shown
    assert "<b> $x_1$" not in shown
    assert "What?" in shown
    assert "Note." in shown


def test_a_result_without_curves_is_shown_and_has_no_figure(result: ProbeResult) -> None:
    empty = result.curves.iloc[:0]
    result = ProbeResult(**{**vars(result), "curves": empty})
    assert result.summary().empty
    assert "<table>" in result._repr_html_()
    with pytest.raises(ProbeError, match="no curves to draw"):
        result.figure()
