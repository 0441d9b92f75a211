"""Records and the folder that keeps visualizations."""

import io
import json
import math
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from conceptprobe.errors import FolderBusyError
from conceptprobe.images import load_images
from conceptprobe.indexing import build_index
from conceptprobe.models import load_model
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.results import visualizations as module
from conceptprobe.visualization.results.animation import encode_animation
from conceptprobe.visualization.results.contact_sheet import caption
from conceptprobe.visualization.results.record import Natural, VisualizationRecord, file_stem
from conceptprobe.visualization.results.storage import check_folder
from conceptprobe.visualization.results.visualizations import (
    Visualizations,
    join_visualizations,
    load_visualizations,
)

LAYER = "blocks.5.mlp.hidden"
NATURAL = Natural("emoji", 100, 2.0, 0.97, "vectors", 3.5, 2, 768)
RECORD = VisualizationRecord(
    target=f"{LAYER}:3", layer=LAYER, feature=3, pooling="mean", seed=0, restart=0, member=0,
    preset={"name": "fourier", "transforms": [{"name": "Jitter", "pixels": 8}], "learning_rate": 0.05}, steps=3,
    views=2, size=(20, 24), model={"spec": "mini:clip", "fingerprint": "abc"}, activation=1.5, natural=NATURAL,
    curve=(0.1, 0.5, 1.25), stopped=None, versions={"torch": "2"},
)  # fmt: skip


def some(count: int, **changes: Any) -> Visualizations:
    """Images of noise of features 0, 1, ..."""
    rng = np.random.default_rng(0)
    records = [replace(RECORD, target=f"{LAYER}:{i}", feature=i, **changes) for i in range(count)]
    return Visualizations(rng.integers(0, 256, (count, 20, 24, 3), dtype=np.uint8), tuple(records))


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(finite, st.lists(finite, max_size=4), st.none() | st.integers(0, 9), st.booleans())
def test_a_record_survives_json(value: float, curve: list[float], stopped: int | None, known: bool) -> None:
    record = replace(
        RECORD, activation=value, curve=tuple(curve), stopped=stopped, natural=NATURAL if known else None, file="a.png"
    )
    assert VisualizationRecord.from_dict(json.loads(json.dumps(record.as_dict(), allow_nan=False))) == record


def test_what_is_not_finite_becomes_null() -> None:
    bad = replace(
        RECORD, activation=math.nan, curve=(1.0, math.inf), natural=replace(NATURAL, z=math.nan, quantile=math.nan)
    )
    stored = json.loads(json.dumps(bad.as_dict(), allow_nan=False))
    assert (stored["activation"], stored["curve"], stored["natural"]["z"]) == (None, [1.0, None], None)
    back = VisualizationRecord.from_dict(stored)
    assert math.isnan(back.activation)
    assert math.isnan(back.curve[1])
    assert back.natural is not None
    assert math.isnan(back.natural.quantile)
    assert back.exceeds is False


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 9}, "schema version 9"),
        ({"target": ...}, "target is missing"),
        ({"colour": 1}, "colour is 1: unexpected keyword argument"),
        ({"natural": {"z": 1}}, "natural.index is missing"),
        ({"size": None}, "size is None: input should be a valid tuple"),
        ({"curve": ["x"]}, "curve.0 is 'x': input should be a valid number"),
    ],
)
def test_a_wrong_record_is_refused(change: dict[str, Any], message: str) -> None:
    stored = {name: value for name, value in {**RECORD.as_dict(), **change}.items() if value is not ...}
    with pytest.raises(VisualizeError, match=message):
        VisualizationRecord.from_dict(stored)


def test_file_names() -> None:
    assert file_stem(RECORD) == f"{LAYER}/3"
    layer = "module:layer1/0"
    usual = replace(RECORD, target=f"{layer}:3 max", layer=layer, pooling="max", seed=2, restart=1, member=3)
    assert file_stem(usual) == "module%3Alayer1%2F0/3-max-seed2-restart1-member3"
    assert file_stem(replace(RECORD, target=f"({RECORD.target} - its rivals)")) == f"{LAYER}/3-specific"
    composed = [
        file_stem(replace(RECORD, target=target, layer=None, feature=None, pooling=None))
        for target in ("(a - 0.5 * b)", "(a + 0.5 * b)", "../../etc", "x" * 500)
    ]
    assert len(set(composed)) == 4
    for stem in composed:
        assert stem.startswith("objectives/")
        assert stem.count("/") == 1
        assert len(stem) < 100


def test_saves_and_loads(tmp_path: Path) -> None:
    made = some(3)
    assert made.save(tmp_path / "out") == tmp_path / "out"
    assert files(tmp_path / "out") == [
        f"{LAYER}/0.json", f"{LAYER}/0.png", f"{LAYER}/1.json", f"{LAYER}/1.png", f"{LAYER}/2.json", f"{LAYER}/2.png",
        "visualizations.json",
    ]  # fmt: skip
    loaded = load_visualizations(tmp_path / "out")
    assert np.array_equal(loaded.images_nhwc, made.images_nhwc)
    assert loaded.records == tuple(replace(record, file=f"{LAYER}/{i}.png") for i, record in enumerate(made.records))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    about = json.loads((tmp_path / "out" / "visualizations.json").read_text())
    assert about["common"] == {
        "model": RECORD.model, "preset": RECORD.preset, "steps": 3, "views": 2, "size": [20, 24],
    }  # fmt: skip


def test_chunks_are_added_and_the_same_target_is_replaced(tmp_path: Path) -> None:
    made = some(4)
    made[2:].save(tmp_path)
    made[:2].save(tmp_path)
    again = replace(made[3:], images_nhwc=255 - made.images_nhwc[3:])
    again.save(tmp_path)
    loaded = load_visualizations(tmp_path)
    assert [record.feature for record in loaded.records] == [2, 3, 0, 1]
    expected = np.concatenate([made.images_nhwc[2:3], again.images_nhwc, made.images_nhwc[:2]])
    assert np.array_equal(loaded.images_nhwc, expected)
    join_visualizations([some(1, seed=1), some(1, restart=2)]).save(tmp_path)
    assert [record.file for record in load_visualizations(tmp_path).records[4:]] == [
        f"{LAYER}/0-seed1.png", f"{LAYER}/0-restart2.png",
    ]  # fmt: skip


def test_a_folder_holds_images_made_alike(tmp_path: Path) -> None:
    some(1).save(tmp_path)
    with pytest.raises(VisualizeError, match=r"steps 3 there, 9 here.*choose another folder"):
        some(1, steps=9).save(tmp_path)
    with pytest.raises(VisualizeError, match=r'model "mini:clip" there, "other" here'):
        some(1, model={"spec": "other", "fingerprint": ""}).save(tmp_path)
    with pytest.raises(VisualizeError, match="the images differ in views"):
        join_visualizations([some(1), some(1, views=5)]).save(tmp_path / "both")
    assert not (tmp_path / "both").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(VisualizeError, match="is a file"):
        check_folder(tmp_path / "file", {})
    assert len(load_visualizations(tmp_path)) == 1


def test_a_kill_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_visualizations(some(2).save(tmp_path))
    replaced = 0

    def dies(source: str, target: Path) -> None:
        nonlocal replaced
        replaced += 1
        if replaced > 3:
            raise KeyboardInterrupt
        move(source, target)

    move = os.replace
    monkeypatch.setattr(os, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        some(5)[2:].save(tmp_path)
    monkeypatch.undo()
    loaded = load_visualizations(tmp_path)
    assert loaded.records == first.records
    some(5)[2:].save(tmp_path)
    assert len(load_visualizations(tmp_path)) == 5


def test_a_save_waits_for_another_and_not_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = FileLock(tmp_path / "out.lock", thread_local=False)
    lock.acquire()
    monkeypatch.setattr(module, "WAIT", 0.1)
    with pytest.raises(FolderBusyError, match="another process is writing"):
        some(1).save(tmp_path / "out")
    monkeypatch.setattr(module, "WAIT", 60.0)
    release = threading.Timer(0.3, lock.release, [True])
    release.start()
    assert len(load_visualizations(some(1).save(tmp_path / "out"))) == 1
    release.join()


def test_damage_is_said(tmp_path: Path) -> None:
    with pytest.raises(VisualizeError, match=r"holds no visualizations.json: make one with `conceptprobe visualize"):
        load_visualizations(tmp_path)
    some(2).save(tmp_path)
    (tmp_path / LAYER / "1.png").write_bytes(b"nothing")
    with pytest.raises(VisualizeError, match=r"1.json or its PNG is missing or damaged"):
        load_visualizations(tmp_path)
    (tmp_path / LAYER / "1.png").unlink()
    with pytest.raises(VisualizeError, match=r"visualize its target again"):
        load_visualizations(tmp_path)
    Image.new("RGB", (3, 3)).save(tmp_path / LAYER / "1.png")
    with pytest.raises(VisualizeError, match=r"has \(3, 3\) pixels, but its record says \(20, 24\)"):
        load_visualizations(tmp_path)
    (tmp_path / LAYER / "1.json").write_text('{"schema_version": 1}')
    with pytest.raises(VisualizeError, match=r"1.json: the record is damaged: target is missing"):
        load_visualizations(tmp_path)
    (tmp_path / "visualizations.json").write_text('{"schema_version": 7, "common": {}, "files": []}')
    with pytest.raises(VisualizeError, match="schema version 7"):
        load_visualizations(tmp_path)
    (tmp_path / "visualizations.json").write_text("[1]")
    with pytest.raises(VisualizeError, match="is damaged"):
        load_visualizations(tmp_path)


def test_reads_like_a_list() -> None:
    made = some(3)
    assert len(made) == 3
    assert np.array_equal(np.asarray(made[1].image), made.images_nhwc[1])
    assert made[f"{LAYER}:2"].record is made.records[2]
    assert [each.record.feature for each in made] == [0, 1, 2]
    assert [record.feature for record in made[[2, 0]].records] == [2, 0]
    assert made[-1].record.feature == 2
    with pytest.raises(KeyError, match="no image of 'x'"):
        made["x"]
    with pytest.raises(IndexError):
        made[3]
    png = made[0]._repr_png_()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), made.images_nhwc[0])


def test_says_what_it_is() -> None:
    made = some(3)
    assert repr(made) == (
        "Visualizations(3 images of 20 x 24; mini:clip; fourier; 0 of 3 above every natural image, 0 rank first of "
        "their layer)"
    )
    best = replace(RECORD, activation=2.5, natural=replace(NATURAL, rank=1, quantile=1.0))
    assert "1 of 1 above every natural image, 1 rank first" in repr(Visualizations(made.images_nhwc[:1], (best,)))
    assert "stopped at step 2" in repr(replace(RECORD, stopped=2))
    assert "97.0% of 100 natural images below, rank 2 of 768" in repr(made[0])
    assert caption(RECORD) == (RECORD.target, "above 97.0%, rank 2 of 768")
    assert caption(best) == (RECORD.target, "above all 100, rank 1 of 768")
    assert caption(replace(best, target=f"({RECORD.target} - its rivals)"))[0] == RECORD.target
    assert caption(replace(RECORD, natural=None)) == (RECORD.target, "activation 1.5")
    assert repr(join_visualizations([])) == "Visualizations(none)"
    frame = made.frame
    assert frame["feature"].tolist() == [0, 1, 2]
    assert frame.loc[0, ["activation", "natural_maximum", "quantile", "rank"]].tolist() == [1.5, 2.0, 0.97, 2]
    assert frame["exceeds"].tolist() == [False] * 3
    assert some(2, natural=None).frame["rank"].isna().all()


def test_a_summary_counts_by_layer() -> None:
    best = replace(RECORD, activation=2.5, natural=replace(NATURAL, rank=1, quantile=1.0))
    other = replace(RECORD, target="text 'a cat'", layer=None, feature=None, pooling=None, natural=None, stopped=2)
    records = (*some(2).records, best, replace(best, layer="final"), other)
    summary = Visualizations(np.zeros((5, 20, 24, 3), np.uint8), records).summary()
    assert summary.columns.tolist() == ["layer", "images", "compared", "exceeds", "first", "stopped"]
    assert summary["layer"].tolist()[:2] == [LAYER, "final"]
    assert summary["layer"].isna().tolist() == [False, False, True]
    assert summary.iloc[:, 1:].to_numpy().tolist() == [[3, 3, 1, 1, 0], [1, 1, 1, 1, 0], [1, 0, 0, 0, 1]]
    assert Visualizations(np.zeros((0, 1, 1, 3), np.uint8), ()).summary().empty


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_animations_end_on_the_image(tmp_path: Path, kind: str) -> None:
    ramp = np.linspace(0, 255, 5).astype(np.uint8)
    frames = np.broadcast_to(ramp[None, :, None, None, None], (1, 5, 20, 24, 3)).copy()
    made = replace(some(1), images_nhwc=frames[:, -1].copy(), frames_nthwc=frames)
    made.save(tmp_path, animate=kind)
    with Image.open(tmp_path / LAYER / f"0.{kind}") as opened:
        assert opened.n_frames == 5
        assert opened.info["loop"] == 0
        for number, grey in enumerate(ramp):
            opened.seek(number)
            assert abs(np.asarray(opened.convert("RGB")).astype(int) - int(grey)).max() <= 6
    assert load_visualizations(tmp_path).records[0].animation == f"{LAYER}/0.{kind}"
    with pytest.raises(VisualizeError, match="choose gif or webp"):
        made.save(tmp_path, animate="mp4")
    with pytest.raises(VisualizeError, match="no frames"):
        some(1).save(tmp_path, animate=kind)


def test_an_animation_rests_on_its_end() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), dtype=np.uint8)
    with Image.open(io.BytesIO(encode_animation(frames, "gif"))) as opened:
        lasting = []
        for number in range(opened.n_frames):
            opened.seek(number)
            lasting.append(opened.info["duration"])
    assert lasting == [1000, 1000, 1000, 2000]


def test_a_contact_sheet_shows_every_image_and_its_top_images(tmp_path: Path) -> None:
    shades = {name: (i * 60, 255 - i * 60, 128) for i, name in enumerate("abcde")}
    (tmp_path / "images").mkdir()
    for name, colour in shades.items():
        Image.new("RGB", (30, 20), colour).save(tmp_path / "images" / f"{name}.png")
    model = load_model("mini:clip@random", "cpu")
    index = build_index(
        model, load_images(f"folder:{tmp_path / 'images'}"), LAYER, tmp_path / "index", k=5, workers=0, vectors=False
    )
    colours = [(200, 0, 0), (0, 200, 0), (0, 0, 200)]
    made = replace(
        some(3), images_nhwc=np.broadcast_to(np.array(colours, np.uint8)[:, None, None], (3, 20, 24, 3)).copy()
    )
    plain = {colour for _, colour in made.contact_sheet(columns=2).getcolors(1 << 16)}
    assert set(colours) <= plain
    assert not set(shades.values()) & plain
    sheet = made.contact_sheet(index, tops=4)
    assert set(colours) <= {colour for _, colour in sheet.getcolors(1 << 16)}
    for feature in range(3):
        top = index.top(f"{LAYER}:{feature}", 4, "mean")
        one = {colour for _, colour in made[[feature]].contact_sheet(index, tops=4).getcolors(1 << 16)}
        expected = {shades[id_.removesuffix(".png")] for id_ in top.ids}
        assert one & set(shades.values()) == expected
    composed = replace(some(1, natural=None), records=(replace(RECORD, layer=None, feature=None, target="x " * 200),))
    composed.contact_sheet(index)  # a target that is no feature has no natural images beside it, and its name is cut
