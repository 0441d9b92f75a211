"""Prefix tokens (CLS, registers) are never counted as patches."""

import pytest
import timm
import torch
from torch import nn

import conceptprobe as cp
from conceptprobe.models import ModelError, VisionModel, load_model

HALF = {"mean": (0.5,) * 3, "std": (0.5,) * 3}


@pytest.mark.parametrize(
    ("name", "without", "inside", "prefix", "cls"),
    [
        ("convit_tiny", "blocks.0", "blocks.11", 1, 0),
        ("pit_ti_224", None, "transformers.0.blocks.0", 1, 0),
        ("pit_ti_distilled_224", None, "transformers.0.blocks.0", 2, 0),
        ("crossvit_tiny_240", None, "blocks.0.blocks.0.0", 1, 0),
        ("coat_tiny", "patch_embed1", "serial_blocks1.0", 1, 0),
        ("mvitv2_base_cls", None, "stages.0.blocks.0.norm1", 1, 0),
        ("xcit_nano_12_p16_224", "blocks.0", "cls_attn_blocks.0", 1, 0),
        ("naflexvit_base_patch16_gap", None, "blocks.0", 4, None),
    ],
)
def test_modules_of_timm(name, without, inside, prefix, cls):
    model = load_model(f"timm:{name}@random", "cpu")
    layer = model.resolve(f"module:{inside}")[0]
    assert (layer.kind, layer.prefix, layer.cls) == ("tokens", prefix, cls)
    if without:
        assert model.resolve(f"module:{without}")[0].prefix == 0


def test_the_last_norm_of_open_clip_is_the_final_layer():
    model = load_model("open_clip:ViT-S-32-alt@random", "cpu")
    norm, final = (model.resolve(name)[0] for name in ("module:visual.ln_post", "final"))
    assert (norm.prefix, norm.cls, norm.grid) == (final.prefix, final.cls, final.grid) == (1, 0, (7, 7))


class Vit(nn.Module):
    """Some tokens before the patches of 4 x 4 pixels, as a ViT puts them there."""

    def __init__(self, others: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 4, 4)
        self.others = nn.Parameter(torch.zeros(1, others, 8))
        self.block = nn.Linear(8, 8)

    def forward(self, pixels):
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        return self.block(torch.cat([self.others.expand(len(pixels), -1, -1), tokens], 1))


@pytest.mark.parametrize("others", [1, 2, 5])
def test_a_wrapped_vit_asks_for_its_tokens(others):
    message = rf"{64 + others} tokens, which may be 8 x 8 patches after {others} others .*cp\.Tokens\(prefix={others}"
    with pytest.raises(ModelError, match=message):
        VisionModel.wrap(Vit(others), layers=["block"], image_size=32, **HALF)
    declared = cp.Tokens(prefix=others, cls=0)
    model = VisionModel.wrap(Vit(others), layers=["block"], image_size=32, tokens=declared, **HALF)
    assert model.layers[0].prefix == others


def test_a_wrapped_vit_without_other_tokens_does_not_ask():
    assert VisionModel.wrap(Vit(0), layers=["block"], image_size=32, **HALF).layers[0].prefix == 0


def test_a_wrapped_vit_of_timm_says_it():
    module = timm.create_model("vit_tiny_patch16_224", img_size=64, reg_tokens=2)
    model = VisionModel.wrap(module, layers=["blocks.0", "patch_embed"], image_size=64, **HALF)
    assert [(layer.prefix, layer.cls) for layer in model.layers] == [(3, 0), (0, None)]
