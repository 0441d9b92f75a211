"""The one ViT behind every mini model, and the CLIP around it."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import open_clip
import torch
from timm.models import register_model
from timm.models.vision_transformer import VisionTransformer
from torch import nn

IMAGE_SIZE = 48
PATCH_SIZE = 8
WIDTH = 192
DEPTH = 6
HEADS = 3
MEAN = (0.5, 0.5, 0.5)
STD = (0.5, 0.5, 0.5)
CONTEXT_LENGTH = 24
TRUNK = "conceptprobe_mini_vit"
TIMM_BOOKKEEPING = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")  # keyword arguments that create_model adds


def data_path(name: str) -> Path:
    """The path of an embedded file; the package is always installed unpacked."""
    return Path(str(files("conceptprobe.mini") / "data" / name))


@register_model
def conceptprobe_mini_vit(pretrained: bool = False, **kwargs: Any) -> VisionTransformer:
    """ViT of 2.7 M parameters: 48 px, patch 8, width 192, depth 6, 3 heads, one CLS token (37 tokens)."""
    if pretrained:
        raise ValueError("timm has no weights of the mini ViT: use load_model('mini:clip') or 'mini:supervised'")
    settings = {key: value for key, value in kwargs.items() if key not in TIMM_BOOKKEEPING}
    model = VisionTransformer(
        img_size=IMAGE_SIZE, patch_size=PATCH_SIZE, embed_dim=WIDTH, depth=DEPTH, num_heads=HEADS, **settings
    )
    default_cfg: Any = {"input_size": (3, IMAGE_SIZE, IMAGE_SIZE), "mean": MEAN, "std": STD, "pool_size": None}
    model.default_cfg = default_cfg
    return model


def make_clip(vocabulary_size: int) -> open_clip.CLIP:
    """An untrained open_clip CLIP: the mini ViT with a linear projection, and a text tower of four layers."""
    return open_clip.CLIP(
        embed_dim=WIDTH,
        vision_cfg={
            "timm_model_name": TRUNK,
            "timm_model_pretrained": False,
            "timm_pool": "token",
            "timm_proj": "linear",
            "image_size": IMAGE_SIZE,
        },
        text_cfg={
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocabulary_size,
            "width": WIDTH,
            "heads": HEADS,
            "layers": 4,
        },
    )


def make_classifier(classes: int) -> VisionTransformer:
    """The mini ViT with a linear classifier on its CLS token; `classes=0` gives the bare trunk."""
    model: VisionTransformer = conceptprobe_mini_vit(num_classes=classes)
    return model


def trunk_of(model: nn.Module) -> nn.Module:
    """The ViT inside either twin."""
    return model.get_submodule("visual.trunk") if isinstance(model, open_clip.CLIP) else model


def normalise(pixels_bchw: torch.Tensor) -> torch.Tensor:
    """Normalise RGB in [0,1] as in the training of the mini models."""
    mean, std = (torch.tensor(v, device=pixels_bchw.device)[:, None, None] for v in (MEAN, STD))
    return (pixels_bchw - mean) / std
