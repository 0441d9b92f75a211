"""Preprocessing equals that of the library a model comes from."""

import numpy as np
import open_clip
import pytest
import timm
import torch
import torchvision
import torchvision.transforms.functional as transforms
from PIL import Image
from timm.data import create_transform, resolve_data_config

from conceptprobe.models import load_model
from conceptprobe.models import open_clip as open_clip_family
from conceptprobe.models import timm as timm_family
from conceptprobe.models.preprocessing import Preprocessing


@pytest.fixture(params=[(300, 200), (123, 457), (40, 40)], ids=str)
def image(request):
    columns, rows = request.param
    noise = np.random.default_rng(0).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((columns, rows), Image.Resampling.BILINEAR)


def normalised(pixels, preprocessing):
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return (pixels - mean) / std


@pytest.mark.parametrize(
    "overlay",
    [
        {},
        {"crop_pct": 1.0, "interpolation": "bilinear"},
        {"crop_mode": "squash", "crop_pct": 0.9},
        {"crop_mode": "border", "crop_pct": 1.0},
        {"input_size": (3, 96, 64), "crop_pct": 0.9, "interpolation": "bicubic"},
    ],
    ids=str,
)
def test_timm(overlay, image):
    module = timm.create_model("resnet18", pretrained_cfg_overlay=overlay)
    preprocessing = timm_family._preprocessing(module)
    expected = create_transform(**resolve_data_config(model=module), is_training=False)(image)
    assert torch.allclose(normalised(preprocessing(image), preprocessing), expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_open_clip(mode, image):
    module = open_clip.create_model("RN50", force_preprocess_cfg={"resize_mode": mode})
    preprocessing = open_clip_family._preprocessing(module)
    config = open_clip.transform.PreprocessCfg(**module.visual.preprocess_cfg)
    expected = open_clip.transform.image_transform_v2(config, is_train=False)(image)
    assert torch.allclose(normalised(preprocessing(image), preprocessing), expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "vit_b_32"])
def test_torchvision(name, image):
    model = load_model(f"torchvision:{name}@random", "cpu")
    expected = torchvision.models.get_model_weights(name).DEFAULT.transforms()(image)
    assert torch.allclose(normalised(model.preprocess(image), model.preprocess), expected, atol=1e-6)


def test_pixels_are_in_the_unit_interval(tiny, image):
    pixels = tiny.preprocess(image)
    assert pixels.dtype == torch.float32
    assert pixels.shape == (3, 48, 48)
    assert pixels.min() >= 0
    assert pixels.max() <= 1


def test_floats_are_those_of_torchvision_to_the_bit() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    preprocess = Preprocessing(size=(16, 16), resize=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
    assert torch.equal(preprocess(Image.fromarray(levels)), transforms.to_tensor(levels))


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize(
    ("size", "resize"), [((30, 20), (30, 20)), ((20, 20), (20, 20)), ((20, 20), (24, 24))], ids=str
)
def test_an_image_of_the_models_size_is_taken_as_it_is_unless_its_border_is_cut(mode, size, resize) -> None:
    preprocess = Preprocessing(size, resize, (0.5,) * 3, (0.5,) * 3, mode)
    levels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    pixels = preprocess(Image.fromarray(levels))
    assert pixels.shape == (3, *size)
    same = torch.equal(pixels, transforms.to_tensor(levels))
    assert same == (size == resize)


def test_a_very_long_image_is_cut_to_its_middle_before_it_is_scaled() -> None:
    preprocess = Preprocessing(size=(24, 24), resize=(30, 30), mean=(0.5,) * 3, std=(0.5,) * 3)
    line = np.zeros((60_000, 1, 3), np.uint8)
    line[29_990:30_010] = 200
    middle = preprocess(Image.fromarray(line[29_992:30_008]))
    torch.testing.assert_close(preprocess(Image.fromarray(line)), middle)
    wide = np.random.default_rng(0).integers(0, 256, (10, 160, 3), dtype=np.uint8)  # 16:1 is taken as it is
    expected = transforms.resize(Image.fromarray(wide), [30], torchvision.transforms.InterpolationMode.BICUBIC)
    expected = transforms.to_tensor(transforms.center_crop(expected, [24, 24]))
    torch.testing.assert_close(preprocess(Image.fromarray(wide)), expected, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(1, 900), (900, 1)])
def test_a_line_keeps_a_pixel_where_its_longer_side_must_fit(shape: tuple[int, int]) -> None:
    preprocess = Preprocessing((24, 24), (24, 24), (0.5,) * 3, (0.5,) * 3, "longest", fill=(0, 0, 0))
    pixels = preprocess(Image.fromarray(np.full((*shape, 3), 255, np.uint8)))
    assert pixels.shape == (3, 24, 24)
    assert pixels.sum() == 3 * 24


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(24, 24), (30, 20)], ids=str)
def test_fast_differs_by_a_grey_level_here_and_there(mode, interpolation, size, image):
    resize = (size[0] + 8, size[1] + 4) if size[0] != size[1] else (30, 30)
    preprocess = Preprocessing(size, resize, (0.5,) * 3, (0.5,) * 3, mode, interpolation, fill=(9, 99, 199))
    pixels = preprocess.fast(image)
    assert pixels.dtype == torch.uint8
    assert pixels.shape == (3, *size)
    difference = (pixels - preprocess(image) * 255).abs()  # both round between their two passes
    assert difference.max() < 2.01
    assert difference.mean() < 0.2
    if preprocess.scales_tensors:
        assert torch.equal(preprocess.fast(transforms.pil_to_tensor(image)), pixels)


def test_fast_cuts_a_very_long_image_too():
    preprocess = Preprocessing(size=(24, 24), resize=(30, 30), mean=(0.5,) * 3, std=(0.5,) * 3)
    line = np.random.default_rng(0).integers(0, 256, (60_000, 1, 3), dtype=np.uint8)
    assert (preprocess.fast(Image.fromarray(line)) - preprocess(Image.fromarray(line)) * 255).abs().max() < 2.01
