"""All layers of a model: those named by its family, its modules, and derived layers."""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from conceptprobe.models.anatomy import Anatomy, find_module_layers
from conceptprobe.models.errors import ModelError, UnknownLayerError
from conceptprobe.models.hook_points import AS_IS, HookedLayer, HookPoint
from conceptprobe.models.layers import LOGITS, MODULE, Layer, select


class _Derived(NamedTuple):
    layer: Layer
    base: str
    fn: Callable[[Tensor], Tensor]


class LayerTable:
    """The layers of a model by name, each with its hook point.

    Args:
        spec: The model's spec, for messages.
        root: The model's torch module.
        anatomy: The layers that the family declares.
        dry_run: Runs the model on a number of blank images.
        has_logits: Whether the root returns class scores: the layer `logits`, which is not listed.
    """

    def __init__(
        self,
        spec: str,
        root: nn.Module,
        anatomy: Anatomy,
        dry_run: Callable[[int], None],
        *,
        has_logits: bool = False,
    ) -> None:
        self._spec = spec
        self._root = root
        self._anatomy = anatomy
        self._dry_run = dry_run
        self._has_logits = has_logits
        self._hooked: dict[str, HookedLayer] = dict(anatomy.named)
        self._derived: dict[str, _Derived] = {}
        self._listed = [name for name in anatomy.named if name != "embedding"]
        self._listed += self._find_modules(anatomy.blocks, lenient=True)
        self._listed += ["embedding"] if "embedding" in anatomy.named else []

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The listed layers, in model order."""
        return tuple(self._layer(name) for name in self._listed)

    def __contains__(self, name: str) -> bool:
        return name in self._hooked or name in self._derived

    def list_modules(self, paths: Iterable[str]) -> None:
        """Add the layers of modules to the listed layers."""
        self._listed += self._find_modules(paths)

    def resolve(self, names: str | Iterable[str]) -> list[Layer]:
        """The layers that names, globs and slices select, in model order; unlisted layers come last."""
        selected: set[str] = set()
        for pattern in [names] if isinstance(names, str) else names:
            if pattern in self._listed:  # a whole name, as in every batch of an index build
                selected.add(pattern)
                continue
            if pattern == LOGITS and self._has_logits:
                self._find_logits()
                selected.add(pattern)
                continue
            try:
                selected.update(select(pattern, self._listed))
            except UnknownLayerError:
                if not pattern.startswith(MODULE):
                    raise
                selected.update(select(pattern, self._modules))
        order = [name for name in self._listed if name in selected]
        order += [LOGITS] if LOGITS in selected and LOGITS not in self._listed else []
        order += [name for name in self._modules if name in selected and name not in self._listed]
        self._find_modules(name.removeprefix(MODULE) for name in order if name not in self)
        return [self._layer(name) for name in order]

    def base(self, name: str) -> str:
        """The layer that must be captured to compute this layer: the layer itself, unless it is derived."""
        return self._derived[name].base if name in self._derived else name

    def hook_point(self, name: str) -> HookPoint:
        """The hook point of a layer.

        Raises:
            ModelError: The layer is derived, so it has no hook point in the model.
        """
        if name in self._derived:
            raise ModelError(
                f"{name} is derived and has no effect on the model: use the layer it derives from, {self.base(name)}"
            )
        return self._hooked[name].point

    def derive_layer(self, name: str, base: str, fn: Callable[[Tensor], Tensor], width: int) -> Layer:
        """Add a layer that is a function of another layer; it is listed directly after that layer.

        Raises:
            ModelError: The name is taken, or the base is not one layer from which others can derive.
        """
        if name in self or name.startswith(MODULE):
            raise ModelError(
                f"{self._spec} cannot add a derived layer {name!r}: its name is taken or starts with {MODULE!r}"
            )
        bases = self.resolve(base)
        parent = bases[0]
        if len(bases) != 1 or parent.name in self._derived or parent.kind == "attention":
            raise ModelError(f"{base!r} must name one layer of tokens, a map or a vector that is not itself derived")
        layer = replace(parent, name=name, width=width)
        self._derived[name] = _Derived(layer, parent.name, fn)
        after = self._listed.index(parent.name) + 1 if parent.name in self._listed else len(self._listed)
        self._listed.insert(after, name)
        return layer

    def derive(self, name: str, captured: Mapping[str, Tensor]) -> Tensor:
        """The tensor of a derived layer, computed from the captured tensor of its base.

        Raises:
            ModelError: The layer's function returns another shape than declared.
        """
        layer, base, fn = self._derived[name]
        value, shape = fn(captured[base]), captured[base].shape
        expected = (shape[0], layer.width, *shape[2:]) if layer.kind == "map" else (*shape[:-1], layer.width)
        if value.shape != torch.Size(expected):
            raise ModelError(f"{name}: its function returned {list(value.shape)}, expected {list(expected)}")
        return value

    @functools.cached_property
    def _modules(self) -> list[str]:
        return [MODULE + path for path, _ in self._root.named_modules(remove_duplicate=False) if path]

    def _layer(self, name: str) -> Layer:
        return self._derived[name].layer if name in self._derived else self._hooked[name].layer

    def _find_logits(self) -> None:
        """Add the layer `logits`, whose width one small forward pass finds."""
        if LOGITS not in self._hooked:
            hooked = find_module_layers(self._root, [""], self._anatomy, self._dry_run)[""]
            if isinstance(hooked, UnknownLayerError) or hooked.layer.kind != "vector":
                raise UnknownLayerError(f"{self._spec}: its module does not return class scores [B,classes]")
            self._hooked[LOGITS] = HookedLayer(replace(hooked.layer, name=LOGITS), replace(hooked.point, layout=AS_IS))

    def _find_modules(self, paths: Iterable[str], lenient: bool = False) -> list[str]:
        """Find the layers of modules that are not in the table yet; returns the names of all that are layers."""
        names = [MODULE + path for path in paths]
        new = [name.removeprefix(MODULE) for name in names if name not in self._hooked]
        if new:
            for path, hooked in find_module_layers(self._root, new, self._anatomy, self._dry_run).items():
                if isinstance(hooked, HookedLayer):
                    self._hooked[MODULE + path] = hooked
                elif not lenient:
                    raise hooked
        return [name for name in names if name in self._hooked]
