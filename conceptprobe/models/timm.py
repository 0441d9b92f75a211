"""Models of timm: ViTs with named layers, everything else by its modules."""

import functools
import json
import math
from pathlib import Path
from typing import Any

import timm
from timm.data import CustomDatasetInfo, DatasetInfo, ImageNetInfo, infer_imagenet_subset, resolve_data_config
from timm.layers import Attention, AttentionRope, Format, GluMlp, Mlp, SwiGLU, to_2tuple
from timm.models.beit import Attention as BeitAttention
from timm.models.beit import Beit
from timm.models.convnext import ConvNeXtBlock
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva, EvaAttention
from timm.models.vision_transformer import VisionTransformer
from timm.models.vision_transformer_relpos import RelPosAttention, VisionTransformerRelPos
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import nn

from conceptprobe.models.anatomy import Anatomy, declared_tokens
from conceptprobe.models.attention import UnfusedAttention
from conceptprobe.models.checkpoints import (
    downloading,
    find_checkpoint,
    load_state,
    read_config,
    read_state,
    reason,
    seeded,
)
from conceptprobe.models.convolutional import block_paths, stage_paths
from conceptprobe.models.errors import ModelError, SpecError
from conceptprobe.models.hook_points import (
    AS_IS,
    CHANNELS_LAST_AS_TOKENS,
    MAP_AS_TOKENS,
    POOLED,
    HookedLayer,
    HookPoint,
    Layout,
)
from conceptprobe.models.input_size import check_divides, fits, no_other_size
from conceptprobe.models.layers import Layer, Tokens, suggest
from conceptprobe.models.preprocessing import Preprocessing
from conceptprobe.models.spec import ModelSpec
from conceptprobe.models.vision_model import VisionModel

_VITS = (VisionTransformer, Eva, Beit, VisionTransformerRelPos)
_ATTENTIONS = (Attention, AttentionRope, EvaAttention, BeitAttention, RelPosAttention)
_CROPS = {"center": "shortest", "squash": "squash", "border": "longest"}


def load(spec: ModelSpec) -> VisionModel:
    """Load `timm:architecture.tag` (the tag's weights), `@file`, `@folder` or `@random`; `#pixels`.

    A folder with timm's `config.json` is built from that config, as timm builds `local-dir:`.
    """
    base, _, tag = spec.architecture.partition(".")
    if not timm.is_model(base):
        raise SpecError(f"{spec.text!r}: timm has no model {base!r}.{suggest(base, timm.list_models())}")
    tags = [name.partition(".")[2] for name in timm.list_pretrained(base) if name.partition(".")[0] == base]
    wanted = tag or (spec.weights if not spec.path and not spec.is_random else "")
    if (wanted and wanted not in tags) or (tag and spec.weights and not spec.path and not spec.is_random):
        raise SpecError(f"{spec.text!r}: the pretrained tags of {base} are {', '.join(tags) or 'none'}")
    if not wanted and spec.weights is None:
        known = ", ".join(f"{base}.{tag}" for tag in tags) or "it has none"
        raise SpecError(f"{spec.text!r} names no weights: add a tag ({known}), @FILE, or @random")
    name = f"{base}.{wanted}" if wanted else base
    config = read_config(spec.path, "config.json") if spec.path else {}
    _check_config(spec, config, base, tag)
    with seeded():
        if spec.path:
            module = _from_path(spec, name, spec.path, config)
        else:
            module = _build(spec, name, pretrained=not spec.is_random)
        resize_input(spec, module)
    arguments = config.get("model_args")
    return VisionModel(
        spec.text,
        module,
        anatomy(module),
        _preprocessing(module, spec.pixels),
        # The same weights with other arguments, such as the activation function, are another model.
        architecture=f"timm:{name} {json.dumps(arguments, sort_keys=True)}" if arguments else f"timm:{name}",
        has_logits=module.num_classes > 0,
        class_names=_class_names(module, is_imagenet=bool(wanted) or spec.is_random),
    )


def resize_input(spec: ModelSpec, trunk: Any) -> None:
    """Set the input size that the spec names, if it names one; timm resamples positional embeddings.

    Raises:
        SpecError: Its patches do not fill that size, or it has one size only.
    """
    if spec.pixels is None:
        return
    check_divides(spec, to_2tuple(getattr(getattr(trunk, "patch_embed", None), "patch_size", 1)))
    if hasattr(trunk, "set_input_size"):
        trunk.set_input_size((spec.pixels, spec.pixels))
    elif trunk.pretrained_cfg.get("fixed_input_size"):
        raise no_other_size(spec)


def names() -> list[str]:
    """Specs of all pretrained models of timm."""
    return [f"timm:{name}" for name in timm.list_pretrained()]


def anatomy(trunk: Any, prefix: str = "", embedding: bool = True) -> Anatomy:
    """The layers of a timm model.

    Args:
        trunk: The timm model.
        prefix: Path of the timm model in a larger module, with a dot at its end.
        embedding: Whether its pooled features are the embedding; they are not if a projection follows.
    """
    layers: list[HookedLayer] = []
    blocks: list[str] = []
    tokens = Tokens()
    stages: dict[str, int] = {}
    if isinstance(trunk, _VITS):
        tokens = Tokens(trunk.num_prefix_tokens, 0 if trunk.cls_token is not None else None, _grid(trunk))
        layers = list(_vit_layers(trunk, tokens))
    else:
        stages = {info["module"]: info["num_chs"] for info in getattr(trunk, "feature_info", None) or []}
        blocks = stage_paths(trunk, list(stages), prefix) or block_paths(trunk, prefix)
    if embedding:
        layers += _embedding(trunk)
    in_order = tuple(f"{prefix}{part}" for part in ("blocks", "norm", "norm_pre", "pos_drop", "patch_drop"))

    def tokens_of(path: str, count: int) -> Tokens:
        if isinstance(trunk, _VITS):
            return tokens if path in in_order or path.startswith(in_order[0] + ".") else Tokens()
        return declared_tokens(trunk, count) if path.startswith(prefix) else Tokens()

    return Anatomy(
        named={hooked.layer.name: hooked for hooked in layers},
        blocks=tuple(blocks),
        tokens=tokens_of,
        channels_last=functools.partial(_channels_last, trunk, prefix),
        channels={path: n for path in blocks for stage, n in stages.items() if _is_within(path, prefix + stage)}.get,
        fixed_size=getattr(getattr(trunk, "patch_embed", None), "strict_img_size", False),
    )


def _build(spec: ModelSpec, name: str, pretrained: bool, **kwargs: Any) -> Any:
    if not pretrained:
        return timm.create_model(name, **kwargs)
    with downloading(spec.text, f"timm:{name}@"):
        return timm.create_model(name, pretrained=True, **kwargs)


def _check_config(spec: ModelSpec, config: dict[str, Any], base: str, tag: str) -> None:
    """Refuse a folder whose config is of another architecture or tag than the spec names."""
    if "architecture" not in config:
        return
    described, _, described_tag = str(config["architecture"]).partition(".")
    described_tag = config.get("pretrained_cfg", config).get("tag") or described_tag
    if described != base or (tag and described_tag and tag != described_tag):
        other = f"{described}.{described_tag}" if described_tag and described == base else described
        raise SpecError(f"{spec.text!r}: {spec.path} holds {other}; write timm:{other}@{spec.weights}")


def _from_path(spec: ModelSpec, name: str, path: Path, config: dict[str, Any]) -> Any:
    """The model of a folder's config with weights from a file; the file decides the number of classes."""
    checkpoint = find_checkpoint(path)
    state = read_state(checkpoint)
    if "architecture" in config:
        source, kwargs = f"local-dir:{path}", {}
    else:
        source = name
        kwargs = {**config.get("model_args", {}), "pretrained_cfg_overlay": config.get("pretrained_cfg", {})}
    cfg = timm.get_pretrained_cfg(name)
    classifier = cfg.classifier if cfg else None
    if isinstance(classifier, str):
        weight = state.get(f"{classifier}.weight")
        kwargs["num_classes"] = 0 if weight is None else len(weight)
    try:
        module = timm.create_model(source, **kwargs)
    except Exception as error:
        raise ModelError(f"{spec.text}: timm cannot build it ({reason(error)})") from error
    if spec.pixels and not fits(module, state):
        resize_input(spec, module)  # the file may hold weights for that size
    load_state(module, state, checkpoint, spec.name)
    return module


def _preprocessing(module: nn.Module, pixels: int | None = None) -> Preprocessing:
    config = resolve_data_config(model=module)
    height, width = (pixels, pixels) if pixels else config["input_size"][-2:]
    red, green, blue = (round(255 * value) for value in config["mean"])
    return Preprocessing(
        size=(height, width),
        resize=(math.floor(height / config["crop_pct"]), math.floor(width / config["crop_pct"])),
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        mode=_CROPS[config["crop_mode"]],  # type: ignore[arg-type]
        interpolation=config["interpolation"],
        fill=(red, green, blue) if config["crop_mode"] == "border" else 0,
    )


def _class_names(module: Any, is_imagenet: bool) -> tuple[str, ...] | None:
    """The labels of a folder's config, or else those of the ImageNet subset with as many classes."""
    labels = module.pretrained_cfg.get("label_names")
    if labels:
        info: DatasetInfo = CustomDatasetInfo(labels, module.pretrained_cfg.get("label_descriptions"))
    elif is_imagenet and module.num_classes and (subset := infer_imagenet_subset(module)):
        info = ImageNetInfo(subset)
    else:
        return None
    if info.num_classes() != module.num_classes:
        return None
    return tuple(info.index_to_description(index) for index in range(module.num_classes))


def _grid(trunk: Any) -> tuple[int, int]:
    rows, columns = trunk.patch_embed.grid_size
    return rows, columns


def _vit_layers(trunk: Any, tokens: Tokens) -> list[HookedLayer]:
    width = trunk.embed_dim
    layout = AS_IS
    if not trunk.patch_embed.flatten:
        layout = CHANNELS_LAST_AS_TOKENS if trunk.patch_embed.output_fmt == Format.NHWC else MAP_AS_TOKENS
    layers = [
        HookedLayer(
            Layer("patch_embed", width, "tokens", grid=tokens.grid), HookPoint(trunk.patch_embed, layout=layout)
        )
    ]
    for i, block in enumerate(trunk.blocks):
        layers += _block_layers(f"blocks.{i}", block, width, tokens)
    layers.append(HookedLayer(tokens.layer("final", width), HookPoint(trunk.norm)))
    return layers


def _block_layers(name: str, block: Any, width: int, tokens: Tokens) -> list[HookedLayer]:
    """The layers of a transformer block, in forward order; unknown kinds of attention and MLP have no layers."""
    layers = []

    def add(part: str, features: int, point: HookPoint, kind: str = "tokens") -> None:
        layers.append(HookedLayer(tokens.layer(f"{name}.{part}", features, kind), point))

    attention: Any = getattr(block, "attn", None)
    if isinstance(attention, _ATTENTIONS):
        add(
            "attn.probs",
            attention.num_heads,
            HookPoint(attention.attn_drop, exposing=UnfusedAttention(attention)),
            "attention",
        )
        # Some attentions norm or gate all heads together before the projection; `attn.heads` holds the values before.
        heads = getattr(attention, "norm", attention.proj)
        add("attn.heads", attention.proj.in_features, HookPoint(heads, "input"))
        add("attn.out", attention.proj.out_features, HookPoint(attention))
    mlp: Any = getattr(block, "mlp", None)
    if isinstance(mlp, Mlp | GluMlp | SwiGLU):
        fc2: Any = mlp.fc2
        hidden = fc2.in_features
        add("mlp.pre", hidden, HookPoint(mlp.act, "input"))
        # A gated MLP multiplies the activation by another projection: its hidden values are the input of fc2.
        add("mlp.hidden", hidden, HookPoint(mlp.act) if isinstance(mlp, Mlp) else HookPoint(fc2, "input"))
        add("mlp.out", fc2.out_features, HookPoint(mlp))
    add("resid", width, HookPoint(block))
    return layers


def _embedding(trunk: Any) -> list[HookedLayer]:
    """The pooled features, which are the classifier's input; no layer if the classifier is not a single module."""
    width = getattr(trunk, "head_hidden_size", None) or trunk.num_features
    layer = Layer("embedding", width, "vector")
    if isinstance(trunk, VisionTransformerDistilled):
        both = Layout(lambda x_btc: (x_btc[:, 0] + x_btc[:, 1]) / 2, lambda value, original: original)
        why = "it is the mean of the CLS and distillation tokens; intervene on final"
        return [HookedLayer(layer, HookPoint(trunk.norm, layout=both, readonly=why))]
    classifier = trunk.get_classifier()
    if isinstance(classifier, nn.Linear | nn.Conv2d | nn.Identity):
        return [HookedLayer(layer, HookPoint(classifier, "input", POOLED))]
    return []


def _is_within(path: str, stage: str) -> bool:
    return path == stage or path.startswith(f"{stage}.")


def _channels_last(trunk: Any, prefix: str, path: str) -> bool:
    """Whether the module at a path returns [B,H,W,C].

    Timm declares it for whole models (Swin); else blocks of SAM and the linear layers of a ConvNeXt block do so.
    """
    local = path.removeprefix(prefix)
    module = trunk.get_submodule(local) if path.startswith(prefix) else None
    if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
        return False
    if getattr(trunk, "output_fmt", None) == "NHWC":
        return True
    if isinstance(trunk, VisionTransformerSAM):
        return local.startswith(("patch_embed", "blocks"))
    parts = local.split(".")
    for depth in range(1, len(parts)):
        block = trunk.get_submodule(".".join(parts[:depth]))
        if isinstance(block, ConvNeXtBlock):
            return not block.use_conv_mlp and parts[depth] in ("norm", "mlp")
    return False
