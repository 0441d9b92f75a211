"""Another input size in the spec."""

from pathlib import Path

import open_clip
import platformdirs
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from torch.nn.functional import interpolate

from conceptprobe.models import SpecError, load_model
from conceptprobe.models.spec import ModelSpec

DINOV2 = "vit_small_patch14_dinov2.lvd142m"


@pytest.fixture(scope="module")
def pixels():
    return torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(3))


def normalised(model, pixels):
    mean, std = (torch.tensor(model.preprocessing[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    return (pixels - mean) / std


@pytest.mark.parametrize(
    ("text", "weights", "pixels"),
    [
        ("mini:clip#96", None, 96),
        ("timm:resnet50@random#64", "random", 64),
        ("timm:resnet50@/a#1/b.pt#224", "/a#1/b.pt", 224),
        ("timm:resnet50@/a/b#c.pt", "/a/b#c.pt", None),
        ("timm:resnet50@random", "random", None),
    ],
)
def test_the_size_is_what_comes_last(text, weights, pixels):
    spec = ModelSpec.parse(text)
    assert (spec.text, spec.weights, spec.pixels) == (text, weights, pixels)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mini:clip#", "such as #224"),
        ("mini:clip#0", "such as #224"),
        ("mini:clip#50", "50 pixels are not a multiple of the patch size, 8; write #48 or #56"),
        ("mini:supervised#3", "write #8"),
        ("open_clip:ViT-B-32@random#65", "write #64 or #96"),
        ("torchvision:vit_b_16@random#65", "write #64 or #80"),
        ("timm:mixer_s32_224@random#96", "has one input size only; leave out #96"),
        ("timm:xcit_nano_12_p16_224@random#96", "has one input size only"),
        ("open_clip:RN50@random#96", "has one input size only"),
        ("torchvision:vgg11@random#8", "torchvision:vgg11 cannot work at 8 pixels"),
    ],
)
def test_a_size_that_does_not_do_is_refused(text, says):
    with pytest.raises(SpecError, match=says):
        load_model(text, "cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "grid"),
    [
        ("mini:clip", (12, 12)),
        ("mini:supervised", (12, 12)),
        ("timm:vit_tiny_patch16_224@random", (6, 6)),
        ("torchvision:vit_b_16@random", (6, 6)),
        ("open_clip:ViT-B-32@random", (3, 3)),
    ],
)
def test_a_transformer_has_the_grid_of_its_size(spec, grid, pixels):
    model = load_model(f"{spec}#96", "cpu")
    assert model.spec == f"{spec}#96"
    assert model.image_size == (96, 96)
    assert {layer.grid for layer in model.layers if layer.kind == "tokens"} == {grid}
    tokens = model.capture(pixels, ["blocks.1.resid"])["blocks.1.resid"].shape[1]
    assert tokens == grid[0] * grid[1] + 1


def test_the_weights_are_those_of_timm_at_that_size(pixels, tmp_path):
    name = "vit_tiny_patch16_224"
    own = timm.create_model(name).eval()
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(own.state_dict(), path)
    other = timm.create_model(name, img_size=96, checkpoint_path="").eval()
    other.load_state_dict(timm.models.vision_transformer.checkpoint_filter_fn(own.state_dict(), other))
    model = load_model(f"timm:{name}@{path}#96", "cpu")
    with torch.no_grad():
        assert torch.allclose(model.logits(pixels), other(normalised(model, pixels)), atol=1e-5)


@pytest.mark.slow
def test_the_weights_are_those_of_open_clip_at_that_size(pixels, tmp_path):
    path = tmp_path / "weights.pt"
    torch.save(open_clip.create_model("ViT-S-32-alt").state_dict(), path)
    other = open_clip.create_model("ViT-S-32-alt", str(path), force_image_size=96).eval()
    model = load_model(f"open_clip:ViT-S-32-alt@{path}#96", "cpu")
    with torch.no_grad():
        expected = other.encode_image(normalised(model, pixels))
    assert torch.allclose(model.encode_image(pixels, normalize=False), expected, atol=1e-5)


@pytest.mark.slow
def test_positions_of_torchvision_are_resampled():
    own, other = (load_model(f"torchvision:vit_b_16@random{size}", "cpu").module for size in ("", "#96"))
    grid = own.encoder.pos_embedding[:, 1:].transpose(1, 2).reshape(1, -1, 14, 14)
    expected = interpolate(grid, size=6, mode="bicubic", align_corners=True).flatten(2).transpose(1, 2)
    assert torch.allclose(other.encoder.pos_embedding[:, 1:], expected, atol=1e-6)
    assert torch.equal(other.encoder.pos_embedding[:, 0], own.encoder.pos_embedding[:, 0])


def test_a_file_may_be_of_that_size_already(tmp_path):
    path = tmp_path / "weights.safetensors"
    own = timm.create_model("vit_tiny_patch16_224", img_size=96)
    safetensors.torch.save_file(own.state_dict(), path)
    model = load_model(f"timm:vit_tiny_patch16_224@{path}#96", "cpu")
    assert torch.equal(model.module.pos_embed, own.pos_embed)


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["timm:resnet18@random", "torchvision:resnet18@random"])
def test_a_cnn_keeps_its_weights_and_is_shown_other_images(spec, pixels):
    own, other = load_model(spec, "cpu"), load_model(f"{spec}#96", "cpu")
    for key, value in own.module.state_dict().items():
        assert torch.equal(value, other.module.state_dict()[key])
    assert other.image_size == (96, 96)
    assert other.preprocess(torchvision.transforms.functional.to_pil_image(torch.zeros(3, 80, 120))).shape == (
        3,
        96,
        96,
    )
    with torch.no_grad():
        assert torch.equal(own.logits(pixels), other.logits(pixels))


def test_the_crop_takes_the_share_that_timm_takes():
    model = load_model("timm:resnet18@random#96", "cpu")
    assert model.preprocessing["resize"] == [int(96 / 0.95)] * 2


def test_the_own_size_asked_for_is_the_same_model_and_another_is_not():
    fingerprints = [load_model(f"mini:supervised{size}", "cpu").fingerprint for size in ("", "#48", "#96")]
    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


@pytest.mark.real
def test_dinov2_at_112_pixels():
    path = Path(platformdirs.user_cache_dir("conceptprobe")) / "vit_small_patch14_dinov2.safetensors"
    reference = timm.create_model(DINOV2, num_classes=0, img_size=112).eval()
    state = timm.models.vision_transformer.checkpoint_filter_fn(safetensors.torch.load_file(path), reference)
    reference.load_state_dict(state)
    model = load_model(f"timm:{DINOV2}@{path}#112", "cpu")
    pixels = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = reference.forward_features(normalised(model, pixels))
    assert torch.allclose(model.capture(pixels, ["final"])["final"], expected, atol=1e-4)
    assert model.layers[0].grid == (8, 8)
