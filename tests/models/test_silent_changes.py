"""What would change a model, or fail to, without a word is refused or works."""

import copy
import threading

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from conceptprobe.models import ModelError, VisionModel, WeightsError, load_model

HALF = {"image_size": 8, "mean": (0.5,) * 3, "std": (0.5,) * 3}


def test_an_intervention_on_a_compiled_module_is_refused():
    compiled = torch.compile(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Flatten(), nn.Linear(192, 2)), backend="eager")
    model = VisionModel.wrap(compiled, layers=["_orig_mod.0"], class_names="ab", **HALF)
    pixels = torch.rand(2, 3, 8, 8)
    plain = model.logits(pixels)
    message = r"the intervention on module:_orig_mod\.0 did not run in a forward pass.*before torch\.compile"
    with pytest.raises(ModelError, match=message), model.intervene({"module:_orig_mod.0": torch.zeros_like}):
        model.logits(pixels)
    assert torch.equal(model.logits(pixels), plain)


def test_an_intervention_in_a_skipped_block_is_refused(tiny):
    pixels = torch.rand(1, 3, 48, 48)
    tiny.module.blocks[1] = nn.Identity()
    with tiny.intervene({"blocks.1.resid": torch.zeros_like}):
        tiny.capture(pixels, "blocks.0.resid")  # it stops before the block
        with pytest.raises(ModelError, match=r"the intervention on blocks\.1\.resid did not run"):
            tiny.capture(pixels, "blocks.3.resid")


def test_class_names_are_as_many_as_outputs():
    module = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    with pytest.raises(ModelError, match="has 3 outputs, but class_names has 2 names"):
        VisionModel.wrap(module, class_names=["a", "b"], **HALF)
    assert VisionModel.wrap(module, class_names=["a", "b", "c"], **HALF).class_names == ("a", "b", "c")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"std": (0.5, 0.0, 0.5)}, r"std=\(0\.5, 0\.0, 0\.5\) must be three numbers above 0"),
        ({"std": (58.4, 57.1, 57.4)}, "must be three numbers above 0 and below 10"),
        ({"mean": (123.7, 116.3, 103.5)}, "must be three numbers between 0 and 1"),
        ({"mean": (0.5,)}, "must be three numbers"),
        ({"mean": (float("nan"),) * 3}, "must be three numbers"),
    ],
)
def test_normalisation_is_for_pixels_in_the_unit_interval(change, message):
    with pytest.raises(ModelError, match=message):
        VisionModel.wrap(nn.Conv2d(3, 2, 1), **{**HALF, **change})


def test_weights_that_are_nan_are_refused(tmp_path):
    state = timm.create_model("resnet18").state_dict()
    state["layer1.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    safetensors.torch.save_file(state, tmp_path / "last.safetensors")
    with pytest.raises(WeightsError, match=r"holds NaN in layer1\.0\.conv1\.weight"):
        load_model(f"timm:resnet18@{tmp_path / 'last.safetensors'}", "cpu")


def test_a_copy_has_its_own_text_tower():
    model = load_model("mini:clip", "cpu")
    other = copy.deepcopy(model)
    before = model.encode_text(["skull"])
    for parameter in other.module.parameters():
        parameter.data.zero_()
    assert torch.equal(model.encode_text(["skull"]), before)
    assert not other.encode_text(["skull"], normalize=False).any()


@pytest.mark.parametrize("spec", ["mini:distilled@random", "open_clip:ViT-S-32-alt@random"])
def test_threads_capture_attention_at_once(spec):
    """The first thread waits within its context until the second has left its own."""
    model = load_model(spec, "cpu")
    pixels = torch.rand(1, 3, *model.image_size)
    layer = "blocks.1.attn.probs"
    expected = model.capture(pixels, layer)[layer]
    attention = [module for module in model.module.modules() if hasattr(module, "fused_attn")]
    fused = [module.fused_attn for module in attention]
    entered, left = threading.Event(), threading.Event()
    seen = []

    def first():
        with model.visiting(layer) as visit:
            entered.set()
            left.wait(60)
            visit(pixels, lambda name, value: seen.append(value.clone()))

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait(60)
    with model.visiting(layer):
        pass
    left.set()
    thread.join()
    assert torch.equal(seen[0], expected)
    assert [module.fused_attn for module in attention] == fused
    assert all("forward" not in vars(module) for module in model.module.modules())
