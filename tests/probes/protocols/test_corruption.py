from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage

from conceptprobe.probes import ProbeError, run_probe
from conceptprobe.probes.framework.probe import rows_of
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.protocols.corruption import (
    ALEXNET_ERRORS,
    Corrupted,
    Corruption,
    ReadCorrupted,
    error_rows,
    find_corruptions,
)
from conceptprobe.probes.stimuli.corruptions import CORRUPTIONS, corrupt
from conceptprobe.probes.stimuli.corruptions.digital import jpeg_quality
from conceptprobe.probes.stimuli.corruptions.grids import disk, plasma, smooth, streak, stretch, zoom

NOISE = ("gaussian_noise", "shot_noise", "impulse_noise")


def picture(height: int, width: int) -> np.ndarray:
    """Smooth colours with an edge, all within 0.1 to 0.9."""
    row, column = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    image = np.stack([0.2 + 0.5 * row, 0.8 - 0.5 * column, 0.3 + 0.4 * row * column], -1)
    image[height // 4 : height // 2, width // 4 : width // 2] = (0.9, 0.1, 0.4)
    return image


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("name", CORRUPTIONS)
@pytest.mark.parametrize("size", [(48, 48), (96, 60), (240, 240)])
def test_each_corruption_gives_levels_of_the_same_size_and_changes_the_image(name: str, size: tuple[int, int]) -> None:
    image = picture(*size)
    for severity in (1, 5):
        changed = corrupt(image, name, severity, generator())
        assert (changed.shape, changed.dtype) == (image.shape, np.float32)
        levels = changed * 255
        assert np.abs(levels - levels.round()).max() < 1e-4
        assert 0 <= changed.min() <= changed.max() <= 1
        assert np.abs(changed - image).mean() > 1e-3


@pytest.mark.parametrize("name", sorted({*CORRUPTIONS} - {"elastic_transform", "snow", "frost", "fog"}))
def test_a_higher_severity_changes_an_image_more(name: str) -> None:
    """Of those left out the mean change is no measure: layers differ in mean, or one strength falls as one rises."""
    image = picture(64, 64)
    change = [np.abs(corrupt(image, name, severity, generator()) - image).mean() for severity in (1, 3, 5)]
    assert change[0] < change[1] < change[2]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_images_corruption_depends_on_its_own_stream(name: str) -> None:
    pixels = torch.from_numpy(np.stack([picture(48, 48)] * 3)).permute(0, 3, 1, 2).float()
    both = Corrupted(("a", "b", "c"), name, 4, 0)(pixels, np.arange(3))
    alone = Corrupted(("b",), name, 4, 0)(pixels[:1], np.arange(1))
    assert both[1].equal(alone[0])
    fixed = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    assert both[0].equal(both[2]) == (name in fixed)


def test_noise_has_the_strengths_of_the_public_code_at_224_pixels() -> None:
    grey = np.full((224, 224, 3), 0.5)
    assert (corrupt(grey, "gaussian_noise", 2, generator()) - 0.5).std() == pytest.approx(0.12, rel=0.01)
    shot = corrupt(grey, "shot_noise", 1, generator())
    assert (shot.mean(), shot.std()) == (pytest.approx(0.5, abs=2e-3), pytest.approx((0.5 / 60) ** 0.5, rel=0.01))
    impulse = corrupt(grey, "impulse_noise", 5, generator())
    assert [(impulse == value).mean() for value in (0, 1)] == pytest.approx([0.135, 0.135], abs=3e-3)


def test_noise_is_weaker_by_the_square_root_of_a_smaller_size() -> None:
    grey = np.full((56, 56, 3), 0.5)
    assert (corrupt(grey, "gaussian_noise", 2, generator()) - 0.5).std() == pytest.approx(0.06, rel=0.03)


def test_brightness_raises_the_value_and_keeps_hue_and_saturation() -> None:
    image = np.full((32, 32, 3), (0.2, 0.1, 0.4))
    image[:16] = 0
    changed = corrupt(image, "brightness", 2, generator())
    np.testing.assert_allclose(changed[20, 20], np.array([0.2, 0.1, 0.4]) * 0.6 / 0.4, atol=1 / 255)
    np.testing.assert_allclose(changed[0, 0], 0.2, atol=1 / 255)


def test_contrast_is_drawn_towards_each_channels_mean() -> None:
    image = picture(40, 40)
    expected = image.mean((0, 1)) + 0.2 * (image - image.mean((0, 1)))
    np.testing.assert_allclose(corrupt(image, "contrast", 3, generator()), expected, atol=0.5 / 255 + 1e-6)


def test_fog_and_brightest_value_are_those_of_the_formula() -> None:
    white = np.ones((64, 64, 3))
    changed = corrupt(white, "fog", 1, generator())
    assert changed.min() >= 1 / 2.5 - 1 / 255  # (1 + 1.5 m) / (1 + 1.5) for m from 0 to 1
    assert np.ptp(changed) > 0.3


def test_jpeg_quality_is_the_public_codes_at_224_and_near_theirs_at_64_and_299() -> None:
    for side, theirs, apart in (
        (224, (25, 18, 15, 10, 7), 0),
        (64, (65, 58, 50, 40, 25), 7),
        (299, (23, 16, 13, 8, 5), 5),
    ):
        ours = [jpeg_quality(severity, side / 224) for severity in (1, 2, 3, 4, 5)]
        assert np.abs(np.subtract(ours, theirs)).max() <= apart


def test_pixels_become_cells() -> None:
    changed = corrupt(generator().random((224, 224, 3)), "pixelate", 2, generator())
    cells = changed.reshape(112, 2, 112, 2, 3)
    assert (cells == cells[:, :1, :, :1]).all()


@settings(max_examples=30, deadline=None)
@given(st.floats(0.3, 12), st.floats(0.3, 10), st.floats(-180, 180))
def test_kernels_keep_brightness_and_length(length: float, sigma: float, degrees: float) -> None:
    for kernel in (disk(length), streak(length, sigma, degrees)):
        assert kernel.sum() == pytest.approx(1)
        assert kernel.min() >= 0
    kernel = streak(length, 1e3, degrees)  # does not fade: the mean is half way along
    half = len(kernel) // 2
    row, column = np.indices(kernel.shape) - half
    towards = np.radians(degrees)
    mean = [(kernel * row).sum(), (kernel * column).sum()]
    np.testing.assert_allclose(mean, length / 2 * np.array([np.sin(towards), np.cos(towards)]), atol=1e-3 * length)


def test_a_disk_has_the_spread_of_its_radius() -> None:
    row = np.arange(17) - 8
    assert (disk(8.0).sum(1) * row**2).sum() == pytest.approx(16 + 1 / 12, rel=3e-3)  # r^2 / 4, and that of a pixel


def test_smoothing_is_scipys_filter() -> None:
    field = generator().random((40, 50))
    np.testing.assert_allclose(smooth(field, 2.5), ndimage.gaussian_filter(field, 2.5, truncate=8), atol=1e-6)
    assert np.ptp(smooth(field, 500.0)) < 1e-9


def test_a_zoom_magnifies_about_the_centre() -> None:
    ramp = np.repeat(np.linspace(-1, 1, 33)[:, None, None], 33, 1).repeat(3, 2)
    np.testing.assert_allclose(zoom(ramp, 1.25), ramp / 1.25, atol=1e-12)
    np.testing.assert_allclose(stretch(20, 7, 3.0).sum(1), 1)


def test_plasma_fills_its_range_and_is_rougher_for_a_smaller_decay() -> None:
    fine, coarse = plasma(64, 1.4, generator()), plasma(64, 3.0, generator())
    for field in (fine, coarse):
        assert (field.min(), field.max()) == (0, 1)
    assert np.abs(np.diff(fine, axis=0)).mean() > 2 * np.abs(np.diff(coarse, axis=0)).mean()


def answers(wrong: dict[str, float], severities: tuple[int, ...] = (1, 2, 3, 4, 5)) -> pd.DataFrame:
    """Two hundred images of which a share is wrong at every severity."""
    ids = tuple(f"i{i}" for i in range(200))
    return pd.concat(
        rows_of("correct", Condition(name, s), ids, np.arange(200) >= round(200 * share))
        for name, share in wrong.items()
        for s in severities
    )


def test_alexnets_own_errors_give_corruption_errors_of_one() -> None:
    assert set(ALEXNET_ERRORS) == set(CORRUPTIONS)
    found = error_rows(answers(dict(ALEXNET_ERRORS)), "C").groupby(["metric", "series"])["value"].mean()
    assert found.to_dict() == pytest.approx(
        {("CE, C", name): 1.0 for name in CORRUPTIONS} | {("mCE, C", "all"): 1.0}, abs=0.005
    )


def test_corruption_errors_are_means_of_the_images_own_and_their_kinds_are_kept_apart() -> None:
    rows = error_rows(answers(dict.fromkeys(CORRUPTIONS, 0.25)), "C-like")
    assert set(rows["metric"]) == {"CE, C-like", "mCE, C-like"}
    ce = rows[rows["metric"] == "CE, C-like"].groupby("series")["value"].mean()
    assert ce.to_dict() == pytest.approx({name: 0.25 / error for name, error in ALEXNET_ERRORS.items()})
    mce = rows[rows["metric"] == "mCE, C-like"]["value"].mean()
    assert mce == pytest.approx(np.mean([0.25 / error for error in ALEXNET_ERRORS.values()]))
    some = error_rows(answers({"fog": 0.5, "snow": 0.5}), "ImageNet-C")
    assert set(some["metric"]) == {"CE, ImageNet-C"}
    assert error_rows(answers({"fog": 0.5}, severities=(3, 5)), "C-like").empty


def test_a_folder_is_read_whole_and_named_for_what_it_is(tmp_path: Path) -> None:
    ids = ("emojione/1F355", "emojione/1F480")
    for name, level in (("blur/zoom_blur", 40), ("noise/shot_noise", 80)):
        for id_ in ids:
            path = tmp_path / name / "3" / id_
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (30, 20), (level, 0, 255)).save(path, "PNG")
    found = find_corruptions(tmp_path, ("shot_noise", "zoom_blur"))
    assert found["shot_noise"] == tmp_path / "noise" / "shot_noise"
    read = ReadCorrupted(ids, found["shot_noise"] / "3", (48, 48))(torch.zeros(2, 3, 48, 48), np.arange(2))
    assert read.shape == (2, 3, 48, 48)
    assert read[1, :, 5, 5].tolist() == pytest.approx([80 / 255, 0, 1])
    with pytest.raises(ProbeError, match="no folder 'fog'"):
        find_corruptions(tmp_path, ("fog",))
    with pytest.raises(ProbeError, match="1 of 2 images are not in"):
        ReadCorrupted(("emojione/1F355", "b"), found["shot_noise"] / "3", (48, 48))
    assert (Corruption().kind, Corruption(folder=str(tmp_path)).kind) == ("C-like", "ImageNet-C")


def test_tiny_or_grey_images_are_refused() -> None:
    for shape in ((16, 48, 3), (48, 48)):
        with pytest.raises(ProbeError, match="at least 32 pixels"):
            corrupt(np.zeros(shape), "fog", 1, generator())


@pytest.mark.slow
def test_the_probe_says_that_its_images_are_only_like_those_of_imagenet_c() -> None:
    result = run_probe(
        "corruption", "mini:supervised", "mini:emoji", n=8, corruptions=("contrast",), severities=(1, 2, 3, 4, 5)
    )
    assert "C-like" in result.caveats[0]
    curves = result.curves.set_index(["metric", "series", "x"])["value"]
    wrong = 1 - np.mean([curves["correct", "contrast", severity] for severity in (1, 2, 3, 4, 5)])
    assert curves["CE, C-like", "contrast", 0] == pytest.approx(wrong / ALEXNET_ERRORS["contrast"])
