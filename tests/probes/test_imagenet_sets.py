from pathlib import Path

import numpy as np
import open_clip
import pytest
from PIL import Image
from torch import nn

from conceptprobe.images import load_images
from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes import ProbeError, run_probe
from conceptprobe.probes.framework.heads import class_keys
from conceptprobe.probes.framework.run_settings import RunSettings
from conceptprobe.probes.imagenet_sets import (
    imagenet_synsets,
    label_images,
    probe_imagenet_set,
    real_correct,
    real_labels,
    set_head,
    subset_indices,
    validation_numbers,
)
from conceptprobe.probes.stimuli.corruptions import CORRUPTIONS


class Lit(nn.Module):
    """A thousand scores, of which the one of the number that is the red level is highest."""

    def __init__(self) -> None:
        super().__init__()
        self.scores = nn.Identity()

    def forward(self, pixels):  # type: ignore[no-untyped-def]
        level = (pixels[:, 0].mean((1, 2)) * 255).round().long()
        return self.scores(nn.functional.one_hot(level, 1000).float())


@pytest.fixture(scope="module")
def lit() -> VisionModel:
    names = ["tench", *(f"class {number}" for number in range(1, 1000))]
    return VisionModel.wrap(
        Lit(), layers=["scores"], image_size=32, mean=(0, 0, 0), std=(1, 1, 1), class_names=names, name="lit"
    )


def save(path: Path, level: int) -> None:
    """An image that the model takes for the class of that number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (level, 0, 0)).save(path, "PNG")


def accuracy(result) -> float:  # type: ignore[no-untyped-def]
    curves = result.curves[(result.curves["metric"] == "correct") & (result.curves["series"] == "clean")]
    (value,) = curves["value"]
    return float(value)


def test_lists_are_those_of_the_papers() -> None:
    assert len(imagenet_synsets()) == len({*imagenet_synsets()}) == 1000
    assert imagenet_synsets()[0] == "n01440764"
    for name in ("r", "a"):
        assert len({*subset_indices(name)}) == 200
    labels = real_labels()
    assert (len(labels), sum(not of for of in labels)) == (50_000, 3_163)


def test_a_subset_chooses_among_its_own_classes(lit: VisionModel, tmp_path: Path) -> None:
    inside, outside = subset_indices("r")[:2], next(i for i in range(1000) if i not in subset_indices("r"))
    head = set_head(lit, "r")
    assert head.classes == tuple(imagenet_synsets()[i] for i in subset_indices("r"))
    save(tmp_path / imagenet_synsets()[inside[1]] / "art_1.png", inside[1])
    save(tmp_path / imagenet_synsets()[inside[0]] / "art_2.png", inside[1])
    # The model's best class is none of the 200: what is left are equal scores, of which the first wins.
    save(tmp_path / imagenet_synsets()[inside[0]] / "art_3.png", outside)
    result = probe_imagenet_set("r", [lit], str(tmp_path))
    found = result.frame[result.frame["metric"] == "correct"].set_index("image")["value"]
    assert found[[f"{imagenet_synsets()[inside[0]]}/art_{i}.png" for i in (2, 3)]].tolist() == [0, 1]
    assert accuracy(result) == pytest.approx(2 / 3)
    assert result.about["models"][0]["classes"] == 200


def test_folders_of_v2_are_class_numbers(lit: VisionModel, tmp_path: Path) -> None:
    for folder, level in (("7", 7), ("11", 11), ("100", 99)):
        save(tmp_path / folder / "x.png", level)
    assert accuracy(probe_imagenet_set("v2", [lit], str(tmp_path))) == pytest.approx(2 / 3)


def test_real_takes_any_of_its_labels_and_skips_images_without(lit: VisionModel, tmp_path: Path) -> None:
    labels = real_labels()
    empty = next(i for i, of in enumerate(labels) if not of)
    several = next(i for i, of in enumerate(labels) if len(of) > 1 and max(of) < 256)
    single = next(i for i, of in enumerate(labels) if len(of) == 1 and of[0] < 255)
    shown = {empty: 3, several: labels[several][1], single: labels[single][0] + 1}
    for number, level in shown.items():
        save(tmp_path / f"ILSVRC2012_val_{number + 1:08d}.JPEG", level)
    result = probe_imagenet_set("real", [lit], str(tmp_path))
    (row,) = result.curves.itertuples()
    assert (row.value, row.n) == (0.5, 2)
    assert result.caveats == ("1 of 3 images have no label in ReaL and are left out.",)


def test_real_correct_by_hand() -> None:
    scores = np.eye(4)[[2, 0, 3, 1]]
    assert np.array_equal(real_correct(scores, [(2, 3), (1,), (), (1,)]), [1, 0, np.nan, 1], equal_nan=True)


def test_imagenet_c_is_read_from_its_folders_and_reported_as_such(lit: VisionModel, tmp_path: Path) -> None:
    ids = [f"{imagenet_synsets()[number]}/ILSVRC2012_val_0000000{i}.JPEG" for i, number in ((1, 20), (2, 30))]
    for name in CORRUPTIONS:
        for severity in (1, 2, 3, 4, 5):
            for id_, level in zip(ids, (20, 30 if severity < 4 else 31), strict=True):
                save(tmp_path / "some" / name / str(severity) / id_, level)
    result = probe_imagenet_set("c", [lit], str(tmp_path))
    errors = result.curves.set_index(["metric", "series"])["value"]
    assert errors["CE, ImageNet-C", "fog"] == pytest.approx(0.2 / 0.819324)
    assert not any("C-like" in metric for metric in result.curves["metric"])
    assert ("mCE, ImageNet-C", "all") in errors.index
    assert "ImageNet-C as read from" in result.caveats[0]


@pytest.mark.parametrize(
    ("name", "path", "message"),
    [
        ("r", "n00000000/a.png", "no class of 'r', which is one of its 200 synsets"),
        ("v2", "n01440764/a.png", "a number from 0 to 999"),
        ("real", "a.png", "no file of ImageNet's validation set"),
    ],
)
def test_folders_that_are_none_of_a_set_are_refused(tmp_path: Path, name: str, path: str, message: str) -> None:
    for other in ("", "0"):
        save(tmp_path / other / path if name == "r" else (tmp_path / path).with_stem(f"a{other}"), 1)
    with pytest.raises(ProbeError, match=message):
        label_images(load_images(f"folder:{tmp_path}"), name, RunSettings())


def test_numbers_of_the_validation_set() -> None:
    assert validation_numbers(["n01440764/ILSVRC2012_val_00000293.JPEG"]) == [292]
    with pytest.raises(ProbeError, match="no file of"):
        validation_numbers(["ILSVRC2012_val_00050001.JPEG"])


def test_models_of_other_classes_and_unknown_sets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="no classifier of ImageNet"):
        set_head(load_model("mini:supervised"), "r")
    with pytest.raises(ProbeError, match="name is 'x': input should be 'v2', 'sketch', 'r', 'a', 'c' or 'real'"):
        probe_imagenet_set("x", ["mini:supervised"], str(tmp_path))


def test_names_that_several_classes_have_do_not_mix_them_up(lit: VisionModel, tmp_path: Path) -> None:
    """As in timm's and open_clip's lists of ImageNet: classes 20 and 30 have one name."""
    names = ["tench", *("crane" if number in (20, 30) else f"class {number}" for number in range(1, 1000))]
    twice = VisionModel.wrap(
        Lit(), layers=["scores"], image_size=32, mean=(0, 0, 0), std=(1, 1, 1), class_names=names, name="twice"
    )
    synsets = imagenet_synsets()
    for number, level in ((20, 20), (30, 30), (40, 30)):
        save(tmp_path / synsets[number] / "a.png", level)
    for result in (
        probe_imagenet_set("sketch", [twice], str(tmp_path)),
        run_probe("cutout", twice, f"folder:{tmp_path}", shares=(0.0,), draws=1),  # labels are WordNet ids
        run_probe("cutout", [twice, lit], f"folder:{tmp_path}", shares=(0.0,), draws=1),  # in another wording
    ):
        for _, rows in result.frame[result.frame["metric"] == "correct"].groupby(["model", "series"]):
            found = rows.set_index("image")["value"].to_dict()
            assert found == {f"{synsets[number]}/a.png": number != 40 for number in (20, 30, 40)}


def test_a_label_that_several_classes_have_is_refused_and_told_apart_by_the_map(tmp_path: Path) -> None:
    names = ["tench", *("crane" if number in (20, 30) else f"class {number}" for number in range(1, 1000))]
    twice = VisionModel.wrap(
        Lit(), layers=["scores"], image_size=32, mean=(0, 0, 0), std=(1, 1, 1), class_names=names, name="twice"
    )
    for folder, level in (("crane", 30), ("class 40", 40)):
        save(tmp_path / folder / "a.png", level)
    with pytest.raises(
        ProbeError, match=r"'crane' is the name of several classes: .*'crane \(20\)' and 'crane \(30\)'"
    ):
        run_probe("cutout", twice, f"folder:{tmp_path}", shares=(0.0,))
    with pytest.raises(ProbeError, match=r"lacks 'crane', which is the name of crane \(20\) and crane \(30\)"):
        run_probe("cutout", twice, f"folder:{tmp_path}", shares=(0.0,), classes=("crane", "class 40"))
    for number in (20, 30):
        class_map = {"crane": f"crane ({number})", "class 40": "class 40"}
        for classes in (None, ("tench", f"crane ({number})", "class 40")):
            result = run_probe(
                "cutout", twice, f"folder:{tmp_path}", shares=(0.0,), draws=1, class_map=class_map, classes=classes
            )
            assert accuracy(result) == (1 if number == 30 else 0.5)


def test_names_of_imagenet_are_not_unique_in_the_lists_themselves() -> None:
    assert len(class_keys(open_clip.IMAGENET_CLASSNAMES)) == len({*class_keys(open_clip.IMAGENET_CLASSNAMES)}) == 1000
    assert len({*open_clip.IMAGENET_CLASSNAMES}) == 998


def test_a_text_tower_takes_the_place_of_a_classifier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_clip, "IMAGENET_CLASSNAMES", ["skull", "pizza"] * 500)  # words that the mini model knows
    head = set_head(load_model("mini:clip"), "a", ("{}",))
    assert (head.kind, len(head.classes)) == ("zero-shot", 200)
    assert head.weights_dc is not None
    assert head.weights_dc.shape[1] == 200
