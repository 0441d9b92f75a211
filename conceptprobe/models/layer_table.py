"""All layers that a model has: named by its family, any of its modules, and derived ones."""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from conceptprobe.models.anatomy import Anatomy, place_modules
from conceptprobe.models.errors import ModelError, UnknownLayerError
from conceptprobe.models.layers import LOGITS, MODULE, Layer, select
from conceptprobe.models.sites import AS_IS, Placed, Site


class _Derived(NamedTuple):
    layer: Layer
    base: str
    fn: Callable[[Tensor], Tensor]


class LayerTable:
    """Layers by name, and where they are.

    Args:
        spec: The model's, for messages.
        dry_run: Runs the model on so many blank images.
        has_logits: The root puts out class scores: the layer `logits`, which is not listed.
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
        self._placed: dict[str, Placed] = dict(anatomy.named)
        self._derived: dict[str, _Derived] = {}
        self._listed = [name for name in anatomy.named if name != "embedding"]
        self._listed += self._place(anatomy.blocks, lenient=True)
        self._listed += ["embedding"] if "embedding" in anatomy.named else []

    @property
    def layers(self) -> tuple[Layer, ...]:
        return tuple(self._layer(name) for name in self._listed)

    def __contains__(self, name: str) -> bool:
        return name in self._placed or name in self._derived

    def list_modules(self, paths: Iterable[str]) -> None:
        """Add the layers of modules to those that are listed."""
        self._listed += self._place(paths)

    def resolve(self, names: str | Iterable[str]) -> list[Layer]:
        """The layers that names, globs and slices select, in model order; what is not listed comes last."""
        selected: set[str] = set()
        for pattern in [names] if isinstance(names, str) else names:
            if pattern in self._listed:  # a whole name, as in every batch of an index
                selected.add(pattern)
                continue
            if pattern == LOGITS and self._has_logits:
                self._place_logits()
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
        self._place(name.removeprefix(MODULE) for name in order if name not in self)
        return [self._layer(name) for name in order]

    def base(self, name: str) -> str:
        """The layer that must be captured for this one: itself, unless it is derived."""
        return self._derived[name].base if name in self._derived else name

    def site(self, name: str) -> Site:
        """Where a layer is.

        Raises:
            ModelError: It is derived, and so nowhere in the model.
        """
        if name in self._derived:
            raise ModelError(f"{name} is derived and feeds nothing: use the layer it derives from, {self.base(name)}")
        return self._placed[name].site

    def derive_layer(self, name: str, base: str, fn: Callable[[Tensor], Tensor], width: int) -> Layer:
        """Add a layer that is a function of another, after which it is listed."""
        if name in self or name.startswith(MODULE):
            raise ModelError(f"{self._spec} cannot take a derived layer {name!r}: it has one, or it names a module")
        found = self.resolve(base)
        if len(found) != 1 or found[0].name in self._derived or found[0].kind == "attention":
            raise ModelError(f"{base!r} is not one layer of tokens, a map or a vector, which others can derive from")
        own = found[0]
        layer = Layer(name, width, own.kind, own.prefix, own.cls, own.grid)
        self._derived[name] = _Derived(layer, own.name, fn)
        after = self._listed.index(own.name) + 1 if own.name in self._listed else len(self._listed)
        self._listed.insert(after, name)
        return layer

    def derive(self, name: str, captured: Mapping[str, Tensor]) -> Tensor:
        """The value of a derived layer, given the captured one of its base."""
        layer, base, fn = self._derived[name]
        value, own = fn(captured[base]), captured[base].shape
        expected = (own[0], layer.width, *own[2:]) if layer.kind == "map" else (*own[:-1], layer.width)
        if value.shape != torch.Size(expected):
            raise ModelError(f"{name}: its function gave {list(value.shape)}, expected {list(expected)}")
        return value

    @functools.cached_property
    def _modules(self) -> list[str]:
        return [MODULE + path for path, _ in self._root.named_modules(remove_duplicate=False) if path]

    def _layer(self, name: str) -> Layer:
        return self._derived[name].layer if name in self._derived else self._placed[name].layer

    def _place_logits(self) -> None:
        """Find out how many classes the root scores."""
        if LOGITS not in self._placed:
            placed = place_modules(self._root, [""], self._anatomy, self._dry_run)[""]
            if isinstance(placed, UnknownLayerError) or placed.layer.kind != "vector":
                raise UnknownLayerError(f"{self._spec}: what its module puts out is not class scores [B,classes]")
            self._placed[LOGITS] = Placed(replace(placed.layer, name=LOGITS), replace(placed.site, layout=AS_IS))

    def _place(self, paths: Iterable[str], lenient: bool = False) -> list[str]:
        """Find out the layers of modules that are not known yet; returns the names of all that are layers."""
        names = [MODULE + path for path in paths]
        new = [name.removeprefix(MODULE) for name in names if name not in self._placed]
        if new:
            for path, placed in place_modules(self._root, new, self._anatomy, self._dry_run).items():
                if isinstance(placed, Placed):
                    self._placed[MODULE + path] = placed
                elif not lenient:
                    raise placed
        return [name for name in names if name in self._placed]
