"""The class scores as a layer."""

import pytest
import torch
from torch import nn

from conceptprobe.models import UnknownLayerError, VisionModel, load_model

SPECS = ["mini:supervised", "timm:resnet18@random#32", "torchvision:resnet18@random#32"]


@pytest.mark.parametrize("spec", SPECS)
def test_logits_are_a_vector_as_wide_as_there_are_classes(spec):
    model = load_model(spec, "cpu")
    before = model.layers
    pixels = torch.rand(2, 3, *model.image_size, generator=torch.Generator().manual_seed(0))
    (layer,) = model.resolve("logits")
    assert (layer.kind, layer.width) == ("vector", len(model.class_names))
    with torch.no_grad():
        values = model.capture(pixels, [model.layers[0].name, "logits"])
        assert torch.equal(values["logits"], model.logits(pixels))
        with model.intervene({"logits": torch.neg}):
            assert torch.equal(model.logits(pixels), -values["logits"])
    assert list(values) == [model.layers[0].name, "logits"]
    assert model.layers == before
    assert "logits" not in {layer.name for layer in model.resolve("*")}


def test_a_derived_layer_may_stand_on_them():
    model = load_model("mini:supervised", "cpu")
    model.attach("pair", "logits", lambda x: x[:, :2], 2)
    pixels = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        values = model.capture(pixels, ["pair", "logits"])
    assert torch.equal(values["pair"], values["logits"][:, :2])


@pytest.mark.parametrize("spec", ["mini:clip", "mini:distilled"])
def test_a_model_without_classes_has_no_such_layer(spec):
    with pytest.raises(UnknownLayerError, match="no layer 'logits'"):
        load_model(spec, "cpu").resolve("logits")


def test_what_is_no_vector_is_no_logits():
    kwargs = {"image_size": 8, "mean": (0.0,) * 3, "std": (1.0,) * 3, "class_names": ["a", "b"]}
    model = VisionModel.wrap(nn.Conv2d(3, 2, 1), **kwargs)
    with pytest.raises(UnknownLayerError, match="does not return class scores"):
        model.resolve("logits")
    model = VisionModel.wrap(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), **kwargs)
    assert model.resolve("logits")[0].width == 2


def test_layers_are_found_out_whatever_the_default_device():
    model = load_model("mini:supervised", "cpu")
    torch.set_default_device("meta")
    try:
        assert model.resolve("logits")[0].width == len(model.class_names)
        assert model.resolve("module:blocks.0.norm1")[0].width == 192
    finally:
        torch.set_default_device(None)
