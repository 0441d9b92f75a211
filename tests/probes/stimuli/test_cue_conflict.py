import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptprobe.probes import ProbeError
from conceptprobe.probes.classifiers.categories import CATEGORIES
from conceptprobe.probes.stimuli.cue_conflict import (
    LEAST,
    Cues,
    choose_partners,
    choose_textures,
    decision_rows,
    decisions,
    read_cues,
)

RELEASE = [
    f"{shape}/{shape}{2 * i + j % 2 + 1}-{texture}{j % 3 + 1}.png"
    for (i, shape), (j, texture) in itertools.product(enumerate(CATEGORIES), enumerate(CATEGORIES))
    for i, j in ((k, j + k) for k in range(5))
]


def test_of_1280_images_named_as_in_the_release_1200_disagree() -> None:
    cues = read_cues(RELEASE, CATEGORIES)
    assert len(cues) == 1280
    assert sum(cue.shape_class != cue.texture_class for cue in cues) == 1200


def test_the_first_name_is_the_shape() -> None:
    (cues,) = read_cues(["x/airplane10-bear3.png"], CATEGORIES)
    assert cues == Cues("airplane10", "bear3", "airplane", "bear")


@pytest.mark.parametrize("name", ["airplane1.png", "airplane1-lion2.png", "airplane1-bear2-cat3.png", "1-2.png"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ProbeError, match=r"is not named as a cue-conflict image, such as airplane1-bear2\.png"):
        read_cues([name], CATEGORIES)


def test_decisions_by_hand() -> None:
    scores = np.array([[5, 1, 0], [1, 5, 0], [1, 0, 5], [2, 2, 5.0]])
    found = decisions(scores, np.zeros(4, int), np.ones(4, int))
    assert np.array_equal(found["shape bias"], [1, 0, np.nan, np.nan], equal_nan=True)
    assert found["cue accuracy"].tolist() == [1, 1, 0, 0]
    assert found["shape decision"].tolist() == [1, 0, 0, 0]
    assert found["texture decision"].tolist() == [0, 1, 0, 0]
    assert found["shape over texture"].tolist() == [1, 0, 1, 0.5]


def test_the_mean_of_shape_bias_is_shape_of_shape_and_texture() -> None:
    rng = np.random.default_rng(0)
    found = decisions(rng.standard_normal((400, 6)), np.zeros(400, int), np.full(400, 4))
    shape, texture = (found[f"{cue} decision"].sum() for cue in ("shape", "texture"))
    assert np.nanmean(found["shape bias"]) == pytest.approx(shape / (shape + texture), rel=1e-12)


def test_only_classes_with_some_images_have_rows_of_their_own() -> None:
    classes = ["cat"] * LEAST + ["dog"] * (LEAST - 1)
    ids = tuple(f"{i}" for i in range(len(classes)))
    metrics = decisions(np.eye(len(classes)), np.arange(len(classes)), np.zeros(len(classes), int))
    frames = decision_rows(metrics, ids, classes, "conflict", ", x")
    series = {(name, len(part)) for frame in frames for name, part in frame.groupby("series")}
    assert series == {("conflict", 2 * LEAST - 1), ("shape: cat", LEAST)}
    assert all(frame["metric"].str.endswith(", x").all() for frame in frames)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=30), st.integers(0, 5))
def test_a_texture_is_of_another_class(classes: list[str], seed: int) -> None:
    ids = [f"image {i}" for i in range(len(classes))]
    if len({*classes}) < 2:
        with pytest.raises(ProbeError, match="of different classes"):
            choose_textures(ids, classes, seed)
        return
    chosen = choose_textures(ids, classes, seed)
    assert all(classes[j] != classes[i] for i, j in enumerate(chosen))
    assert np.array_equal(chosen, choose_textures(ids, classes, seed))


def test_who_gets_whose_texture_hardly_depends_on_the_other_images() -> None:
    ids, classes = [f"image {i}" for i in range(200)], [f"class {i % 50}" for i in range(200)]
    before, after = choose_textures(ids[:-1], classes[:-1], 0), choose_textures(ids, classes, 0)
    changed = before != after[:-1]
    assert (after[:-1][changed] == 199).all()
    assert changed.sum() < 20
    assert (choose_textures(ids, classes, 1) != after).mean() > 0.9


@pytest.mark.parametrize("same", ["shape", "texture"])
def test_images_alike_share_the_class_of_one_cue_and_nothing_else(same: str) -> None:
    cues = read_cues(RELEASE[::3], CATEGORIES)
    ids = [f"{i}" for i in range(len(cues))]
    other = "texture" if same == "shape" else "shape"
    found = choose_partners(cues, ids, same, 0, 0)
    assert (found >= 0).mean() > 0.9
    for cue, at in zip(cues, found, strict=True):
        if at >= 0:
            assert getattr(cue, f"{same}_class") == getattr(cues[at], f"{same}_class")
            assert getattr(cue, same) != getattr(cues[at], same)
            assert getattr(cue, f"{other}_class") != getattr(cues[at], f"{other}_class")
    assert (choose_partners(cues, ids, same, 0, 1) != found).any()


def test_an_image_that_shares_its_cue_with_none_has_no_partner() -> None:
    cues = read_cues(["cat1-dog1.png", "cat1-bear1.png", "cat2-dog2.png"], CATEGORIES)
    assert choose_partners(cues, ["a", "b", "c"], "shape", 0, 0).tolist() == [-1, 2, 1]
