"""A really pretrained ViT: DINOv2 ViT-S/14, prepared by recipes/dinov2.py."""

from pathlib import Path

import platformdirs
import pytest
import safetensors.torch
import timm
import torch

from conceptprobe.models import VisionModel, load_model

pytestmark = pytest.mark.real
ARCHITECTURE = "vit_small_patch14_dinov2.lvd142m"


@pytest.fixture(scope="module")
def path() -> Path:
    path = Path(platformdirs.user_cache_dir("conceptprobe")) / "vit_small_patch14_dinov2.safetensors"
    assert path.exists(), f"{path} is missing: run `python recipes/dinov2.py` once, which prepares it"
    return path


@pytest.fixture(scope="module")
def model(path) -> VisionModel:
    return load_model(f"timm:{ARCHITECTURE}@{path}", "cpu")


def test_it_is_the_checkpoint_behind_the_architectures_own_preprocessing(model, path):
    state = safetensors.torch.load_file(path)
    assert set(state) == set(model.module.state_dict())
    assert torch.equal(model.module.blocks[7].mlp.fc1.weight, state["blocks.7.mlp.fc1.weight"])
    assert model.image_size == (518, 518)
    assert model.preprocessing["mean"] == [0.485, 0.456, 0.406]
    assert model.layers[0].grid == (37, 37)
    assert model.layers[-1].width == 384


def test_its_features_are_those_of_timm(model, path):
    reference = timm.create_model(ARCHITECTURE, num_classes=0).eval()
    reference.load_state_dict(safetensors.torch.load_file(path))
    pixels = torch.rand(1, 3, 518, 518, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(model.preprocessing[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        expected = reference.forward_features((pixels - mean) / std)
        values = model.capture(pixels, ["blocks.11.attn.probs", "final", "embedding"])
    assert torch.allclose(values["final"], expected, atol=1e-3)
    assert torch.allclose(values["embedding"], values["final"][:, 0])
    assert torch.allclose(values["blocks.11.attn.probs"].sum(-1), torch.ones(1, 6, 1370), atol=1e-4)
