"""The embedded models, with the weights that the package ships."""

import pytest
import torch

from conceptprobe.mini.architecture import data_path
from conceptprobe.models import ModelError, WeightsError, load_model


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip", "supervised", "distilled"])
def test_the_twins_have_the_same_layers_and_other_weights(name):
    model = load_model(f"mini:{name}", "cpu")
    start = load_model("mini:distilled@random", "cpu")
    assert model.layers[:-1] == start.layers[:-1]
    assert model.fingerprint != load_model(f"mini:{name}@random", "cpu").fingerprint
    assert model.dtype == torch.float32
    assert model.image_size == (48, 48)
    (layer,) = model.resolve("blocks[-1].mlp.hidden")
    assert (layer.width, layer.kind, layer.prefix, layer.cls, layer.grid) == (768, "tokens", 1, 0, (6, 6))
    value = model.capture(torch.rand(37, 3, 48, 48), layer.name)[layer.name]
    assert value.shape == (37, 37, 768)
    assert value.isfinite().all()


def test_mini_clip_reads_texts():
    model = load_model("mini:clip", "cpu")
    with torch.no_grad():
        skull, again, guitar = model.encode_text(["skull", "skull", "guitar"])
    assert torch.allclose(skull, again)
    assert skull @ guitar < 0.99
    with pytest.raises(ModelError, match="compare encode_image with encode_text"):
        model.logits(torch.rand(1, 3, 48, 48))


def test_mini_supervised_names_its_classes():
    model = load_model("mini:supervised", "cpu")
    with torch.no_grad():
        logits = model.logits(torch.rand(2, 3, 48, 48))
    assert logits.shape == (2, len(model.class_names))
    assert "skull" in model.class_names
    assert len(set(model.class_names)) == len(model.class_names)


def test_the_weights_of_one_twin_do_not_fit_the_other():
    with pytest.raises(WeightsError, match=r"missing: .*text"):
        load_model(f"mini:clip@{data_path('supervised.safetensors')}", "cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec", ["mini:clip", "timm:vit_tiny_patch16_224@random", "open_clip:RN50@random", "torchvision:resnet18@random"]
)
def test_a_model_loads_whatever_the_default_device(spec: str) -> None:
    torch.set_default_device("meta")
    try:
        model = load_model(spec, device="cpu")
    finally:
        torch.set_default_device(None)
    assert {weight.device.type for weight in model.module.parameters()} == {"cpu"}
    assert {buffer.device.type for buffer in model.module.buffers()} <= {"cpu"}
    assert model.fingerprint == load_model(spec, device="cpu").fingerprint
