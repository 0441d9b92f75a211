"""Random weights, local files and directories, and pretrained ones where there is no network."""

import json
import warnings

import huggingface_hub.constants
import open_clip
import pytest
import safetensors.torch
import timm
import torch
import torchvision
from open_clip.transformer import QuickGELU
from torch import nn

from conceptprobe.models import ModelError, SpecError, WeightsError, list_models, load_model
from conceptprobe.models.checkpoints import soon_without_network


@pytest.fixture(scope="module")
def resnet_state():
    torch.manual_seed(1)
    return timm.create_model("resnet18").state_dict()


@pytest.fixture(scope="module")
def clip_module():
    """The smallest image tower that open_clip has a text tower for, with fresh weights."""
    torch.manual_seed(1)
    return open_clip.create_model("ViT-S-32-alt")


@pytest.mark.slow
def test_random_weights_are_always_the_same_and_leave_no_trace():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = load_model("timm:resnet18@random", "cpu")
    assert torch.equal(torch.rand(3), expected)
    torch.manual_seed(6)
    assert load_model("timm:resnet18@random", "cpu").fingerprint == first.fingerprint
    assert load_model("timm:resnet18.a1_in1k@random", "cpu").fingerprint != first.fingerprint  # another preprocessing


def test_timm_weights_from_a_file(tmp_path, resnet_state):
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(resnet_state, path)
    model = load_model(f"timm:resnet18@{path}", "cpu")
    assert torch.equal(model.module.layer3[0].conv1.weight, resnet_state["layer3.0.conv1.weight"])
    assert model.logits(torch.rand(1, 3, 64, 64)).shape == (1, 1000)


def test_a_training_scripts_wrappers_are_taken_off(tmp_path, resnet_state):
    path = tmp_path / "weights.pth"
    torch.save({"epoch": 3, "state_dict": {f"module.{key}": value for key, value in resnet_state.items()}}, path)
    model = load_model(f"timm:resnet18@{path}", "cpu")
    assert torch.equal(model.module.fc.bias, resnet_state["fc.bias"])


@pytest.mark.parametrize(
    ("sets", "taken"),
    [
        (("state_dict", "state_dict_ema"), "state_dict_ema"),
        (("model", "model_ema"), "model_ema"),
        (("state_dict_ema",), None),
    ],
)
def test_the_moving_average_is_taken_as_timm_takes_it(sets, taken, tmp_path):
    path = tmp_path / "last.pth"
    torch.save({name: timm.create_model("resnet18").state_dict() for name in sets}, path)
    reference = timm.create_model("resnet18", checkpoint_path=str(path)).eval()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = load_model(f"timm:resnet18@{path}", "cpu")
    told = [str(warning.message) for warning in caught if str(path) in str(warning.message)]
    assert told == ([f"{path} holds {taken} and {sets[0]}: {taken} is loaded"] if taken else [])
    pixels = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(model.preprocessing[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        assert torch.equal(model.logits(pixels), reference((pixels - mean) / std))


def test_the_averaged_model_of_torch_is_read(tmp_path):
    averaged = torch.optim.swa_utils.AveragedModel(torchvision.models.resnet18())
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": torchvision.models.resnet18().state_dict(), "model_ema": averaged.state_dict()}, path)
    with pytest.warns(UserWarning, match="holds model_ema and model: model_ema is loaded"):
        model = load_model(f"torchvision:resnet18@{path}", "cpu")
    assert torch.equal(model.module.fc.weight, averaged.module.fc.weight)


@pytest.mark.slow
def test_the_classifier_is_as_the_file_has_it(tmp_path, resnet_state):
    without = {key: value for key, value in resnet_state.items() if not key.startswith("fc.")}
    safetensors.torch.save_file(without, tmp_path / "none.safetensors")
    model = load_model(f"timm:resnet18@{tmp_path / 'none.safetensors'}", "cpu")
    with pytest.raises(ModelError, match="no classifier"):
        model.logits(torch.rand(1, 3, 64, 64))
    other = {**without, "fc.weight": torch.zeros(7, 512), "fc.bias": torch.arange(7.0)}
    safetensors.torch.save_file(other, tmp_path / "seven.safetensors")
    model = load_model(f"timm:resnet18@{tmp_path / 'seven.safetensors'}", "cpu")
    assert model.logits(torch.rand(1, 3, 64, 64)).tolist() == [[0, 1, 2, 3, 4, 5, 6]]
    with pytest.raises(ModelError, match="no class names"):
        _ = model.class_names


def test_a_directory_as_the_hub_lays_it_out(tmp_path, resnet_state):
    safetensors.torch.save_file(resnet_state, tmp_path / "model.safetensors")
    torch.save(resnet_state, tmp_path / "optimizer.bin")
    (tmp_path / "config.json").write_text(json.dumps({"pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "crop_pct": 1.0}}))
    model = load_model(f"timm:resnet18@{tmp_path}", "cpu")
    assert model.preprocessing["mean"] == [0.5, 0.5, 0.5]
    assert model.preprocessing["resize"] == [224, 224]


@pytest.mark.slow
def test_open_clip_weights_from_a_file_and_from_a_directory(tmp_path, clip_module):
    state = clip_module.state_dict()
    torch.save(state, tmp_path / "epoch_3.pt")
    model = load_model(f"open_clip:ViT-S-32-alt@{tmp_path / 'epoch_3.pt'}", "cpu")
    assert torch.equal(model.module.visual.conv1.weight, state["visual.conv1.weight"])
    pixels = torch.rand(2, 3, 224, 224)
    mean, std = (torch.tensor(model.preprocessing[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    tokens = open_clip.get_tokenizer("ViT-S-32-alt")(["a skull", "a guitar"])
    with torch.no_grad():
        clip_module.eval()
        expected = clip_module.encode_image((pixels - mean) / std, normalize=True)
        assert torch.allclose(model.encode_image(pixels), expected, atol=1e-6)
        expected = clip_module.encode_text(tokens, normalize=True)
        assert torch.allclose(model.encode_text(["a skull", "a guitar"]), expected, atol=1e-6)

    folder = tmp_path / "hub"
    folder.mkdir()
    safetensors.torch.save_file(state, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"preprocess_cfg": {"resize_mode": "squash"}}))
    again = load_model(f"open_clip:ViT-S-32-alt@{folder}", "cpu")
    assert again.preprocessing["mode"] == "squash"
    assert torch.equal(again.module.visual.proj, state["visual.proj"])


def test_torchvision_weights_from_a_file(tmp_path):
    state = torchvision.models.resnet18().state_dict()
    torch.save(state, tmp_path / "resnet.pth")
    model = load_model(f"torchvision:resnet18@{tmp_path / 'resnet.pth'}", "cpu")
    assert torch.equal(model.module.fc.weight, state["fc.weight"])
    assert model.class_names[0] == "tench"


@pytest.mark.slow
def test_a_file_of_another_architecture_names_keys_and_shapes(tmp_path, resnet_state):
    path = tmp_path / "resnet18.safetensors"
    safetensors.torch.save_file(resnet_state, path)
    with pytest.raises(WeightsError, match=r"(?s)missing: layer1\.2\.conv1\.weight, .* and \d+ more"):
        load_model(f"timm:resnet34@{path}", "cpu")
    with pytest.raises(WeightsError, match=r"(?s)missing: cls_token.*unexpected: bn1\.bias.*another architecture"):
        load_model(f"timm:vit_tiny_patch16_224@{path}", "cpu")
    other = {**resnet_state, "layer1.0.conv1.weight": torch.zeros(64, 64, 1, 1)}
    safetensors.torch.save_file(other, path)
    shapes = r"different shapes: layer1\.0\.conv1\.weight \[64, 64, 1, 1\] in the file, \[64, 64, 3, 3\]"
    with pytest.raises(WeightsError, match=shapes):
        load_model(f"timm:resnet18@{path}", "cpu")


@pytest.mark.slow
def test_positions_of_another_image_size_are_refused(tmp_path, clip_module):
    state = {**clip_module.state_dict(), "visual.positional_embedding": torch.zeros(82, 384)}
    torch.save(state, tmp_path / "large.pt")
    with pytest.raises(WeightsError, match=r"visual\.positional_embedding \[82, 384\] in the file"):
        load_model(f"open_clip:ViT-S-32-alt@{tmp_path / 'large.pt'}", "cpu")


def test_files_that_hold_no_weights(tmp_path):
    with pytest.raises(WeightsError, match="no such file or folder"):
        load_model(f"timm:resnet18@{tmp_path / 'none.safetensors'}", "cpu")
    (tmp_path / "text.safetensors").write_text("nothing of the kind")
    with pytest.raises(WeightsError, match="not a safetensors or torch file"):
        load_model(f"timm:resnet18@{tmp_path / 'text.safetensors'}", "cpu")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="does not hold a state dict"):
        load_model(f"timm:resnet18@{tmp_path / 'list.pt'}", "cpu")
    with pytest.raises(WeightsError, match=r"must hold one weight file.*list\.pt, text\.safetensors"):
        load_model(f"timm:resnet18@{tmp_path}", "cpu")


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """No name is found, and no cache holds anything."""

    def fail(*args, **kwargs):
        raise OSError("Name or service not known")

    monkeypatch.setattr("socket.create_connection", fail)
    monkeypatch.setattr("socket.getaddrinfo", fail)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    ("spec", "way_out"),
    [
        ("timm:vit_tiny_patch16_224.augreg_in21k", "timm:vit_tiny_patch16_224.augreg_in21k@FILE"),
        ("open_clip:ViT-B-32@laion2b_s34b_b79k", "open_clip:ViT-B-32@laion2b_s34b_b79k:FILE"),
        ("open_clip:hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "open_clip:ARCHITECTURE@FILE"),
        ("torchvision:resnet18@IMAGENET1K_V1", "torchvision:resnet18@FILE"),
    ],
)
def test_without_a_network_the_ways_out_are_named_soon(spec, way_out, no_network):
    with pytest.raises(WeightsError, match=rf"(?s)cannot get the pretrained weights.*{way_out}.*random.*cache"):
        load_model(spec, "cpu")
    assert not huggingface_hub.constants.HF_HUB_OFFLINE


def test_a_proxy_counts_as_a_network(monkeypatch):
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://proxy:3128"})
    with soon_without_network():
        assert not huggingface_hub.constants.HF_HUB_OFFLINE


@pytest.mark.slow
@pytest.mark.parametrize(("tag", "activation"), [("openai", QuickGELU), ("laion2b_s34b_b79k", nn.GELU)])
def test_a_tag_decides_which_gelu(tag, activation, tmp_path, monkeypatch):
    """OpenAI's weights were trained with QuickGELU; the architecture ViT-B-32 alone says GELU."""
    torch.manual_seed(0)
    path = tmp_path / "clip.pt"
    torch.save(open_clip.create_model("ViT-B-32").state_dict(), path)
    monkeypatch.setattr("open_clip.factory.download_pretrained", lambda *args, **kwargs: str(path))
    model = load_model(f"open_clip:ViT-B-32@{tag}", "cpu")
    assert type(model.module.visual.transformer.resblocks[0].mlp.gelu) is activation
    plain = load_model(f"open_clip:ViT-B-32@laion2b_s34b_b79k:{path}", "cpu")
    same = activation is nn.GELU
    assert (model.fingerprint == plain.fingerprint) is same


def test_models_are_listed_by_family():
    everything = list_models()
    assert [spec for spec in everything if spec.startswith("mini:")] == list_models("mini")
    assert "mini:clip" in everything
    assert "open_clip:ViT-B-32@openai" in list_models("open_clip")
    assert "timm:vit_base_patch16_224.augreg_in1k" in list_models("timm")
    assert "torchvision:resnet50@IMAGENET1K_V2" in list_models("torchvision")
    with pytest.raises(SpecError, match="no family 'keras'"):
        list_models("keras")


def test_a_tokenizer_that_cannot_be_made_is_a_clear_error(no_network):
    model = load_model("open_clip:ViT-B-16-SigLIP@random", "cpu")
    with pytest.raises(ModelError, match=r"its tokenizer cannot be made.*transformers"):
        model.encode_text(["a skull"])


def test_coca_encodes_texts():
    model = load_model("open_clip:coca_ViT-B-32@random", "cpu")
    with torch.no_grad():
        texts = model.encode_text(["a skull", "a guitar"])
    assert texts.shape == (2, 512)
    assert torch.allclose(texts.norm(dim=-1), torch.ones(2))
    with pytest.raises(ModelError, match="takes a list of texts"):
        model.encode_text("a skull")


def test_a_text_tower_of_a_package_that_is_not_there(no_network):
    with pytest.raises(ModelError, match=r"open_clip cannot build it .*transformers"):
        load_model("open_clip:mt5-base-ViT-B-32@random", "cpu")
