"""Models with random weights, and what the tests know of their insides without asking conceptprobe."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import open_clip
import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from conceptprobe.models import VisionModel, load_model
from conceptprobe.models import timm as timm_family
from conceptprobe.models.preprocessing import Preprocessing

TRANSFORMERS = (
    "mini:distilled@random",
    "open_clip:ViT-B-32@random",
    "open_clip:ViT-B-32-quickgelu@random",
    "open_clip:ViT-B-16-SigLIP@random",
    "open_clip:EVA02-B-16@random",
    "open_clip:coca_ViT-B-32@random",
    "timm:vit_tiny_patch16_224@random",
    "timm:deit_small_distilled_patch16_224@random",
    "timm:vit_small_patch14_reg4_dinov2.lvd142m@random",
    "timm:vit_small_patch16_224.dino@random",
    "torchvision:vit_b_16@random",
)
CONVOLUTIONAL = (
    "open_clip:convnext_base@random",
    "open_clip:RN50@random",
    "timm:swin_tiny_patch4_window7_224@random",
    "timm:convnext_tiny@random",
    "timm:resnet50@random",
    "torchvision:resnet50@random",
    "torchvision:convnext_tiny@random",
    "torchvision:swin_t@random",
)


@dataclass(frozen=True)
class Inside:
    """The modules of a transformer, looked up by hand."""

    blocks: list[Any]
    attention: Callable[[Any], Any]
    activation: Callable[[Any], nn.Module]
    last_linear: Callable[[Any], nn.Module]
    final_norm: nn.Module
    patch_embed: nn.Module
    prefix: int
    cls: int | None


def look_inside(module: Any) -> Inside:
    if isinstance(module, torchvision.models.VisionTransformer):
        return Inside(
            blocks=list(module.encoder.layers),
            attention=lambda block: block.self_attention,
            activation=lambda block: block.mlp[1],
            last_linear=lambda block: block.mlp[3],
            final_norm=module.encoder.ln,
            patch_embed=module.conv_proj,
            prefix=1,
            cls=0,
        )
    visual = getattr(module, "visual", module)
    if isinstance(visual, open_clip.transformer.VisionTransformer):
        return Inside(
            blocks=list(visual.transformer.resblocks),
            attention=lambda block: block.attn,
            activation=lambda block: block.mlp.gelu,
            last_linear=lambda block: block.mlp.c_proj,
            final_norm=visual.ln_post if visual.attn_pool is None else visual.attn_pool.ln_k,
            patch_embed=visual.conv1,
            prefix=1,
            cls=0,
        )
    trunk = getattr(visual, "trunk", visual)
    name = type(trunk).__name__
    registers = trunk.reg_token.shape[1] if trunk.reg_token is not None else 0
    distilled = 1 if name == "VisionTransformerDistilled" else 0
    has_cls = trunk.cls_token is not None
    return Inside(
        blocks=list(trunk.blocks),
        attention=lambda block: block.attn,
        activation=lambda block: block.mlp.act,
        last_linear=lambda block: block.mlp.fc2,
        final_norm=trunk.norm,
        patch_embed=trunk.patch_embed,
        prefix=int(has_cls) + distilled + registers,
        cls=0 if has_cls else None,
    )


def load_small(spec: str) -> VisionModel:
    """The model of a spec; DINOv2 with registers at 56 px, because 518 px would take minutes."""
    if "reg4" not in spec:
        return load_model(spec, "cpu")
    module = timm.create_model("vit_small_patch14_reg4_dinov2", img_size=56)
    module.eval().requires_grad_(False)
    preprocessing = Preprocessing(size=(56, 56), resize=(56, 56), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))
    return VisionModel(spec, module, timm_family.anatomy(module), preprocessing, architecture=spec)


@pytest.fixture(scope="session", params=TRANSFORMERS)
def transformer(request: pytest.FixtureRequest) -> VisionModel:
    return load_small(request.param)


@pytest.fixture(scope="session", params=CONVOLUTIONAL)
def convolutional(request: pytest.FixtureRequest) -> VisionModel:
    return load_small(request.param)


@pytest.fixture(scope="session")
def inside() -> Callable[[Any], Inside]:
    return look_inside


@pytest.fixture
def tiny() -> VisionModel:
    """The mini ViT: 48 px, 6 blocks, 37 tokens; fresh for each test, so that a test may break it."""
    return load_model("mini:distilled@random", "cpu")


@pytest.fixture(scope="session")
def random_pixels() -> Callable[[VisionModel, int], Tensor]:
    def make(model: VisionModel, batch: int = 2) -> Tensor:
        return torch.rand(batch, 3, *model.image_size, generator=torch.Generator().manual_seed(7))

    return make


@pytest.fixture(scope="session")
def plain_forward() -> Callable[..., dict[str, Tensor]]:
    """Run a model without conceptprobe, with plain hooks on the outputs and inputs of some modules."""

    def run(model: VisionModel, pixels: Tensor, outputs: dict[str, nn.Module], inputs: dict[str, nn.Module]) -> Any:
        seen: dict[str, Tensor] = {}
        with ExitStack() as hooks, torch.no_grad():
            for name, module in outputs.items():
                hooks.enter_context(_output_noted(seen, name, module))
            for name, module in inputs.items():
                hook = module.register_forward_pre_hook(
                    lambda module, args, name=name: seen.update({name: args[0].clone()})
                )
                hooks.callback(hook.remove)
            mean, std = (torch.tensor(model.preprocessing[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
            seen["returned"] = getattr(model.module, "visual", model.module)((pixels - mean) / std)
        return seen

    return run


@contextmanager
def _output_noted(seen: dict[str, Tensor], name: str, module: nn.Module) -> Iterator[None]:
    def note(module: nn.Module, args: Any, output: Any) -> None:
        seen[name] = (output[0] if isinstance(output, tuple) else output).clone()

    handle = module.register_forward_hook(note)
    yield
    handle.remove()


def hooks_left(module: nn.Module) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in module.modules())


@pytest.fixture(scope="session")
def count_hooks() -> Callable[[nn.Module], int]:
    return hooks_left
