import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from conceptprobe.images import load_images
from conceptprobe.models import load_model
from conceptprobe.probes import ProbeError
from conceptprobe.probes.framework.images import choose_images
from conceptprobe.probes.framework.run_settings import RunSettings
from conceptprobe.probes.stimuli.cue_conflict_images import (
    Drawing,
    conflicts,
    drawings,
    fill,
    patch_corners,
    preprocess_images,
    quilt,
    silhouette,
)

WHITE = (255, 255, 255)


def striped(mask_hw: np.ndarray, colour: int) -> Drawing:
    """Stripes of two levels inside the mask, level 7 outside."""
    levels = np.full((*mask_hw.shape, 3), 7, np.uint8)
    levels[mask_hw] = colour
    levels[mask_hw & (np.arange(mask_hw.shape[0]) % 2 == 1)[:, None]] = colour + 1
    return Drawing(levels, mask_hw)


def left_half() -> np.ndarray:
    return np.broadcast_to(np.arange(12) < 6, (12, 12)).copy()


@settings(max_examples=40, deadline=None)
@given(arrays(bool, (7, 9)).filter(np.any), st.integers(1, 9))
def test_patches_lie_wholly_inside_and_are_as_large_as_they_can(mask: np.ndarray, side: int) -> None:
    found, corners = patch_corners(mask, side)

    def inside(tried: int) -> list[list[int]]:
        return [
            [row, column]
            for row in range(7 - tried + 1)
            for column in range(9 - tried + 1)
            if mask[row : row + tried, column : column + tried].all()
        ]

    assert found <= side
    assert corners.tolist() == inside(found)
    assert not any(inside(larger) for larger in range(found + 1, min(side, 7) + 1))


def test_a_quilt_is_made_of_what_is_inside_only() -> None:
    drawing = striped(left_half(), 100)
    laid = quilt(drawing, 1 / 4, np.random.default_rng(0))
    assert laid.shape == (12, 12, 3)
    assert {*np.unique(laid).tolist()} == {100, 101}
    for row in range(0, 12, 3):  # stripes go through every patch, and so through every row of the quilt's cells
        assert {*np.unique(laid[row : row + 3, :3]).tolist()} == {100, 101}


def test_a_quilt_has_every_patch_whole() -> None:
    levels = np.arange(144, dtype=np.uint8).reshape(12, 12)[..., None].repeat(3, 2)
    laid = quilt(Drawing(levels, left_half()), 1 / 4, np.random.default_rng(3))[..., 0].astype(int)
    for row in range(0, 12, 3):
        for column in range(0, 12, 3):
            cell = laid[row : row + 3, column : column + 3]
            corner = divmod(int(cell[0, 0]), 12)
            assert corner[1] <= 3
            assert np.array_equal(cell, levels[corner[0] : corner[0] + 3, corner[1] : corner[1] + 3, 0])


def test_a_conflict_has_the_outline_of_one_and_the_levels_of_the_other() -> None:
    drawn = [striped(left_half(), 100), striped(~left_half(), 200)]
    streams = [np.random.default_rng(i) for i in range(2)]
    first, second = conflicts(drawn, np.array([1, 0]), streams, 1 / 6, WHITE)
    assert {*np.unique(first[left_half()]).tolist()} == {200, 201}
    assert (first[~left_half()] == 255).all()
    assert {*np.unique(second[~left_half()]).tolist()} == {100, 101}
    assert (second[left_half()] == 255).all()


def test_a_texture_of_another_size_is_brought_to_the_shape() -> None:
    small = Drawing(np.full((5, 8, 3), 60, np.uint8), np.ones((5, 8), bool))
    found = conflicts([striped(left_half(), 100), small], np.array([1, 0]), [np.random.default_rng(0)] * 2, 0.2, WHITE)
    assert [image.shape for image in found] == [(12, 12, 3), (5, 8, 3)]
    assert (found[0][left_half()] == 60).all()


def test_a_silhouette_shows_the_outline_alone() -> None:
    mask = left_half()
    image = silhouette(striped(mask, 100), WHITE)
    assert (image[mask] == 0).all()
    assert (image[~mask] == 255).all()
    assert np.array_equal(fill(np.ones((2, 2), bool), 9, WHITE), np.full((2, 2, 3), 9))


def test_the_model_sees_unchanged_drawings_as_it_sees_the_images() -> None:
    images = choose_images(load_images("mini:emoji/noto"), RunSettings(n=6)).with_masks()
    model = load_model("mini:supervised")
    drawn = drawings(images)
    assert (preprocess_images(model, [drawing.levels_hwc for drawing in drawn]) == images.pixels(model)).all()
    assert drawings(images) is drawn


def test_an_empty_mask_is_refused(tmp_path) -> None:  # type: ignore[no-untyped-def]
    for part, image in (("images", Image.new("RGB", (8, 8))), ("masks", Image.new("L", (8, 8)))):
        (tmp_path / part).mkdir()
        for name in ("a", "b"):
            image.save(tmp_path / part / f"{name}.png")
    images = choose_images(load_images(f"folder:{tmp_path / 'images'}"), RunSettings(masks=str(tmp_path / "masks")))
    with pytest.raises(ProbeError, match=r"the mask of 'a.png' is empty"):
        drawings(images)
