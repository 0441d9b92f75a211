"""A folder that timm saved for the hub is the model that timm makes of it, to the bit."""

import json

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config

from conceptprobe.models import ModelError, SpecError, WeightsError, load_model

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 3}


@pytest.fixture
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8))


def write(path, name, model_args, pretrained_cfg=None, **extra):
    """A folder with random weights as timm's `save_for_hf` lays it out."""
    path.mkdir(exist_ok=True)
    torch.manual_seed(1)
    module = timm.create_model(name, **model_args)
    for parameter in module.parameters():  # gains and scales that are 1 or 0 would hide a difference
        parameter.data += 0.02 * torch.randn_like(parameter)
    cfg = {"input_size": [3, 32, 32], "mean": [0.4] * 3, "std": [0.3] * 3, "crop_pct": 0.9, "crop_mode": "center"}
    cfg |= {"interpolation": "bilinear", "num_classes": module.num_classes, **(pretrained_cfg or {})}
    config = {"architecture": name, "num_classes": module.num_classes, "model_args": model_args, "pretrained_cfg": cfg}
    (path / "config.json").write_text(json.dumps({**config, **extra}))
    safetensors.torch.save_file(module.state_dict(), path / "model.safetensors")
    return path


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("vit_tiny_patch16_224", {**VIT, "init_values": 0.1, "num_classes": 5}),
        ("vit_tiny_patch16_224", {**VIT, "reg_tokens": 4, "num_classes": 5}),
        ("vit_tiny_patch16_224", {**VIT, "global_pool": "avg", "fc_norm": False, "num_classes": 5}),
        ("vit_tiny_patch16_224", {**VIT, "class_token": False, "global_pool": "avg", "num_classes": 5}),
        ("vit_tiny_patch16_224", {**VIT, "act_layer": "relu", "num_classes": 5}),
        ("resnet18", {"output_stride": 16, "num_classes": 5}),
        ("resnet18", {"act_layer": "silu", "num_classes": 5}),
    ],
    ids=str,
)
def test_a_folder_is_built_from_its_config(name, arguments, tmp_path, image):
    folder = write(tmp_path / "hub", name, arguments)
    reference = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    model = load_model(f"timm:{name}@{folder}", "cpu")
    transform = create_transform(**resolve_data_config(model=reference), is_training=False)
    with torch.no_grad():
        expected = reference(transform(image)[None])
        assert torch.allclose(model.logits(model.preprocess(image)[None]), expected, rtol=0, atol=1e-6)
        pixels = torch.rand(2, 3, 32, 32)
        mean, std = (torch.tensor(model.preprocessing[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
        assert torch.equal(model.logits(pixels), reference((pixels - mean) / std))
    if name.startswith("vit"):
        assert model.resolve("final")[0].prefix == reference.num_prefix_tokens


def test_the_config_tells_models_with_the_same_weights_apart(tmp_path):
    relu, gelu = (
        write(tmp_path / layer, "vit_tiny_patch16_224", {**VIT, "act_layer": layer, "num_classes": 5})
        for layer in ("relu", "gelu")
    )
    prints = {load_model(f"timm:vit_tiny_patch16_224@{folder}", "cpu").fingerprint for folder in (relu, gelu)}
    assert len(prints) == 2


def test_a_folder_of_another_architecture_or_tag_is_refused(tmp_path):
    folder = write(tmp_path / "hub", "resnet18", {"num_classes": 5}, {"tag": "a1_in1k"})
    with pytest.raises(SpecError, match=r"holds resnet18; write timm:resnet18@"):
        load_model(f"timm:resnet34@{folder}", "cpu")
    with pytest.raises(SpecError, match=r"holds resnet18\.a1_in1k; write timm:resnet18\.a1_in1k@"):
        load_model(f"timm:resnet18.tv_in1k@{folder}", "cpu")
    assert load_model(f"timm:resnet18.a1_in1k@{folder}", "cpu").preprocessing["mean"] == [0.4] * 3


def test_class_names_are_the_labels_of_the_config(tmp_path):
    labels = ["cat", "dog", "owl"]
    folder = write(tmp_path / "hub", "resnet18", {"num_classes": 3}, label_names=labels)
    assert load_model(f"timm:resnet18@{folder}", "cpu").class_names == ("cat", "dog", "owl")
    described = write(
        tmp_path / "described",
        "resnet18",
        {"num_classes": 2},
        label_names=["a", "b"],
        label_descriptions={"a": "A", "b": "B"},
    )
    assert load_model(f"timm:resnet18@{described}", "cpu").class_names == ("A", "B")
    short = write(tmp_path / "short", "resnet18", {"num_classes": 4}, label_names=labels)
    assert not load_model(f"timm:resnet18@{short}", "cpu").has_class_names


def test_a_file_with_a_thousand_classes_is_not_taken_for_imagenet(tmp_path):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(timm.create_model("resnet18").state_dict(), path)
    assert not load_model(f"timm:resnet18@{path}", "cpu").has_class_names
    assert load_model(f"timm:resnet18.a1_in1k@{path}", "cpu").class_names[0].startswith("tench")


def test_a_wrong_config_is_a_clear_error(tmp_path):
    folder = write(tmp_path / "hub", "resnet18", {"num_classes": 5})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_args": {"width_of_head": 3}}))
    with pytest.raises(ModelError, match=r"timm cannot build it .*width_of_head"):
        load_model(f"timm:resnet18@{folder}", "cpu")
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json is not JSON"):
        load_model(f"timm:resnet18@{folder}", "cpu")
