from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conceptprobe.images import load_images
from conceptprobe.indexing import IndexingError
from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes import PROBES, ProbeError, load_probe, run_probe
from conceptprobe.probes.framework.heads import head_of, native_head, zero_shot_head
from conceptprobe.probes.framework.images import choose_images
from conceptprobe.probes.framework.result import make_curves, make_differences
from conceptprobe.probes.framework.run_settings import RunSettings
from conceptprobe.probes.framework.settings import make_probe_settings


@pytest.fixture(scope="module")
def supervised() -> VisionModel:
    return load_model("mini:supervised")


@pytest.fixture(scope="module")
def clip() -> VisionModel:
    return load_model("mini:clip")


def table(model: str, values: list[list[float]]) -> pd.DataFrame:
    """A row an image and draw."""
    return pd.DataFrame(
        {"model": model, "metric": "m", "series": "s", "x": 0.5, "draw": draw, "image": f"i{image}", "value": value}
        for image, draws in enumerate(values)
        for draw, value in enumerate(draws)
    )


def test_draws_of_an_image_are_averaged_before_images() -> None:
    (row,) = make_curves(table("a", [[0.0, 1.0], [0.2, 0.4], [2.9, 2.7]])).itertuples()
    means = np.array([0.5, 0.3, 2.8])
    half = 4.302652729911275 * means.std(ddof=1) / np.sqrt(3)  # Student's t, 2 degrees of freedom
    assert (row.value, row.n) == (pytest.approx(means.mean()), 3)
    assert (row.low, row.high) == (pytest.approx(means.mean() - half), pytest.approx(means.mean() + half))


def test_shares_have_wilsons_interval() -> None:
    (row,) = make_curves(table("a", [[1.0]] * 10)).itertuples()
    z2 = 1.959963984540054**2
    assert (row.low, row.high) == (pytest.approx(10 / (10 + z2)), pytest.approx(1))


def test_differences_are_paired_by_image_and_the_first_model_minus_the_second() -> None:
    rows = pd.concat([table("a", [[1.0], [2.0], [4.0]]), table("b", [[0.0], [1.5], [2.0]])[::-1]])
    (row,) = make_differences(rows).itertuples()
    difference = np.array([1, 0.5, 2])
    half = 4.302652729911275 * difference.std(ddof=1) / np.sqrt(3)
    assert (row.first, row.second, row.value) == ("a", "b", pytest.approx(difference.mean()))
    assert (row.low, row.high) == (pytest.approx(difference.mean() - half), pytest.approx(difference.mean() + half))


def test_heads_answer_as_the_model_and_as_cosines(supervised: VisionModel, clip: VisionModel) -> None:
    images = load_images("mini:emoji")
    pixels = supervised.preprocess(images.load(0).image)[None]
    names = [supervised.class_names[7], supervised.class_names[3]]
    found = supervised.capture(pixels, "logits")["logits"]
    assert native_head(supervised, names)(found).tolist() == supervised.logits(pixels)[:, [7, 3]].tolist()
    head = zero_shot_head(clip, names, ("{}", "a {}"))
    text = clip.encode_text([names[1], f"a {names[1]}"]).mean(0)
    expected = 100 * float(clip.encode_image(pixels)[0] @ (text / text.norm()))
    assert head(clip.capture(pixels, "embedding")["embedding"])[0, 1].item() == pytest.approx(expected, abs=1e-3)
    assert head.subset([1]).classes == (names[1],)


def test_a_head_of_unknown_classes_is_refused(supervised: VisionModel) -> None:
    with pytest.raises(ProbeError, match="'unicorns at sea'"):
        head_of(supervised, ["skull", "unicorns at sea"])
    with pytest.raises(ProbeError, match="neither a classifier"):
        head_of(load_model("mini:distilled"), ["skull"])


def test_items_are_the_same_for_the_same_seed_and_all_of_the_classes() -> None:
    source = load_images("mini:emoji/noto")
    images = choose_images(source, RunSettings(n=20, seed=3), among={"skull", "pizza", "ghost", "guitar"})
    assert (
        images.ids == choose_images(source, RunSettings(n=20, seed=3), among={"skull", "pizza", "ghost", "guitar"}).ids
    )
    assert {*(images.classes or ())} == {"skull", "pizza", "ghost", "guitar"}
    assert choose_images(source, RunSettings(n=50)).ids != choose_images(source, RunSettings(n=50, seed=1)).ids


def test_masks_are_checked_against_their_images(tmp_path: Path, supervised: VisionModel) -> None:
    for name in ("a", "b"):
        (tmp_path / "images").mkdir(exist_ok=True)
        Image.new("RGB", (30, 20), "red").save(tmp_path / "images" / f"{name}.png")
    images = load_images(f"folder:{tmp_path / 'images'}")
    with pytest.raises(ProbeError, match="no alpha channel"):
        choose_images(images, RunSettings()).masks(supervised)
    (tmp_path / "masks").mkdir()
    Image.new("L", (30, 20), 1).save(tmp_path / "masks" / "a.png")
    Image.new("L", (20, 20), 1).save(tmp_path / "masks" / "b.png")
    with pytest.raises(ProbeError, match=r"\(20, 20\)"):
        choose_images(images, RunSettings(masks=str(tmp_path / "masks"))).masks(supervised)
    Image.new("L", (30, 20), 1).save(tmp_path / "masks" / "b.png")
    assert choose_images(images, RunSettings(masks=str(tmp_path / "masks"))).masks(supervised).all()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("oclusion", {}, "occlusion"),
        ("occlusion", {"share": 1}, "'share' is not a setting of the probe occlusion; did you mean 'shares'"),
        ("occlusion", {"n": 1}, "n is 1: input should be greater than or equal to 2"),
        ("occlusion", {"seed": -1}, "seed is -1: input should be greater than or equal to 0"),
        ("occlusion", {"classes": "skull"}, "classes is 'skull': input should be a valid tuple"),
        ("occlusion", {"templates": ("a photo",)}, "templates are texts with {} for the class name"),
        ("occlusion", {"label": "colour"}, "no column 'colour'"),
        ("occlusion", {"class_map": {"unicorns at sea": "wolf"}}, "has none of the labels"),
        ("occlusion", {"masks": "/nowhere"}, "no folder of masks"),
    ],
)
def test_bad_input_is_refused_before_any_compute(
    monkeypatch: pytest.MonkeyPatch, supervised: VisionModel, name: str, options: dict[str, object], message: str
) -> None:
    monkeypatch.setattr(VisionModel, "capture", lambda *args: pytest.fail("it computed"))
    with pytest.raises(ProbeError, match=message):
        run_probe(name, supervised, "mini:emoji", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lesion", {}, "no transformer blocks"),
        ("shuffle", {"grids": ((5, 5),)}, "none of the grids"),
        ("frequency", {"heat_map": 30}, "below 24"),
    ],
)
def test_a_model_that_cannot_be_asked_stops_the_probe_before_another_is_asked(
    monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, object], message: str
) -> None:
    monkeypatch.setattr(VisionModel, "capture", lambda *args: pytest.fail("it computed"))
    names = ("skull", "pizza")
    able = load_model("mini:supervised")
    cnn = load_model("timm:resnet18@random#48")
    cnn._class_names = (*names, *map(str, range(998)))
    with pytest.raises(ProbeError, match=message):
        run_probe(name, [able, cnn], "mini:emoji", n=4, classes=names, layers=(), **options)  # type: ignore[arg-type]


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    result = run_probe("occlusion", ["mini:clip", "mini:supervised"], "mini:emoji", n=8, shares=(0.5,), draws=2)
    result.save(tmp_path)
    again = load_probe(tmp_path)
    for name in ("frame", "curves", "differences", "features", "survival"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(result, name))
    assert repr(again) == repr(result)
    assert again.about["seed"] == 0
    assert again.context == result.context


def test_every_probe_is_found_by_its_name_and_says_what_it_asks() -> None:
    for name, probe in PROBES.items():
        assert name == probe.name
        assert probe.question.endswith("?")
        assert probe.settings() == make_probe_settings(probe, {})


def test_a_pooling_that_a_layer_cannot_have_is_refused_before_any_image_is_run(
    supervised: VisionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VisionModel, "visiting", None)
    with pytest.raises(IndexingError, match="'median' is unknown: choose from mean, max, cls"):
        run_probe("shuffle", supervised, "mini:emoji", n=8, pooling="median")
