"""What a family declares about one of its modules, and what one small forward finds out about the rest."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import torch
from torch import nn

from conceptprobe.models.errors import ModelError, UnknownLayerError
from conceptprobe.models.layers import MODULE, Layer, Tokens
from conceptprobe.models.sites import AS_IS, CHANNELS_LAST, TIME_FIRST, Placed, Site, first_tensor

_BATCH = 2


@dataclass(frozen=True)
class Anatomy:
    """The layers of a module, declared by its family.

    Attributes:
        named: The layers with names of their own, in model order.
        blocks: Paths of the modules (stages and blocks of a CNN) that are listed as layers, in model order; those that
            turn out to be no layers are left out.
        tokens: Layout of the tokens [B,T,C] that the module at a path puts out.
        channels_last: Whether the module at a path puts out maps as [B,H,W,C].
        channels: The number of channels of the maps that the module at a path puts out, None where nobody says it.
        fixed_size: The model takes images of one size only.
    """

    named: dict[str, Placed] = field(default_factory=dict)
    blocks: tuple[str, ...] = ()
    tokens: Callable[[str], Tokens] = lambda path: Tokens()
    channels_last: Callable[[str], bool] = lambda path: False
    channels: Callable[[str], int | None] = lambda path: None
    fixed_size: bool = False


def place_modules(
    root: nn.Module, paths: Iterable[str], anatomy: Anatomy, dry_run: Callable[[int], None]
) -> dict[str, Placed | UnknownLayerError]:
    """The layers `module:<path>` by their paths, their shapes found by one forward of a few images.

    In place of a layer stands an error where the module does not run, runs more than once, or puts out no features.
    """
    modules = dict(root.named_modules(remove_duplicate=False))
    paths = list(paths)
    outputs: dict[str, list[object]] = {path: [] for path in paths}
    with ExitStack() as hooks:
        for path in paths:
            note = _noting(outputs[path])
            hooks.callback(modules[path].register_forward_hook(note).remove)
        dry_run(_BATCH)
    placed: dict[str, Placed | UnknownLayerError] = {}
    for path in paths:
        try:
            placed[path] = _place(path, modules[path], outputs[path], anatomy)
        except UnknownLayerError as error:
            placed[path] = error
    return placed


def _noting(outputs: list[object]) -> Callable[[nn.Module, object, object], None]:
    def note(module: nn.Module, args: object, output: object) -> None:
        with suppress(ModelError):
            output = first_tensor(output).shape
        outputs.append(output)

    return note


def _place(path: str, module: nn.Module, outputs: list[object], anatomy: Anatomy) -> Placed:
    name = MODULE + path
    if len(outputs) != 1:
        times = f"runs {len(outputs)} times in a forward" if outputs else "does not run in a forward of the image tower"
        raise UnknownLayerError(f"{name} cannot be a layer: it {times}; take a module that runs once")
    (shape,) = outputs
    if not isinstance(shape, torch.Size):
        raise UnknownLayerError(f"{name} cannot be a layer: it puts out {type(shape).__name__}, not a tensor")
    tokens = anatomy.tokens(path)
    layout = AS_IS
    if len(shape) == 4:
        layout = CHANNELS_LAST if anatomy.channels_last(path) else AS_IS
    elif len(shape) == 3 and not tokens.batch_first:
        layout = TIME_FIRST
    shape = layout.read(torch.empty(shape, device="meta")).shape
    between_tokens = len(shape) == 4 and tokens.grid is not None  # such as attention, [B,heads,T,T]
    if shape[0] != _BATCH or len(shape) not in (2, 3, 4) or between_tokens:
        raise UnknownLayerError(
            f"{name} cannot be a layer: for {_BATCH} images it puts out {list(shape)}, which is none of tokens "
            "[B,T,C], map [B,C,H,W] and vector [B,C]"
        )
    declared = anatomy.channels(path)
    if len(shape) == 4 and declared == shape[3] != shape[1]:
        raise UnknownLayerError(
            f"{name} cannot be a layer: its maps are {list(shape)} where {declared} channels are declared, so their "
            "layout is another than that of its family; VisionModel.wrap(..., channels_last=True) can say so"
        )
    if len(shape) == 4:
        layer = Layer(name, shape[1], "map", grid=(shape[2], shape[3]))
    elif len(shape) == 3:
        layer = Layer(name, shape[2], "tokens", tokens.prefix, tokens.cls, tokens.grid)
    else:
        layer = Layer(name, shape[1], "vector")
    # A residual sum or an activation further on may work in place (ResNets do both).
    return Placed(layer, Site(module, layout=layout, copy=True))
