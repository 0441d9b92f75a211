"""The data of probe pages: every number and text is the result's."""

import ast
import io
import shlex
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conceptprobe.cli.probe_inputs import parse_setting
from conceptprobe.probes import PROBES
from conceptprobe.probes.framework.result import TABLES, make_curves, make_differences
from conceptprobe.report import ReportError, write_report
from conceptprobe.report.data.artifacts import RAMPS, Scale, tiles_of
from conceptprobe.report.data.probe_commands import probe_command, probe_python
from conceptprobe.report.data.probe_tables import csv_text

MODELS = {"far:one": "1" * 64, "far:two": "2" * 64}


@pytest.fixture(scope="module")
def alone(make_probe, tmp_path_factory):
    """A report of one probe and nothing else."""
    result = make_probe(MODELS)
    folder = tmp_path_factory.mktemp("alone") / "report"
    write_report(folder, probes=[result])
    return result, folder


def read_table(data, name):
    """Rows of the page's data with their texts."""
    texts, models = data["texts"], [model["spec"] for model in data["models"]]
    columns = {
        "curves": "model metric series x value low high n",
        "differences": "first second metric series x value low high n",
        "survival": "model layer verdict series x measure value low high features",
    }[name].split()
    frame = pd.DataFrame(data[name], columns=columns)
    for column in columns:
        known = models if column in ("model", "first", "second") else texts.get(column)
        if known is not None:
            frame[column] = [known[at] for at in frame[column]]
    return frame


@pytest.mark.parametrize("name", ["curves", "differences", "survival"])
def test_tables_are_the_results(alone, read_data, name):
    result, folder = alone
    found = read_table(read_data(folder, "probes/0"), name)
    expected = getattr(result, name)
    assert len(found) == len(expected) > 0
    pd.testing.assert_frame_equal(found, expected[found.columns], check_dtype=False, rtol=1e-5)


@pytest.mark.parametrize("name", ["curves", "differences", "survival", "features", "rows"])
def test_csv_files_have_every_bit(alone, read_data, name):
    result, folder = alone
    (about,) = [own for own in read_data(folder, "probes/0")["files"] if own["name"] == name]
    path = folder / about["file"]
    frame = pd.read_csv(path)
    assert about["bytes"] == path.stat().st_size
    assert about["rows"] == len(frame)
    pd.testing.assert_frame_equal(frame, getattr(result, TABLES[name]), check_dtype=False, check_exact=True)


def test_a_large_table_is_packed_and_rows_beyond_it_are_left_out(make_probe, tmp_path, read_data, monkeypatch):
    monkeypatch.setattr("conceptprobe.report.data.probe_tables.LARGEST_PLAIN", 2000)
    monkeypatch.setattr("conceptprobe.report.data.probe_tables.LARGEST_ROWS", 3000)
    result = make_probe(MODELS)
    write_report(tmp_path / "out", probes=[result])
    files = {own["name"]: own for own in read_data(tmp_path / "out", "probes/0")["files"]}
    assert files["features"]["file"] == "probes/odd/features.csv.gz"
    again = pd.read_csv(tmp_path / "out" / files["features"]["file"])
    pd.testing.assert_frame_equal(again, result.features, check_dtype=False, check_exact=True)
    assert files["rows"]["file"] is None
    assert files["rows"]["rows"] == len(result.frame)
    assert not list((tmp_path / "out" / "probes" / "odd").glob("rows*"))


def test_no_cell_of_a_csv_starts_a_formula():
    frame = pd.DataFrame({"image": ["=1+1", "@x", "a,b", "plain"], "value": [-1.5, 0.1, np.nan, 2]})
    text = csv_text(frame)
    assert text == "image,value\r\n'=1+1,-1.5\r\n'@x,0.1\r\n\"a,b\",\r\nplain,2.0\r\n"
    assert pd.read_csv(io.StringIO(text))["value"].tolist()[0] == -1.5


def test_extremes_are_the_features_that_keep_most_and_least(alone, read_data):
    result, folder = alone
    data = read_data(folder, "probes/0")
    assert len(data["extremes"]) == 2 * 3 * 2  # models, conditions, measures
    for own in data["extremes"]:
        measure = data["texts"]["measure"][own["measure"]]
        other = {"kept": "r", "r": "kept"}[measure]
        rows = result.features[
            (result.features["model"] == data["models"][own["model"]]["spec"])
            & (result.features["series"] == data["texts"]["series"][own["series"]])
            & (result.features["x"] == own["x"])
        ].dropna(subset=measure)
        assert own["features"] == len(rows) == 29
        for end, sign in (("most", -1), ("least", 1)):
            ordered = sorted(
                rows.itertuples(), key=lambda r: (sign * getattr(r, measure), sign * getattr(r, other), r.feature)
            )
            assert [row[0] for row in own[end]] == [row.feature for row in ordered[:8]]
            assert [row[1] for row in own[end]] == pytest.approx(
                [getattr(row, measure) for row in ordered[:8]], rel=1e-5
            )
            assert [data["texts"]["verdict"][row[2]] for row in own[end]] == [row.verdict for row in ordered[:8]]


def test_the_headline_is_chosen_by_place(alone, read_data):
    result, folder = alone
    (summary,) = read_data(folder, "report")["probes"]
    headline = summary["headline"]
    assert [headline[name] for name in ("metric", "series", "x", "axis")] == ["score", "bent", 0.5, "share bent"]
    own = result.curves.query("metric == 'score' and series == 'bent' and x == 0.5")
    assert [row[0] for row in headline["values"]] == [0, 1]
    np.testing.assert_allclose([row[1:] for row in headline["values"]], own[["value", "low", "high"]], rtol=1e-5)
    clean = result.curves.query("series == 'clean'")
    np.testing.assert_allclose([row[1:] for row in headline["clean"]], clean[["value", "low", "high"]], rtol=1e-5)
    between = result.differences.query("metric == 'score' and series == 'bent' and x == 0.5")
    np.testing.assert_allclose(
        [row[2:] for row in headline["differences"]], between[["value", "low", "high"]], rtol=1e-5
    )


def test_pictures_show_the_artifacts(alone, read_data):
    result, folder = alone
    artifacts = {own["name"]: own for own in read_data(folder, "probes/0")["artifacts"]}
    assert list(artifacts) == ["heat", "photo", "signed", "vector"]
    photo = artifacts["photo"]
    assert photo["scale"] is None
    with Image.open(folder / photo["models"][1]["files"][0][0]) as shown:
        np.testing.assert_array_equal(np.asarray(shown), result.artifacts["far:two/photo"].transpose(1, 2, 0))
    heat = artifacts["heat"]
    values = np.stack([result.artifacts[f"{spec}/heat"] for spec in MODELS])
    assert heat["scale"]["kind"] == "linear"
    assert [heat["scale"]["low"], heat["scale"]["high"]] == pytest.approx([values.min(), values.max()], rel=1e-5)
    (files,) = heat["models"][0]["files"]
    brightness = []
    for file in files:
        with Image.open(folder / file) as shown:
            assert shown.size == (5, 6)
            brightness.append(np.asarray(shown.convert("RGB"), float).sum(2))
    own = result.artifacts["far:one/heat"]
    order = np.argsort(own.ravel())
    assert (np.diff(np.stack(brightness).ravel()[order]) >= -6).all()  # brighter with the value, but for rounding
    assert [len(row) for row in artifacts["signed"]["models"][0]["files"]] == [3, 3]
    assert artifacts["signed"]["scale"]["kind"] == "diverging"
    assert artifacts["signed"]["scale"]["low"] == -artifacts["signed"]["scale"]["high"]
    assert artifacts["vector"]["models"][0] | {"size": []} == {
        "model": 0, "shape": [5], "type": "float64", "files": [], "pictures": 0, "size": []
    }  # fmt: skip


def test_colours_are_those_of_the_scale():
    scale = Scale.of(np.array([[1.0, 3.0], [2.0, np.nan]]))
    colours = scale.colours(np.array([[1.0, 3.0], [2.0, np.nan]]))
    ramp = RAMPS["sequential"]
    assert colours[0, 0].tolist() == [*ramp[0], 255]
    assert colours[0, 1].tolist() == [*ramp[4], 255]
    assert colours[1, 0].tolist() == [*ramp[2], 255]
    assert colours[1, 1, 3] == 0
    steep = Scale.of(np.array([0.0, 1.0, 1.0, 10.0, 10_000.0]))
    assert (steep.kind, steep.low, steep.high) == ("log", 1.0, 10_000.0)
    assert steep.colours(np.array([[100.0]]))[0, 0].tolist() == [*ramp[2], 255]
    signed = Scale.of(np.array([-1.0, 4.0]))
    assert signed.colours(np.array([[0.0]]))[0, 0].tolist() == [*RAMPS["diverging"][2], 255]
    assert Scale.of(np.full((2, 2), 7.0)).colours(np.full((2, 2), 7.0))[0, 0].tolist() == [*ramp[0], 255]
    assert Scale.of(np.full((2, 2), np.nan)).colours(np.full((2, 2), np.nan))[..., 3].max() == 0


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((4, 5), "f4", (1, 1, 4, 5)), ((7, 4, 5), "f4", (1, 7, 4, 5)), ((3, 4, 5), "f4", (1, 3, 4, 5)),
        ((3, 4, 5), "u1", (1, 1, 4, 5, 3)), ((4, 5, 3), "u1", (1, 1, 4, 5, 3)), ((2, 3, 4, 5), "u1", (1, 2, 4, 5, 3)),
        ((2, 7, 4, 5), "f8", (2, 7, 4, 5)), ((2, 2, 7, 4, 5), "f2", (4, 7, 4, 5)), ((4, 5), "u1", (1, 1, 4, 5)),
        ((4, 5), "?", (1, 1, 4, 5)), ((9,), "f4", None), ((), "f4", None), ((1, 9), "f4", None),
        ((0, 4, 5), "f4", None),
    ],
)  # fmt: skip
def test_shapes_that_are_pictures(shape, dtype, expected):
    found = tiles_of(np.zeros(shape, dtype))
    assert (None if found is None else found.values.shape) == expected


def test_what_is_published_and_what_to_mind_come_along(alone, read_data):
    _, folder = alone
    data = read_data(folder, "probes/0")
    assert data["context"] == [["Theirs", "70 %", "Them 2020", "paper"]]
    assert data["caveats"] == ["Bent by hand."]
    assert data["settings"] == [["shares", "(0.25, 1.0)"]]
    assert [data[name] for name in ("seed", "images", "protocol")] == [4, 24, "Us, 2026"]


def test_a_report_of_probes_alone_has_no_pages_of_features(alone, read_data):
    _, folder = alone
    assert sorted(path.name for path in folder.glob("*.html")) == ["index.html", "probes.html"]
    report = read_data(folder, "report")
    assert report["models"] == []
    assert report["has"]["probes"] == 1
    assert report["date"] is None


def test_models_of_the_report_keep_their_colour_and_others_get_one_after_them(probed, read_data):
    first, second = (read_data(probed.report, f"probes/{n}") for n in range(2))
    assert [(m["label"], m["colour"], m["numbers"]) for m in first["models"]] == [
        ("mini:clip", 0, [0]), ("mini:supervised", 1, [1])
    ]  # fmt: skip
    assert [(m["label"], m["colour"], m["numbers"]) for m in second["models"]] == [
        ("mini:supervised", 1, [1]), ("far:away", 2, [])
    ]  # fmt: skip
    assert [own["key"] for own in read_data(probed.report, "report")["probes"]] == ["odd", "odd-2"]


def test_folders_of_one_result_and_of_several_are_read(make_probe, tmp_path, read_data):
    for name in ("b", "a"):
        make_probe(MODELS, probe=name).save(tmp_path / "all" / name)
    write_report(tmp_path / "out", probes=[tmp_path / "all", str(tmp_path / "all" / "b")])
    report = read_data(tmp_path / "out", "report")
    assert [own["label"] for own in report["probes"]] == ["a", "b", "b (2)"]
    assert report["date"] is not None
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReportError, match="holds no result of a probe"):
        write_report(tmp_path / "out", probes=[tmp_path / "empty"])


def test_the_same_results_give_the_same_bytes(make_probe, tmp_path):
    for name in ("one", "two"):
        write_report(tmp_path / name, probes=[make_probe(MODELS)])
    for path in (tmp_path / "one").rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes(), path


def test_a_result_without_tables_still_has_a_page(make_probe, tmp_path, read_data):
    full = make_probe(MODELS)
    nothing = {name: pd.DataFrame({"model": pd.Series(dtype=str)}) for name in ("features", "survival")}
    empty = type(full)(
        "bare", "?", full.frame[:0], full.curves[:0], full.differences[:0], **nothing, artifacts={}, about=full.about
    )
    write_report(tmp_path / "out", probes=[empty])
    data = read_data(tmp_path / "out", "probes/0")
    assert [data[name] for name in ("curves", "survival", "extremes", "artifacts", "files")] == [[]] * 5
    assert read_data(tmp_path / "out", "report")["probes"][0]["headline"] is None


def test_the_command_of_a_known_probe_gives_its_settings_back(make_probe):
    name, defaults = next((n, vars(p.settings())) for n, p in PROBES.items() if "shares" in vars(p.settings()))
    asked = {
        "n": None, "label": "class", "templates": ["a {}"], "masks": None, "scores": ["far:one"], "own_classes": True,
        "class_map": False, "layers": ["blocks.1.mlp.hidden"],
    }  # fmt: skip
    settings = defaults | {"shares": [0.25, 0.5]}
    result = make_probe(MODELS, probe=name, settings=settings, asked=asked)
    words = shlex.split(probe_command(result, (), "probes/x"))
    assert words[:3] == ["conceptprobe", "probe", name]
    assert parse_setting(words[words.index("--set") + 1]) == ("shares", (0.25, 0.5))
    assert words.count("--set") == 1
    assert "--pooling" not in words
    largest = replace(result, about=result.about | {"pooling": "max"})
    assert "--pooling max" in probe_command(largest, (), "probes/x")
    for option, value in (
        ("--label", "class"), ("--template", "a {}"), ("-n", "0"), ("--scores", "scores-one"), ("--seed", "4"),
        ("--layer", "blocks.1.mlp.hidden"), ("--classes", "CLASSES"), ("--out", "probes/x"),
    ):  # fmt: skip
        assert words[words.index(option) + 1] == value
    call = next(
        node
        for node in ast.walk(ast.parse("\n".join(probe_python(result, (), "probes/x"))))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run_probe"
    )
    assert [ast.literal_eval(own) for own in call.args] == [name, list(MODELS), "table:images"]
    options = {own.arg: own.value for own in call.keywords}
    assert ast.literal_eval(options["shares"]) == (0.25, 0.5)
    assert ast.literal_eval(options["n"]) is None
    assert ast.literal_eval(options["layers"]) == ["blocks.1.mlp.hidden"]
    assert {"scores", "classes", "templates", "label", "seed"} <= set(options)


def test_models_with_places_of_their_own_all_have_a_headline(make_probe, tmp_path, read_data):
    full = make_probe(MODELS)
    frame = full.frame.query("metric == 'flips' and series == 'left'")
    frame = frame.assign(x=frame["model"].map({"far:one": 16.0, "far:two": 32.0}))
    between = make_differences(frame, x_of_model=True)
    write_report(tmp_path / "out", probes=[replace(full, frame=frame, curves=make_curves(frame), differences=between)])
    headline = read_data(tmp_path / "out", "report")["probes"][0]["headline"]
    assert headline["x"] is None
    assert [row[0] for row in headline["values"]] == [0, 1]
    assert headline["differences"][0][2] == pytest.approx(between["value"].iloc[0], rel=1e-5)


def test_a_metric_that_models_do_not_share_has_a_headline_without_a_difference(make_probe, tmp_path, read_data):
    full = make_probe(MODELS)
    write_report(tmp_path / "out", probes=[replace(full, differences=full.differences.query("metric == 'flips'"))])
    headline = read_data(tmp_path / "out", "report")["probes"][0]["headline"]
    assert headline["metric"] == "score"
    assert headline["differences"] == []


def test_what_no_command_makes_has_none(make_probe):
    result = make_probe(MODELS, probe=next(iter(PROBES)))  # what was asked is not kept
    assert probe_command(result, (), "x") is None
    result = make_probe(MODELS)
    assert probe_command(result, (), "x") is None
    assert "load_probe" in "\n".join(probe_python(result, (), "x"))
