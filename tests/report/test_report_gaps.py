"""Reports of which something is missing, or hostile."""

import numpy as np

from conceptprobe.concepts.scoring.verdicts import VERDICTS
from conceptprobe.report import write_report


def test_an_index_without_labels_vectors_or_scores_is_shown_without_them(make_index, tmp_path, read_data):
    index = make_index(np.random.default_rng(0).normal(size=(18, 5)), vectors=False, drop=("label", "tags", "style"))
    write_report(tmp_path / "report", [index])
    about = read_data(tmp_path / "report", "report")
    assert about["has"] == {
        "scores": False, "names": False, "concepts": False, "contrast": 0, "visualizations": 0,
        "other_visualizations": 0, "maps": False, "labels": False, "tags": False, "full_images": None, "probes": 0,
    }  # fmt: skip
    assert "nothing is known of what the 18 images show" in about["concepts_note"]
    assert set(read_data(tmp_path / "report", "catalogue")["columns"]) == {
        "verdict",
        "flags",
        "top",
        "firing_rate",
        "max",
    }
    chunk = read_data(tmp_path / "report", "features/0-0-0")
    absent = ("scores", "curve", "table", "names", "neighbours", "matches", "visualizations", "histogram", "random")
    assert [chunk[name] for name in absent] == [None] * len(absent)
    assert not (tmp_path / "report" / "data" / "concepts.js").exists()


def test_without_scores_concepts_are_still_listed(make_index, tmp_path, read_data):
    acts = np.zeros((18, 4))
    acts[np.repeat(np.array(["cat", "coffin", "education", "guitar", "radio", "skull"]), 3) == "guitar", 2] = [3, 2, 1]
    acts += 0.01 * np.random.default_rng(0).normal(size=acts.shape)
    index = make_index(acts, k=6)
    write_report(tmp_path / "report", [index])
    columns, names = (read_data(tmp_path / "report", key) for key in ("catalogue", "concepts"))
    columns = columns["columns"]
    assert names["name"][columns["concept"][2, 0]] == "guitar"
    assert columns["hits"][2] == 3
    assert {"p", "q"}.isdisjoint(columns)
    assert {VERDICTS[code] for code in columns["verdict"]} == {"untested"}


def test_a_feature_without_images_has_empty_lists(make_index, tmp_path, read_data):
    acts = np.random.default_rng(0).normal(size=(18, 3))
    acts[:, 1] = np.nan
    acts[5:, 2] = np.nan
    write_report(tmp_path / "report", [make_index(acts, k=6)])
    columns = read_data(tmp_path / "report", "catalogue")["columns"]
    assert (columns["flags"] & 32 > 0).tolist() == [False, True, False]
    assert columns["top"][1].tolist() == [-1] * 6
    chunk = read_data(tmp_path / "report", "features/0-0-0")
    assert chunk["lists"][0]["images"][1].tolist() == [-1] * 6
    assert (chunk["lists"][0]["images"][2] >= 0).tolist() == [True] * 5 + [False]
    assert chunk["table"][1] == chunk["neighbours"][1] == []
    assert np.isnan(chunk["stats"]["max"][1])


HOSTILE = {
    "cat": "<img src=x onerror=alert(1)>",
    "coffin": "</script><script>",
    "education": "\"' onmouseover=x '",
    "guitar": "\u202eشعار\u2028new\nline",
    "radio": "x" * 10_000,
    "skull": "javascript:alert(1)",
}


def test_hostile_texts_survive(make_index, tmp_path, read_data):
    ids = {"cat/ink.png": "../<b>\n'\"\u2029&amp;", "cat/oil.png": "y" * 5000}
    acts = np.random.default_rng(0).normal(size=(18, 5))
    tags = {label: (text + "t",) for label, text in HOSTILE.items()}
    index = make_index(acts, spec="<b>x</b>", labels=HOSTILE, tags=tags, captions=HOSTILE, ids=ids)
    write_report(tmp_path / "report", [index], title="</title><script>")
    shown = read_data(tmp_path / "report", "images/0")
    assert ids["cat/ink.png"] in shown["id"]
    assert "y" * 999 + "…" in shown["id"]
    assert len(set(shown["id"])) == 18
    labels = read_data(tmp_path / "report", "images")["labels"]
    expected = {text for name, text in HOSTILE.items() if name not in ("guitar", "radio")}
    assert set(labels) == expected | {"\u202eشعار new line", "x" * 199 + "…"}
    assert set(shown["caption"]) == set(labels)
    assert read_data(tmp_path / "report", "report")["models"][0]["key"] == "-b-x--b-"
    for file in (tmp_path / "report" / "data").rglob("*.js"):
        assert not set(b"<>&") & set(file.read_bytes())
