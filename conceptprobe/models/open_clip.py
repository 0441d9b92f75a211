"""CLIP and similar models of open_clip, with their text towers."""

import dataclasses
import functools
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed
from open_clip.timm_model import TimmModel
from open_clip.transformer import QuickGELU, VisionTransformer
from torch import Tensor, nn

from conceptprobe.models import timm
from conceptprobe.models.anatomy import Anatomy
from conceptprobe.models.attention import multihead_layers
from conceptprobe.models.checkpoints import (
    downloading,
    find_checkpoint,
    load_state,
    read_config,
    read_state,
    reason,
    seeded,
    soon_without_network,
)
from conceptprobe.models.convolutional import block_paths
from conceptprobe.models.errors import ModelError, SpecError
from conceptprobe.models.hook_points import AS_IS, MAP_AS_TOKENS, TIME_FIRST, HookedLayer, HookPoint
from conceptprobe.models.input_size import check_divides, fits, no_other_size
from conceptprobe.models.layers import Layer, Tokens, suggest
from conceptprobe.models.open_clip_tags import tag_settings, tags_of, weight_settings
from conceptprobe.models.preprocessing import Preprocessing
from conceptprobe.models.spec import ModelSpec
from conceptprobe.models.vision_model import VisionModel

HUB = "hf-hub:"
FOLDER = "local-dir:"
CONFIG = "open_clip_config.json"
VISUAL = "visual."


def load(spec: ModelSpec) -> VisionModel:
    """Load `open_clip:architecture@tag`, `@file`, `@folder` or `@random`, or `open_clip:hf-hub:org/name`; `#pixels`.

    A file and random weights have the settings (activation function, preprocessing) that all tags of the architecture
    share, or those of a named tag: `@tag:file`. A folder with `open_clip_config.json` and a hub model have those of
    their config. Weights from a file may also replace those of a hub model.
    """
    with seeded(), _quiet():
        source = _source(spec)
        module = _build(spec, source)
        with downloading(spec.text, "open_clip:ARCHITECTURE@"):
            config = open_clip.get_model_config(source)
        preprocessing = _preprocessing(module)
        if spec.pixels:
            preprocessing = preprocessing.at(spec.pixels)
            resize_input(spec, module)
    differs = source.startswith(FOLDER) and config != open_clip.get_model_config(spec.architecture)
    variant = json.dumps(config, sort_keys=True) if differs else ""
    return vision_model(spec, module, config["embed_dim"], preprocessing, _Tokenizer(source), variant)


def resize_input(spec: ModelSpec, module: Any) -> None:
    """Set the image tower's input size that the spec names, if any, as open_clip does when it loads weights.

    Raises:
        SpecError: The size is not a multiple of the patch size, or the tower has one size only.
    """
    visual = module.visual
    if isinstance(visual, TimmModel):
        timm.resize_input(spec, visual.trunk)
    elif isinstance(visual, VisionTransformer) and spec.pixels:
        check_divides(spec, visual.patch_size)
        rows, columns = visual.patch_size
        visual.image_size = (spec.pixels, spec.pixels)
        visual.grid_size = (spec.pixels // rows, spec.pixels // columns)
        embedding = {"visual.positional_embedding": visual.positional_embedding.data}
        resize_pos_embed(embedding, module)
        visual.positional_embedding.data = embedding["visual.positional_embedding"]
    elif spec.pixels:
        raise no_other_size(spec)


def names() -> list[str]:
    """Specs of all pretrained models of open_clip."""
    return [f"open_clip:{name}@{tag}" for name, tag in open_clip.list_pretrained()]


def vision_model(
    spec: ModelSpec,
    module: Any,
    embedding_width: int,
    preprocessing: Preprocessing,
    tokenizer: Callable[[list[str]], Tensor],
    variant: str = "",
) -> VisionModel:
    """Make a `VisionModel` of any open_clip model; `variant` tells apart models whose spec has one architecture."""
    return VisionModel(
        spec.text,
        module,
        anatomy(module, embedding_width),
        preprocessing,
        # The same weights with another activation function are another model.
        architecture=" ".join([spec.name, *["quickgelu"] * _has_quick_gelu(module), *filter(None, [variant])]),
        forward=module.visual,
        encode_text=_TextEncoder(module, tokenizer),
    )


@dataclass(frozen=True)
class _TextEncoder:
    """Embeds texts; a copy of the model has a copy of it, with the copied text tower."""

    module: Any
    tokenizer: Callable[[list[str]], Tensor]

    def __call__(self, texts: list[str]) -> Tensor:
        with torch.device("cpu"):  # tokenizers make their tensors on the default device
            tokens = self.tokenizer(texts)
        embeddings: Tensor = self.module.encode_text(tokens.to(self.module.logit_scale.device), normalize=False)
        return embeddings


def _has_quick_gelu(module: nn.Module) -> bool:
    return any(isinstance(part, QuickGELU) for part in module.modules())


def anatomy(module: Any, embedding_width: int) -> Anatomy:
    """The layers of the image tower."""
    visual = module.visual
    embedding = HookedLayer(Layer("embedding", embedding_width, "vector"), HookPoint(visual))
    if isinstance(visual, TimmModel):
        declared = timm.anatomy(visual.trunk, f"{VISUAL}trunk.", embedding=False)
    elif isinstance(visual, VisionTransformer):
        declared = _vit_anatomy(visual)
    else:
        declared = Anatomy(blocks=tuple(block_paths(visual, VISUAL)))
    return dataclasses.replace(
        declared,
        named={**declared.named, "embedding": embedding},
        fixed_size=declared.fixed_size or hasattr(visual, "attnpool"),
    )


def _vit_anatomy(visual: VisionTransformer) -> Anatomy:
    rows, columns = visual.grid_size
    tokens = Tokens(1, 0, (rows, columns))  # open_clip's ViT always has a class embedding, which comes first
    width = visual.transformer.width
    layers = [
        HookedLayer(
            Layer("patch_embed", width, "tokens", grid=tokens.grid), HookPoint(visual.conv1, layout=MAP_AS_TOKENS)
        )
    ]
    layout = AS_IS if visual.transformer.batch_first else TIME_FIRST
    for i, block in enumerate(visual.transformer.resblocks):
        name = f"blocks.{i}"
        if isinstance(block.attn, nn.MultiheadAttention):
            layers += multihead_layers(name, block.attn, tokens)
        else:
            layers.append(
                HookedLayer(tokens.layer(f"{name}.attn.heads", width), HookPoint(block.attn.out_proj, "input"))
            )
            layers.append(HookedLayer(tokens.layer(f"{name}.attn.out", width), HookPoint(block.attn)))
        parts = (
            ("mlp.pre", block.mlp.c_fc.out_features, HookPoint(block.mlp.gelu, "input", layout)),
            ("mlp.hidden", block.mlp.c_fc.out_features, HookPoint(block.mlp.gelu, layout=layout)),
            ("mlp.out", width, HookPoint(block.mlp, layout=layout)),
            ("resid", width, HookPoint(block, layout=layout)),
        )
        layers += [HookedLayer(tokens.layer(f"{name}.{part}", n), point) for part, n, point in parts]
    # CoCa's pooler norms the patch tokens; with final_ln_after_pool nothing norms them.
    if visual.attn_pool is not None:
        last_norm: nn.Module = visual.attn_pool.ln_k
    else:
        last_norm = visual.transformer if visual.final_ln_after_pool else visual.ln_post
    layers.append(HookedLayer(tokens.layer("final", width), HookPoint(last_norm)))
    blocks = f"{VISUAL}transformer.resblocks."
    within = Tokens(tokens.prefix, tokens.cls, tokens.grid, batch_first=visual.transformer.batch_first)
    around = (f"{VISUAL}ln_pre", f"{VISUAL}transformer", f"{VISUAL}patch_dropout", f"{VISUAL}ln_post")

    def tokens_of(path: str, count: int) -> Tokens:
        if path.startswith(blocks):
            return within
        return tokens if path in around else Tokens()

    return Anatomy({hooked.layer.name: hooked for hooked in layers}, tokens=tokens_of, fixed_size=True)


def _source(spec: ModelSpec) -> str:
    """The model as open_clip names it: an architecture, a hub repository, or the folder of the weights with its config.

    Raises:
        SpecError: open_clip has no such architecture, a hub model has a tag, or a tag contradicts the folder's config.
    """
    name = spec.architecture
    if name.startswith(HUB):
        if spec.settings or (spec.weights and not spec.is_random and not spec.path):
            raise SpecError(f"{spec.text!r}: a hub model has no tags; write {spec.name}, or add @FILE or @random")
    elif name not in open_clip.list_models():
        raise SpecError(f"{spec.text!r}: open_clip has no model {name!r}.{suggest(name, open_clip.list_models())}")
    if spec.path and "model_cfg" in read_config(spec.path, CONFIG):
        if spec.settings:
            raise SpecError(f"{spec.text!r}: {spec.path / CONFIG} has the settings; leave out {spec.settings}:")
        return FOLDER + str(spec.path)
    return name


def _build(spec: ModelSpec, source: str) -> Any:
    name = spec.architecture
    if name.startswith(HUB) and not spec.weights:
        with downloading(spec.text, "open_clip:ARCHITECTURE@"):
            return open_clip.create_model(name, require_pretrained=True)
    if spec.is_random or spec.path:
        checkpoint = find_checkpoint(spec.path) if spec.path else None
        if source.startswith(FOLDER):
            module = _create(spec, source)
        elif source.startswith(HUB):
            with downloading(spec.text, "open_clip:ARCHITECTURE@"):
                config = open_clip.factory.download_pretrained_from_hf(source.removeprefix(HUB), filename=CONFIG)
            module = _create(spec, FOLDER + str(Path(config).parent))
        else:
            module = _create(spec, source, **_settings(spec))
        if checkpoint:
            _load_file(spec, module, checkpoint)
        return module
    tags = tags_of(name)
    if spec.weights not in tags:
        known = f"the pretrained tags of {name} are {', '.join(tags)}" if tags else f"{name} has no pretrained tags"
        problem = f"no tag {spec.weights!r}" if spec.weights else "no weights named"
        raise SpecError(f"{spec.text!r}: {problem}; {known}; or write @FILE or @random")
    # The tag declares whether its weights were trained with QuickGELU; open_clip would only warn of a difference.
    quick_gelu = tag_settings(name, spec.weights)["force_quick_gelu"]
    with downloading(spec.text, f"{spec.name}@{spec.weights}:"):
        return open_clip.create_model(name, spec.weights, force_quick_gelu=quick_gelu)


def _settings(spec: ModelSpec) -> dict[str, Any]:
    """The settings of a file or of random weights; a folder's config may hold the preprocessing alone."""
    settings = weight_settings(spec)
    preprocess = read_config(spec.path, CONFIG).get("preprocess_cfg") if spec.path else None
    return {**settings, "force_preprocess_cfg": preprocess} if preprocess else settings


def _load_file(spec: ModelSpec, module: Any, checkpoint: Path) -> None:
    state = convert_state_dict(module, read_state(checkpoint))
    if "positional_embedding" in state and not hasattr(module, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    if spec.pixels and not fits(module, state):
        resize_input(spec, module)  # the file may hold weights for that size
    load_state(module, state, checkpoint, spec.name)


def _create(spec: ModelSpec, source: str, **settings: Any) -> Any:
    """The model with random weights; some text towers need another package or a file from a hub."""
    try:
        with soon_without_network():
            return open_clip.create_model(source, load_weights=False, pretrained_text=False, **settings)
    except Exception as error:
        raise ModelError(f"{spec.text}: open_clip cannot build it ({reason(error)})") from error


def _preprocessing(module: Any) -> Preprocessing:
    config = open_clip.transform.PreprocessCfg(**module.visual.preprocess_cfg)
    _, height, width = config.input_size
    return Preprocessing(
        size=(height, width),
        resize=(height, width),
        mean=tuple(config.mean),
        std=tuple(config.std),
        mode=config.resize_mode,
        interpolation="bilinear" if config.interpolation == "bilinear" else "bicubic",
        fill=config.fill_color,
    )


class _Tokenizer:
    """A model's tokenizer, made when it is first used because some need a download or another package."""

    def __init__(self, name: str) -> None:
        self.name = name

    @functools.cached_property
    def tokenizer(self) -> Callable[..., Tensor]:
        try:
            with soon_without_network():
                tokenizer: Callable[..., Tensor] = open_clip.get_tokenizer(self.name)
                return tokenizer
        except Exception as error:
            raise ModelError(
                f"open_clip:{self.name}: its tokenizer cannot be made ({reason(error)}). It needs the "
                "package transformers and, the first time, a network; models with CLIP's tokenizer "
                "(open_clip:ViT-B-32) need neither."
            ) from error

    def __call__(self, texts: list[str]) -> Tensor:
        return self.tokenizer(texts)


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop open_clip's log lines about random weights, which specs request, and failed downloads, which we report."""

    def drop(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(("No pretrained weights loaded", "Failed to download weights"))

    logger = logging.getLogger()
    logger.addFilter(drop)
    try:
        yield
    finally:
        logger.removeFilter(drop)
