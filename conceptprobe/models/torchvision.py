"""Classifiers of torchvision: ViTs with named layers, everything else by its modules."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torchvision
from torch import nn
from torchvision.models.convnext import CNBlock
from torchvision.models.swin_transformer import SwinTransformer
from torchvision.models.vision_transformer import VisionTransformer, interpolate_embeddings
from torchvision.ops.misc import Permute

from conceptprobe.models.anatomy import Anatomy
from conceptprobe.models.attention import multihead_layers
from conceptprobe.models.checkpoints import TORCH_CACHE, downloading, find_checkpoint, load_state, read_state, seeded
from conceptprobe.models.convolutional import block_paths
from conceptprobe.models.errors import SpecError
from conceptprobe.models.hook_points import MAP_AS_TOKENS, POOLED, HookedLayer, HookPoint
from conceptprobe.models.input_size import check_divides
from conceptprobe.models.layers import Layer, Tokens, suggest
from conceptprobe.models.preprocessing import Preprocessing
from conceptprobe.models.spec import ModelSpec
from conceptprobe.models.vision_model import VisionModel


def load(spec: ModelSpec) -> VisionModel:
    """Load `torchvision:architecture@tag` (a name of its weights enum), `@file`, `@folder` or `@random`; `#pixels`."""
    name = spec.architecture
    if name not in _architectures():
        raise SpecError(f"{spec.text!r}: torchvision has no classifier {name!r}.{suggest(name, _architectures())}")
    enum = torchvision.models.get_model_weights(name)
    tags = [weights.name for weights in enum]
    tag = None if spec.is_random or spec.path else spec.weights
    if spec.weights is None or (tag and tag not in tags):
        problem = f"no tag {tag!r}" if tag else "no weights named"
        raise SpecError(
            f"{spec.text!r}: {problem}; the tags of {name} are {', '.join(tags)}; or write @FILE or @random"
        )
    # Random weights and files take the preprocessing of the newest pretrained weights.
    weights = enum[tag] if tag else enum.DEFAULT
    with seeded():
        module = _build(spec, weights, tag is not None)
    preprocessing = _preprocessing(weights)
    if spec.pixels:
        preprocessing = preprocessing.at(spec.pixels)
        if isinstance(module, VisionTransformer):
            _resize_input(spec, module)
    categories = tuple(weights.meta["categories"])
    return VisionModel(
        spec.text,
        module,
        _anatomy(module),
        preprocessing,
        architecture=spec.name,
        has_logits=True,
        class_names=categories,
    )


def names() -> list[str]:
    """Specs of all pretrained classifiers of torchvision."""
    return [
        f"torchvision:{name}@{weights.name}"
        for name in _architectures()
        for weights in torchvision.models.get_model_weights(name)
    ]


def _architectures() -> list[str]:
    architectures: list[str] = torchvision.models.list_models(module=torchvision.models)
    return architectures


def _build(spec: ModelSpec, weights: Any, pretrained: bool) -> Any:
    name = spec.architecture
    if pretrained:
        with downloading(spec.text, f"{spec.name}@", TORCH_CACHE):
            return torchvision.models.get_model(name, weights=weights)
    module = torchvision.models.get_model(name, weights=None)
    if spec.path:
        checkpoint: Path = find_checkpoint(spec.path)
        load_state(module, read_state(checkpoint), checkpoint, spec.name)
    return module


def _resize_input(spec: ModelSpec, vit: VisionTransformer) -> None:
    assert spec.pixels is not None, spec
    check_divides(spec, (vit.patch_size,))
    embedding = OrderedDict({"encoder.pos_embedding": vit.encoder.pos_embedding.data})
    resampled = interpolate_embeddings(spec.pixels, vit.patch_size, embedding)["encoder.pos_embedding"]
    vit.encoder.pos_embedding.data = resampled
    vit.image_size, vit.seq_length = spec.pixels, resampled.shape[1]


def _preprocessing(weights: Any) -> Preprocessing:
    preset = weights.transforms()
    (resize,), (crop,) = preset.resize_size, preset.crop_size
    return Preprocessing(
        size=(crop, crop),
        resize=(resize, resize),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
    )


def _anatomy(module: Any) -> Anatomy:
    if isinstance(module, VisionTransformer):
        return _vit_anatomy(module)
    head = "fc" if hasattr(module, "fc") else "head" if hasattr(module, "head") else "classifier"
    named = {}
    # The input of the last linear layer: hidden layers of the head are part of the features.
    linear = [part for part in getattr(module, head).modules() if isinstance(part, nn.Linear)]
    if linear:
        named["embedding"] = HookedLayer(
            Layer("embedding", linear[-1].in_features, "vector"), HookPoint(linear[-1], "input", POOLED)
        )
    return Anatomy(
        named,
        blocks=tuple(path for path in block_paths(module) if path.partition(".")[0] != head),
        channels_last=lambda path: _channels_last(module, path),
    )


def _vit_anatomy(vit: VisionTransformer) -> Anatomy:
    side = vit.image_size // vit.patch_size
    tokens = Tokens(1, 0, (side, side))
    width = vit.hidden_dim
    layers = [
        HookedLayer(
            Layer("patch_embed", width, "tokens", grid=tokens.grid), HookPoint(vit.conv_proj, layout=MAP_AS_TOKENS)
        )
    ]
    for i, block in enumerate(vit.encoder.layers):
        name = f"blocks.{i}"
        layers += multihead_layers(name, block.self_attention, tokens)
        activation = block.mlp[1]
        parts = (
            ("mlp.pre", vit.mlp_dim, HookPoint(activation, "input")),
            ("mlp.hidden", vit.mlp_dim, HookPoint(activation)),
            ("mlp.out", width, HookPoint(block.mlp)),
            ("resid", width, HookPoint(block)),
        )
        layers += [HookedLayer(tokens.layer(f"{name}.{part}", features), point) for part, features, point in parts]
    layers.append(HookedLayer(tokens.layer("final", width), HookPoint(vit.encoder.ln)))
    layers.append(HookedLayer(Layer("embedding", width, "vector"), HookPoint(vit.heads, "input")))
    return Anatomy(
        {hooked.layer.name: hooked for hooked in layers},
        tokens=lambda path, count: tokens if path.startswith("encoder") else Tokens(),
        fixed_size=True,
    )


def _channels_last(module: nn.Module, path: str) -> bool:
    """Whether the module at a path returns [B,H,W,C]: Swin's maps and those between a ConvNeXt block's two Permutes."""
    if isinstance(module.get_submodule(path), nn.Conv2d):
        return False
    if isinstance(module, SwinTransformer):
        return path.startswith(("features", "norm"))
    parts = path.split(".")
    for depth in range(1, len(parts)):
        block = module.get_submodule(".".join(parts[:depth]))
        if isinstance(block, CNBlock) and len(parts) > depth + 1 and parts[depth] == "block":
            permutes = [i for i, part in enumerate(block.block) if isinstance(part, Permute)]
            return permutes[0] <= int(parts[depth + 1]) < permutes[1]
    return False
