from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conceptprobe.images import load_images
from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes import ProbeError, load_probe, run_probe
from conceptprobe.probes.framework.images import choose_images
from conceptprobe.probes.framework.run_settings import RunSettings
from conceptprobe.probes.protocols.cls_attention import (
    attention_maps,
    fixed_heads,
    keep_mass,
    nearest_to_centre,
    scores_of_block,
)
from conceptprobe.probes.stimuli.objects import PatchedObjects, patched_objects


def test_of_uniform_attention_on_10_patches_6_hold_60_percent() -> None:
    assert keep_mass(np.full((1, 10), 0.1), 0.6).sum() == 6
    assert keep_mass(np.full((1, 10), 0.1, np.float32), 0.6).sum() == 6


def test_the_highest_patches_are_kept_until_the_mass_is_reached() -> None:
    maps = np.array([[0.1, 0.5, 0.05, 0.35], [0.7, 0.1, 0.1, 0.1], [0.25, 0.25, 0.25, 0.25]])
    assert keep_mass(maps, 0.6).tolist() == [
        [False, True, False, True],
        [True, False, False, False],
        [True, True, True, False],
    ]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=12).filter(any), st.integers(1, 99))
def test_it_is_the_smallest_choice_that_holds_the_mass(amounts: list[int], percent: int) -> None:
    values = np.array(amounts)
    (kept,) = keep_mass(values[None] / values.sum(), percent / 100)
    assert 100 * values[kept].sum() >= percent * values.sum()
    smaller = np.sort(values)[::-1][: kept.sum() - 1].sum()
    assert 100 * smaller < percent * values.sum()


def one_object(shown_p: list[int], area: int = 4) -> PatchedObjects:
    """An object on a 2 x 2 grid, by the number of its pixels in each patch."""
    return PatchedObjects(np.array([shown_p]), np.full(len(shown_p), area))


def test_scores_of_heads_oracle_and_controls_by_hand() -> None:
    maps = np.array([[[0.7, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7]]])  # one image, two heads, 2 x 2 patches
    found = scores_of_block(maps, [one_object([4, 2, 0, 0])], ("a",), (2, 2), 0.6, 0)
    assert found.heads_nh.tolist() == [[4 / 6, 0]]
    assert found.series["best head (oracle)"].tolist() == [4 / 6]
    assert found.series["mean of heads"].tolist() == [2 / 6]
    assert found.series["mean map"].tolist() == [4 / 10]  # .4 .1 .1 .4: patches 0 and 3
    assert found.series["best patches"].tolist() == [6 / 8]
    assert found.centre_nh.tolist() == [[4 / 6, 4 / 6]]  # four patches equally central: the first
    assert found.series["centre"].tolist() == [6 / 8]
    assert 0 <= found.series["random"][0] <= found.series["best random (oracle)"][0] <= 4 / 6


def test_each_of_several_objects_has_its_own_best_head() -> None:
    maps = np.array([[[0.97, 0.01, 0.01, 0.01], [0.01, 0.01, 0.01, 0.97]]])
    both = PatchedObjects(np.array([[4, 0, 0, 0], [0, 0, 0, 4]]), np.full(4, 4))
    found = scores_of_block(maps, [both], ("a",), (2, 2), 0.6, 0)
    assert found.series["best head (oracle)"].tolist() == [1]
    assert found.heads_nh.tolist() == [[0.5, 0.5]]


def test_an_image_without_objects_has_no_score() -> None:
    none = PatchedObjects(np.zeros((0, 4), np.int64), np.full(4, 4))
    found = scores_of_block(np.full((2, 1, 4), 0.25), [none, one_object([4, 0, 0, 0])], ("a", "b"), (2, 2), 0.6, 0)
    assert np.isnan(found.series["mean map"]).tolist() == [True, False]
    assert fixed_heads(found.heads_nh, ("a", "b"), 0).chosen == (0, 0)


def test_a_fixed_head_is_judged_by_the_half_that_it_is_not_chosen_on() -> None:
    opposite = np.array([[1.0, 0.0], [0.0, 1.0]])  # each image prefers another head
    choice = fixed_heads(opposite, ("a", "b"), 0)
    assert {*choice.chosen} == {0, 1}
    assert choice.of(opposite).tolist() == [0, 0]
    planted = np.random.default_rng(0).random((40, 3)) * 0.1 + [0, 0.5, 0.2]
    choice = fixed_heads(planted, tuple(f"i{i}" for i in range(40)), 0)
    assert choice.chosen == (1, 1)
    assert choice.of(planted).tolist() == planted[:, 1].tolist()


def test_the_halves_are_equal_and_depend_on_ids_and_seed() -> None:
    ids = tuple(f"i{i}" for i in range(40))
    alternating = np.eye(2)[np.arange(40) % 2] + np.arange(40)[:, None] * [1e-3, 0]
    halves = [fixed_heads(np.eye(40), ids, seed) for seed in range(3)]
    assert len({choice.chosen for choice in halves}) > 1
    for choice in halves:
        assert sorted(np.bincount(choice.head_n)[list(choice.chosen)]) == [20, 20]
    assert fixed_heads(alternating[::-1], ids[::-1], 1).chosen == fixed_heads(alternating, ids, 1).chosen


def test_central_patches_come_first() -> None:
    assert nearest_to_centre((3, 3)).reshape(3, 3)[1, 1] == 0
    ranks = nearest_to_centre((4, 6)).reshape(4, 6)
    assert sorted(ranks[1:3, 2:4].ravel()) == [0, 1, 2, 3]
    assert sorted(ranks.ravel()) == list(range(24))


@pytest.mark.slow
def test_maps_are_what_cls_pays_to_patches_in_shares() -> None:
    model, images = load_model("mini:clip"), choose_images(load_images("mini:emoji"), RunSettings(n=5))
    maps = attention_maps(model, images, None)
    assert list(maps) == list(range(6))
    probs = model.capture(images.pixels(model).float() / 255, "blocks.4.attn.probs")["blocks.4.attn.probs"]
    expected = probs[:, :, 0, 1:].detach().double().numpy()
    np.testing.assert_allclose(maps[4], expected / expected.sum(-1, keepdims=True), atol=1e-5)


@pytest.mark.slow
def test_it_runs_on_the_twins_with_maps_of_some_images(tmp_path: Path) -> None:
    result = run_probe("cls_attention", ["mini:clip", "mini:supervised"], "mini:emoji", n=12, shown=3)
    values = result.frame[result.frame["metric"] == "jaccard"].pivot_table(
        index=["model", "x", "image"], columns="series", values="value"
    )
    heads = values[["head 0", "head 1", "head 2"]]
    assert len(values) == 2 * 6 * len(result.frame["image"].unique())
    np.testing.assert_allclose(values["best head (oracle)"], heads.to_numpy().max(1))  # one object an image
    np.testing.assert_allclose(values["mean of heads"], heads.to_numpy().mean(1))
    assert (values.to_numpy() <= values[["best patches"]].to_numpy() + 1e-12).all()
    assert np.isclose(heads.to_numpy(), values[["fixed head"]].to_numpy()).any(1).all()
    assert any("block 5: the head that is best on one half" in text for text in result.caveats)
    result.save(tmp_path)
    shown = load_probe(tmp_path).artifacts
    assert shown["mini:clip/image"].shape == (3, 3, 48, 48)
    assert shown["mini:clip/attention"].shape == (3, 3, 6, 6)
    np.testing.assert_allclose(shown["mini:clip/attention"].sum((2, 3)), 1, rtol=1e-5)
    ids = result.frame["image"].unique()[shown["mini:clip/number"]]
    assert len(ids) == 3


def masked_folder(folder: Path, mask: Image.Image) -> dict[str, str]:
    """Two grey images with the same mask."""
    for name in ("a", "b"):
        for part, image in (("images", Image.new("RGB", (48, 48), "grey")), ("masks", mask)):
            (folder / part).mkdir(exist_ok=True)
            image.save(folder / part / f"{name}.png")
    return {"images": f"folder:{folder / 'images'}", "masks": str(folder / "masks")}


def numbered_mask() -> Image.Image:
    """As Pascal VOC's: object 1 is the first patch, object 2 half of the last one, its other half void."""
    numbers = np.zeros((48, 48), np.uint8)
    numbers[:8, :8], numbers[40:, 40:44], numbers[40:, 44:] = 1, 2, 255
    mask = Image.fromarray(numbers, "P")
    mask.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [0] * 756 + [224, 224, 192])
    return mask


def test_objects_of_a_palette_mask_are_judged_one_by_one_and_void_counts_for_nothing(tmp_path: Path) -> None:
    given = masked_folder(tmp_path, numbered_mask())
    result = run_probe("cls_attention", "mini:supervised", given["images"], masks=given["masks"])
    rows = result.frame[result.frame["metric"] == "jaccard"]
    assert (rows.loc[rows["series"] == "best patches", "value"] == 1).all()
    assert (rows.loc[rows["series"] == "mean map", "value"] < 0.5).all()  # of two distant objects, in the mean
    plain = masked_folder(tmp_path, numbered_mask().convert("L"))
    merged = run_probe("cls_attention", "mini:supervised", plain["images"], masks=plain["masks"])
    best = merged.frame.loc[merged.frame["series"] == "best patches", "value"]
    assert (best == 1).all()  # one object of two whole patches: void counts as a part of it


def test_masks_of_single_objects_are_cut_from_a_palette_mask(tmp_path: Path) -> None:
    given = masked_folder(tmp_path, numbered_mask())
    images = choose_images(load_images(given["images"]), RunSettings(masks=str(given["masks"])))
    for found in patched_objects(images, load_model("mini:supervised"), (6, 6)):
        assert found.pixels_kp.shape == (2, 36)
        assert {patch: int(n) for patch, n in enumerate(found.pixels_kp[0]) if n} == {0: 64}
        assert {patch: int(n) for patch, n in enumerate(found.pixels_kp[1]) if n} == {35: 32}
        assert found.area_p.tolist() == [64] * 35 + [32]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=7).filter(any))
def test_no_choice_of_patches_is_better_than_the_best(shown: list[int]) -> None:
    here = one_object(shown, area=6)
    choices = np.array([[bool(number >> p & 1) for p in range(len(shown))] for number in range(1, 2 ** len(shown))])
    assert here.best_patches()[0] == pytest.approx(here.jaccard(choices).max())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"token": 1}, r"1 prefix token\(s\), so give a position below 1"),
    ],
)
def test_bad_settings_are_refused_before_any_compute(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, object], message: str
) -> None:
    monkeypatch.setattr(VisionModel, "visit", lambda *args: pytest.fail("it computed"))
    with pytest.raises(ProbeError, match=message):
        run_probe("cls_attention", "mini:clip", "mini:emoji", n=4, **options)  # type: ignore[arg-type]


@pytest.mark.slow
def test_models_without_cls_or_attention_and_images_without_masks_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VisionModel, "visit", lambda *args: pytest.fail("it computed"))
    with pytest.raises(ProbeError, match="looks at attention"):
        run_probe("cls_attention", "timm:resnet18@random#48", "mini:emoji", n=4)
    with pytest.raises(ProbeError, match="has no CLS token"):
        run_probe("cls_attention", "timm:test_vit2@random", "mini:emoji", n=4)
    for name in ("a", "b"):
        Image.new("RGB", (48, 48)).save(tmp_path / f"{name}.png")
    with pytest.raises(ProbeError, match="no alpha channel"):
        run_probe("cls_attention", "mini:clip", f"folder:{tmp_path}")


@pytest.mark.slow
def test_the_distillation_token_can_be_the_one_that_looks() -> None:
    model = load_model("timm:deit_tiny_distilled_patch16_224@random")
    own, distilled = (
        run_probe("cls_attention", model, "mini:emoji", n=2, token=token, shown=1).artifacts[f"{model.spec}/attention"]
        for token in (None, 1)
    )
    assert own.shape == distilled.shape == (1, 3, 14, 14)
    assert not np.array_equal(own, distilled)
