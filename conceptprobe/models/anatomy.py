"""The layers that a family declares for its module, and those that one small forward pass finds."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import torch
from torch import nn

from conceptprobe.models.errors import ModelError, UnknownLayerError
from conceptprobe.models.hook_points import AS_IS, CHANNELS_LAST, TIME_FIRST, HookedLayer, HookPoint, first_tensor
from conceptprobe.models.layers import MODULE, Layer, Tokens, is_square

_BATCH = 2


@dataclass(frozen=True)
class Anatomy:
    """The layers of a module, declared by its family.

    Attributes:
        named: The layers that have canonical names, in model order.
        blocks: Paths of the modules (stages and blocks of a CNN) that are listed as layers, in model order. Modules
            that cannot be layers are left out.
        tokens: The layout of the tokens [B,T,C] that the module at a path returns, by the path and T.
        channels_last: Whether the module at a path returns maps as [B,H,W,C].
        channels: The number of channels of the maps that the module at a path returns, or None if it is not declared.
        fixed_size: Whether the model takes images of one size only.
    """

    named: dict[str, HookedLayer] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    tokens: Callable[[str, int], Tokens] = lambda path, count: Tokens()
    channels_last: Callable[[str], bool] = lambda path: False
    channels: Callable[[str], int | None] = lambda path: None
    fixed_size: bool = False


def declared_tokens(module: nn.Module, count: int) -> Tokens:
    """The layout of `count` tokens of a model that declares its prefix tokens, by number or as parameters.

    Some of its modules put the prefix before the patches and some do not, so it counts only where a square grid of
    patches is left without it, as in timm's models with several stages or a late CLS token.
    """
    classes = [value for name, value in module.named_parameters() if name.startswith("cls_token")]
    prefix = getattr(module, "num_prefix_tokens", None)
    if prefix is None:
        prefix = max((value.shape[1] for value in classes), default=0)
    if not prefix or is_square(count) or not is_square(count - prefix):
        return Tokens()
    return Tokens(prefix, 0 if classes else None)


def find_module_layers(
    root: nn.Module, paths: Iterable[str], anatomy: Anatomy, dry_run: Callable[[int], None]
) -> dict[str, HookedLayer | UnknownLayerError]:
    """Run a few images once to find the shapes of the layers `module:<path>`; returns them by path.

    A module that does not run, runs more than once, or returns no features has an error instead of a layer.
    """
    modules = dict(root.named_modules(remove_duplicate=False))
    paths = list(paths)
    outputs: dict[str, list[object]] = {path: [] for path in paths}
    with ExitStack() as hooks:
        for path in paths:
            record = _recording(outputs[path])
            hooks.callback(modules[path].register_forward_hook(record).remove)
        dry_run(_BATCH)
    hooked: dict[str, HookedLayer | UnknownLayerError] = {}
    for path in paths:
        try:
            hooked[path] = _module_layer(path, modules[path], outputs[path], anatomy)
        except UnknownLayerError as error:
            hooked[path] = error
    return hooked


def _recording(outputs: list[object]) -> Callable[[nn.Module, object, object], None]:
    def record(module: nn.Module, args: object, output: object) -> None:
        with suppress(ModelError):
            output = first_tensor(output).shape
        outputs.append(output)

    return record


def _module_layer(path: str, module: nn.Module, outputs: list[object], anatomy: Anatomy) -> HookedLayer:
    name = MODULE + path
    if len(outputs) != 1:
        times = f"runs {len(outputs)} times in a forward" if outputs else "does not run in a forward of the image tower"
        raise UnknownLayerError(f"{name} cannot be a layer: it {times}; take a module that runs once")
    (shape,) = outputs
    if not isinstance(shape, torch.Size):
        raise UnknownLayerError(f"{name} cannot be a layer: it returns {type(shape).__name__}, not a tensor")
    tokens = anatomy.tokens(path, shape[1] if len(shape) == 3 else 0)
    layout = AS_IS
    if len(shape) == 4:
        layout = CHANNELS_LAST if anatomy.channels_last(path) else AS_IS
    elif len(shape) == 3 and not tokens.batch_first:
        layout = TIME_FIRST
    shape = layout.read(torch.empty(shape, device="meta")).shape
    between_tokens = len(shape) == 4 and tokens.grid is not None  # such as attention, [B,heads,T,T]
    if shape[0] != _BATCH or len(shape) not in (2, 3, 4) or between_tokens:
        raise UnknownLayerError(
            f"{name} cannot be a layer: for {_BATCH} images it returns {list(shape)}, which is none of tokens "
            "[B,T,C], map [B,C,H,W] and vector [B,C]"
        )
    declared = anatomy.channels(path)
    if len(shape) == 4 and declared == shape[3] != shape[1]:
        raise UnknownLayerError(
            f"{name} cannot be a layer: its maps are {list(shape)}, but its family declares {declared} channels, so "
            "their layout is not the family's; VisionModel.wrap(..., channels_last=True) can declare it"
        )
    if len(shape) == 4:
        layer = Layer(name, shape[1], "map", grid=(shape[2], shape[3]))
    elif len(shape) == 3:
        layer = Layer(name, shape[2], "tokens", tokens.prefix, tokens.cls, tokens.grid)
    else:
        layer = Layer(name, shape[1], "vector")
    # A later residual sum or activation may change the tensor in place (ResNets do both).
    return HookedLayer(layer, HookPoint(module, layout=layout, copy=True))
