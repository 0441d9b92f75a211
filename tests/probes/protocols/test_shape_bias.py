from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn

from conceptprobe.models import VisionModel
from conceptprobe.probes import ProbeError, ProbeResult, run_probe
from conceptprobe.probes.classifiers.categories import CATEGORIES
from conceptprobe.probes.protocols.shape_bias import AGAINST_SHAPE, AGAINST_TEXTURE

SIDE = 24


class Judge(nn.Module):
    """Scores of "left" and "right": by where the image is not white, or by whether it is red or blue."""

    def __init__(self, by_shape: bool) -> None:
        super().__init__()
        self.by_shape = by_shape
        self.scores = nn.Identity()

    def forward(self, pixels_bchw: Tensor) -> Tensor:
        ink = (1 - pixels_bchw.amin(1)).mean(1)
        if self.by_shape:
            both = (ink[:, : SIDE // 2].mean(1), ink[:, SIDE // 2 :].mean(1))
        else:
            both = (pixels_bchw[:, 0].mean((1, 2)), pixels_bchw[:, 2].mean((1, 2)))
        return self.scores(
            both[0][:, None] * pixels_bchw.new_tensor([[1, 0]]) + both[1][:, None] * pixels_bchw.new_tensor([[0, 1]])
        )


def wrap(module: nn.Module, name: str, classes: list[str], size: int = SIDE) -> VisionModel:
    return VisionModel.wrap(
        module, layers=["scores"], image_size=size, mean=(0, 0, 0), std=(1, 1, 1), class_names=classes, name=name
    )


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> ProbeResult:
    """Red bars on the left and blue ones on the right, shown to a model of shape and to one of texture."""
    folder = tmp_path_factory.mktemp("halves")
    rng = np.random.default_rng(0)
    for label, first, channel in (("left", 2, 0), ("right", SIDE // 2 + 2, 2)):
        (folder / label).mkdir()
        for i in range(12):
            levels = np.zeros((SIDE, SIDE, 4), np.uint8)
            levels[2:-2, first : first + 4 + i % 5, 3] = 255
            levels[..., channel] = rng.integers(100, 256, (SIDE, SIDE))
            Image.fromarray(levels, "RGBA").save(folder / label / f"{i}.png")
    models = [wrap(Judge(by_shape), f"by {by_shape}", ["left", "right"]) for by_shape in (True, False)]
    return run_probe("shape_bias", models, f"folder:{folder}", layers="module:scores")


def values(result: ProbeResult, metric: str, series: str, column: str = "value") -> list[float]:
    curves = result.curves
    return curves[(curves["metric"] == metric) & (curves["series"] == series)][column].tolist()


def test_a_model_of_shape_has_bias_one_and_one_of_texture_none(halves: ProbeResult) -> None:
    assert values(halves, "shape bias, stand-in", "conflict") == [1, 0]
    assert values(halves, "shape over texture, stand-in", "conflict") == [1, 0]
    assert values(halves, "cue accuracy, stand-in", "conflict") == [1, 1]
    assert values(halves, "shape bias, stand-in", "shape: left") == [1, 0]
    assert values(halves, "shape bias, stand-in", "shape: left", "n") == [12, 12]


def test_each_cue_alone_is_known_to_the_model_that_goes_by_it(halves: ProbeResult) -> None:
    assert values(halves, "correct", "clean") == [1, 1]
    assert values(halves, "correct", "own texture") == [1, 1]
    assert values(halves, "correct", "silhouette") == [1, 0.5]
    assert values(halves, "correct", "texture alone")[1] == 1


def test_features_follow_the_cue_that_drives_them(halves: ProbeResult) -> None:
    r = halves.features.pivot_table(index=["model", "feature"], columns="series", values="r")
    assert (r.loc["by True", AGAINST_SHAPE] > 0.95).all()
    assert (r.loc["by True", AGAINST_TEXTURE] < 0).all()  # two classes: who has not one shape has the other
    assert (r.loc["by False", AGAINST_SHAPE] < r.loc["by False", AGAINST_TEXTURE]).all()
    difference = r[AGAINST_SHAPE] - r[AGAINST_TEXTURE]
    np.testing.assert_allclose(r["stand-in, shape - texture"], difference, atol=1e-12)
    survival = halves.survival[halves.survival["measure"] == "r"].set_index(["model", "series"])
    whole = survival.loc[("by True", "stand-in, shape - texture")]
    assert whole["value"] == pytest.approx(difference.loc["by True"].mean(), abs=1e-12)
    assert whole["low"] > 0


def test_stand_ins_are_called_so_and_the_same_for_all_models(halves: ProbeResult) -> None:
    assert all("stand-in" in name for name in halves.frame["metric"].unique() if "shape" in name or "cue" in name)
    assert halves.caveats[0].startswith("Stand-ins, no cue-conflict images of Geirhos et al.")
    first, second = (halves.artifacts[f"by {by_shape}/stand-ins"] for by_shape in (True, False))
    assert first.shape == (8, 3, SIDE, SIDE)
    assert np.array_equal(first, second)


class Lit(nn.Module):
    """A thousand scores, of which the one of twice the red level is highest."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Identity()

    def forward(self, pixels_bchw: Tensor) -> Tensor:
        level = (pixels_bchw[:, 0].mean((1, 2)) * 255).round().long()
        return self.scores(nn.functional.one_hot(2 * level, 1000).float())


def save(folder: Path, name: str, number: int) -> None:
    """An image that is taken for the class of an even number."""
    path = folder / name.split("1")[0] / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8), (number // 2, 0, 0)).save(path)


def lit() -> VisionModel:
    names = ["tench", *(f"class {number}" for number in range(1, 1000))]
    return wrap(Lit(), "lit", names, 8)


def test_images_of_the_release_are_judged_by_sixteen_categories(tmp_path: Path) -> None:
    bird, dog, neither = CATEGORIES["bird"][0], CATEGORIES["dog"][0], CATEGORIES["bear"][0]
    for texture, numbers in (("dog", [bird, bird, bird, dog, neither]), ("cat", [dog])):
        for i, number in enumerate(numbers):
            save(tmp_path, f"bird1{i}-{texture}{i}", number)
    save(tmp_path, "bird10-bird2", bird)
    result = run_probe("shape_bias", lit(), f"folder:{tmp_path}", stimuli="given", layers="module:scores")
    assert values(result, "shape bias", "conflict") == [0.75]
    assert values(result, "shape bias", "conflict", "n") == [4]
    assert values(result, "cue accuracy", "conflict") == [pytest.approx(4 / 6)]
    assert values(result, "texture decision", "conflict") == [pytest.approx(1 / 6)]
    assert result.about["models"][0] | {"head": "native", "classes": 16} == result.about["models"][0]
    assert result.caveats[0].startswith("6 images whose cues disagree; 1 were left out")


def test_features_of_the_releases_images_are_compared_by_shared_cues(tmp_path: Path) -> None:
    """The classes that they are taken for go by the shape and never by the texture."""
    number = {"bird": CATEGORIES["bird"][0], "dog": CATEGORIES["dog"][0], "bear": CATEGORIES["bear"][0]}
    for shape in number:
        for texture in number:
            for i in range(4):
                save(tmp_path, f"{shape}1{i}-{texture}{i}", number[shape])
    result = run_probe("shape_bias", lit(), f"folder:{tmp_path}", stimuli="given", layers="module:scores")
    r = result.features.pivot_table(index="feature", columns="series", values="r")
    assert r.dropna().index.tolist() == sorted(number.values())  # features that vary
    np.testing.assert_allclose(r["same shape"].dropna(), 1)
    assert (r["same texture"].dropna() < 0.01).all()  # another shape with the same texture


def test_images_that_cannot_be_judged_are_refused_before_any_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VisionModel, "capture", lambda *args: pytest.fail("it computed"))
    for i in range(2):
        save(tmp_path, f"bird1{i}-bird1{i}", 8)
    with pytest.raises(ProbeError, match="of different classes in 0 images only"):
        run_probe("shape_bias", lit(), f"folder:{tmp_path}", stimuli="given")
    save(tmp_path, "lion1-bird1", 8)
    with pytest.raises(ProbeError, match="is not named as a cue-conflict image"):
        run_probe("shape_bias", lit(), f"folder:{tmp_path}", stimuli="given")
    with pytest.raises(ProbeError, match="no classifier of ImageNet"):
        run_probe("shape_bias", "mini:supervised", f"folder:{tmp_path}", stimuli="given")
    with pytest.raises(ProbeError, match="no alpha channel"):
        run_probe("shape_bias", "mini:supervised", f"folder:{tmp_path}", class_map={"bird": "skull", "lion": "pizza"})
    with pytest.raises(ProbeError, match="of different classes, and all"):
        run_probe("shape_bias", "mini:supervised", "mini:emoji/noto,twemoji", classes=["skull"])
