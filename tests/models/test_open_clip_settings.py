"""An open_clip model has the config, the activation function and the preprocessing of its weights."""

import json

import numpy as np
import open_clip
import pytest
import safetensors.torch
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from conceptprobe.models import SpecError, WeightsError, load_model
from conceptprobe.models.open_clip_tags import weight_settings
from conceptprobe.models.spec import ModelSpec

CONFIG = {
    "embed_dim": 32,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}
PREPROCESS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "interpolation": "bilinear", "resize_mode": "squash"}


@pytest.fixture
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 90, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder as open_clip saves models for the hub, of a small architecture that open_clip does not list."""
    path = tmp_path_factory.mktemp("hub") / "model"
    path.mkdir()
    (path / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": PREPROCESS}))
    torch.manual_seed(3)
    module = open_clip.create_model(f"local-dir:{path}", load_weights=False)
    safetensors.torch.save_file(module.state_dict(), path / "open_clip_model.safetensors")
    return path


def hub(folder, monkeypatch):
    """The hub has the folder's files as the repository org/name."""

    def download(model_id, filename="open_clip_model.safetensors", **kwargs):
        assert model_id == "org/name"
        return str(folder / filename)

    monkeypatch.setattr("open_clip.factory.download_pretrained_from_hf", download)


def assert_equal(model, module, image):
    """Preprocessing, embeddings of the image and of a text are those of open_clip, to the bit."""
    module.eval()
    config = PreprocessCfg(**module.visual.preprocess_cfg)
    pixels = image_transform_v2(config, is_train=False)(image)[None]
    with torch.no_grad():
        expected = module.encode_image(pixels)
        assert torch.equal(model.encode_image(model.preprocess(image)[None], normalize=False), expected)


def test_a_folder_is_built_from_its_config(folder, image):
    reference = open_clip.create_model(f"local-dir:{folder}")
    model = load_model(f"open_clip:ViT-B-32@{folder}", "cpu")
    assert_equal(model, reference, image)
    assert model.preprocessing["mode"] == "squash"
    with torch.no_grad():
        expected = reference.encode_text(open_clip.get_tokenizer(f"local-dir:{folder}")(["a skull"]))
        assert torch.equal(model.encode_text(["a skull"], normalize=False), expected)


@pytest.mark.parametrize("change", [{"quick_gelu": False}, {"vision_cfg": {**CONFIG["vision_cfg"], "head_width": 32}}])
def test_the_config_tells_models_with_the_same_weights_apart(folder, change, image, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes((folder / "open_clip_model.safetensors").read_bytes())
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": {**CONFIG, **change}}))
    model, other = (load_model(f"open_clip:ViT-B-32@{path}", "cpu") for path in (folder, tmp_path))
    assert_equal(other, open_clip.create_model(f"local-dir:{tmp_path}"), image)
    assert model.fingerprint != other.fingerprint


def test_a_config_that_is_not_json_is_a_clear_error(folder, tmp_path):
    (tmp_path / "weights.safetensors").write_bytes((folder / "open_clip_model.safetensors").read_bytes())
    (tmp_path / "open_clip_config.json").write_text("<html>")
    with pytest.raises(WeightsError, match=r"open_clip_config\.json is not JSON"):
        load_model(f"open_clip:ViT-B-32@{tmp_path}", "cpu")
    (tmp_path / "open_clip_config.json").write_text("[]")
    with pytest.raises(WeightsError, match="must hold a JSON object, not list"):
        load_model(f"open_clip:ViT-B-32@{tmp_path}", "cpu")


def test_a_folder_with_settings_takes_none_from_a_tag(folder):
    with pytest.raises(SpecError, match="leave out openai:"):
        load_model(f"open_clip:ViT-B-32@openai:{folder}", "cpu")


def test_weights_after_a_hub_model_replace_the_hubs(folder, image, tmp_path, monkeypatch):
    hub(folder, monkeypatch)
    spec = "open_clip:hf-hub:org/name"
    module = open_clip.create_model("hf-hub:org/name")
    model = load_model(spec, "cpu")
    assert_equal(model, module, image)
    module.visual.proj.data += 1
    torch.save(module.state_dict(), tmp_path / "other.pt")
    other, random = load_model(f"{spec}@{tmp_path / 'other.pt'}", "cpu"), load_model(f"{spec}@random", "cpu")
    assert_equal(other, module, image)
    assert len({model.fingerprint, other.fingerprint, random.fingerprint}) == 3
    assert other.preprocessing == random.preprocessing == model.preprocessing
    assert random.encode_text(["a skull"]).shape == (1, 32)
    with pytest.raises(WeightsError, match="no such file or folder"):
        load_model(f"{spec}@{tmp_path / 'none.pt'}", "cpu")
    for nonsense in ("main", "openai:random"):
        with pytest.raises(SpecError, match=r"a hub model has no tags; write open_clip:hf-hub:org/name, or add @FILE"):
            load_model(f"{spec}@{nonsense}", "cpu")


@pytest.mark.parametrize("tag", ["openai", "laion2b_s34b_b79k"])
def test_a_file_with_the_settings_of_a_tag_is_the_model_of_the_tag(tag, image, tmp_path, monkeypatch):
    torch.manual_seed(0)
    path = tmp_path / "clip.pt"
    torch.save(open_clip.create_model("ViT-B-32").state_dict(), path)
    monkeypatch.setattr("open_clip.factory.download_pretrained", lambda *args, **kwargs: str(path))
    model = load_model(f"open_clip:ViT-B-32@{tag}:{path}", "cpu")
    assert_equal(model, open_clip.create_model("ViT-B-32", str(path), force_quick_gelu=tag == "openai"), image)
    assert model.fingerprint == load_model(f"open_clip:ViT-B-32@{tag}", "cpu").fingerprint


def test_a_file_asks_for_a_tag_if_the_settings_of_tags_differ(tmp_path):
    path = tmp_path / "clip.pt"
    path.touch()
    message = (
        r"tags of ViT-B-32 differ: QuickGELU \(openai, .*; GELU \(laion2b.*Write open_clip:ViT-B-32@TAG:.*clip\.pt"
    )
    with pytest.raises(SpecError, match=message):
        load_model(f"open_clip:ViT-B-32@{path}", "cpu")
    with pytest.raises(SpecError, match=r"no tag 'nothing'; the tags of ViT-B-32 are openai, "):
        load_model(f"open_clip:ViT-B-32@nothing:{path}", "cpu")
    with pytest.raises(
        SpecError, match=r"ViT-L-14 differ: .*mean \(0\.5, 0\.5, 0\.5\).*laion2b_s32b_b82k\).*TAG:random"
    ):
        load_model("open_clip:ViT-L-14@random", "cpu")


def test_random_weights_have_the_preprocessing_of_the_tags(image):
    model = load_model("open_clip:ViT-B-16-SigLIP@random", "cpu")
    config = PreprocessCfg(size=224, mean=(0.5,) * 3, std=(0.5,) * 3, resize_mode="squash")  # of all its tags
    mean, std = (torch.tensor(model.preprocessing[key])[:, None, None] for key in ("mean", "std"))
    expected = image_transform_v2(config, is_train=False)(image)
    assert torch.allclose((model.preprocess(image) - mean) / std, expected, atol=1e-6)


def test_settings_are_those_of_every_tag_or_all_tags_are_named():
    """Over all architectures of open_clip; a random model of an ambiguous activation has that of its name."""
    asked = {}
    for name in open_clip.list_models():
        tags = open_clip.list_pretrained_tags_by_model(name)
        try:
            settings = weight_settings(ModelSpec.parse(f"open_clip:{name}@weights.pt"))
        except SpecError as error:
            asked[name] = str(error)
            continue
        for tag in tags:
            config = open_clip.get_pretrained_cfg(name, tag)
            shown = {
                key: settings["force_preprocess_cfg"][key] for key in ("mean", "std", "interpolation", "resize_mode")
            }
            assert shown == {key: config[key] for key in shown}
            assert settings["force_quick_gelu"] >= config.get("quick_gelu", False)
    assert asked.keys() == {"ViT-B-16", "ViT-B-32", "ViT-H-14", "ViT-H-14-quickgelu", "ViT-L-14", "ViT-bigG-14"}
    assert all(tag in asked[name] for name in asked for tag in open_clip.list_pretrained_tags_by_model(name))
    assert weight_settings(ModelSpec.parse("open_clip:RN50@random"))["force_quick_gelu"]
    assert not weight_settings(ModelSpec.parse("open_clip:ViT-B-32@random"))["force_quick_gelu"]
