"""Stages and blocks of networks whose layers are feature maps."""

from collections.abc import Iterator

from torch import nn

_CONTAINERS = (nn.Sequential, nn.ModuleList)


def block_paths(module: nn.Module, prefix: str = "") -> list[str]:
    """Dotted paths of the blocks and stages, each stage after its blocks.

    A stage is a sequence among the module's children (or a child that holds its blocks as `blocks`); a block is an
    element of it that has submodules. A sequence of sequences holds several stages and is not a stage itself. If there
    is no sequence, the children that have submodules are the blocks.
    """
    found = [path for name, child in module.named_children() for path in _stage(child, prefix + name)]
    return found or [prefix + name for name, child in module.named_children() if any(True for _ in child.children())]


def stage_paths(module: nn.Module, stages: list[str], prefix: str = "") -> list[str]:
    """The same as `block_paths` for stages with known paths."""
    known = dict(module.named_modules())
    return [path for stage in stages if stage in known for path in _stage(known[stage], prefix + stage, keep=True)]


def _stage(stage: nn.Module, path: str, keep: bool = False) -> Iterator[str]:
    blocks = getattr(stage, "blocks", stage)
    if isinstance(blocks, _CONTAINERS):
        inner = path if blocks is stage else f"{path}.blocks"
        is_whole = False
        for name, block in blocks.named_children():
            if isinstance(block, nn.Sequential):
                is_whole = True
                yield from _stage(block, f"{inner}.{name}")
            elif any(True for _ in block.children()):
                yield f"{inner}.{name}"
        keep = keep or not (is_whole or isinstance(stage, nn.ModuleList))
    if keep:
        yield path
