"""One interface to every model, with named layers that can be captured and changed."""

import functools
import itertools
import math
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from conceptprobe.models.anatomy import Anatomy, declared_tokens
from conceptprobe.models.convolutional import block_paths
from conceptprobe.models.errors import ModelError, UnknownLayerError
from conceptprobe.models.fingerprint import fingerprint
from conceptprobe.models.hook_points import evaluating, hooking
from conceptprobe.models.layer_table import LayerTable
from conceptprobe.models.layers import Layer, Tokens, is_square, suggest
from conceptprobe.models.preprocessing import Preprocessing

See = Callable[[str, Tensor], None]


class _Stop(Exception):  # noqa: N818
    """Ends a forward pass once every requested layer is captured."""


class VisionModel:
    """A vision model with named layers, made by `load_model` or `VisionModel.wrap`.

    Attributes:
        spec: The spec that `load_model` took.
        module: The torch module; paths of `module:` layers start at it.
        concurrent: Whether forward passes may run in several threads at once because they change nothing in the module.
        preprocess: From an RGB PIL image to pixels [3,H,W] in [0,1].
    """

    def __init__(
        self,
        spec: str,
        module: nn.Module,
        anatomy: Anatomy,
        preprocessing: Preprocessing,
        *,
        architecture: str,
        forward: Callable[[Tensor], Any] | None = None,
        encode_text: Callable[[list[str]], Tensor] | None = None,
        has_logits: bool = False,
        class_names: tuple[str, ...] | None = None,
        concurrent: bool = True,
    ) -> None:
        self.spec = spec
        self.module = module
        self.concurrent = concurrent
        self.preprocess: Callable[[Image.Image], Tensor] = preprocessing
        self._preprocessing = preprocessing
        self._architecture = architecture
        self._anatomy = anatomy
        self._forward: Callable[[Tensor], Any] = forward or module
        self._encode_text = encode_text
        self._has_logits = has_logits
        self._class_names = class_names
        self._interventions: list[dict[str, bool]] = []  # whether each layer's change has run, by context
        self._table = LayerTable(spec, module, anatomy, self._dry_run, has_logits=has_logits)

    @classmethod
    def wrap(
        cls,
        module: nn.Module,
        *,
        layers: Iterable[str] | None = None,
        image_size: int | tuple[int, int],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        name: str | None = None,
        tokens: Tokens | None = None,
        channels_last: bool = False,
        class_names: Iterable[str] | None = None,
    ) -> "VisionModel":
        """Make a model of any torch module that takes normalised images [B,3,H,W].

        Args:
            module: The torch module.
            layers: Dotted paths of the modules to list; the stages and blocks if it is None. Every other module is also
                a layer, named `module:<dotted path>`.
            image_size: Rows and columns, or the side of a square, to which `preprocess` resizes and crops.
            mean: What is subtracted from each channel before the module sees the pixels.
            std: What each channel is divided by.
            name: The model's spec; `wrap:<class name>` if it is None.
            tokens: The token layout of modules that return [B,T,C]. If it is None, the module's `num_prefix_tokens`
                (of timm's models) is used, else all tokens are patches, unless they are a square grid plus a few.
            channels_last: Whether modules that return four dimensions return [B,H,W,C].
            class_names: Names of the module's outputs if those are logits.

        Raises:
            UnknownLayerError: The module has no such submodule, or it cannot be a layer.
            ModelError: The normalisation is not for pixels in [0,1], names and outputs differ in number, or `tokens` is
                needed to tell prefix tokens from patches.
        """
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        known = dict(module.named_modules())
        paths = () if layers is None else tuple(layers)
        for path in paths:
            if path not in known:
                raise UnknownLayerError(f"the module has no submodule {path!r}.{suggest(path, known)}")
        anatomy = Anatomy(
            blocks=tuple(block_paths(module)) if layers is None else (),
            tokens=functools.partial(_wrapped_tokens, module, tokens, size[0] == size[1]),
            channels_last=lambda path: channels_last,
        )
        spec = name or f"wrap:{type(module).__name__}"
        names = None if class_names is None else tuple(class_names)
        model = cls(
            spec,
            module,
            anatomy,
            Preprocessing(size=size, resize=size, mean=tuple(mean), std=tuple(std)),
            architecture=spec,
            has_logits=names is not None,
            class_names=names,
            concurrent=False,  # the module may keep state
        )
        model._table.list_modules(paths)
        if names is not None:
            with suppress(UnknownLayerError):  # outputs that are not logits have no count
                (logits,) = model.resolve("logits")
                if logits.width != len(names):
                    raise ModelError(f"{spec} has {logits.width} outputs, but class_names has {len(names)} names")
        return model

    def __repr__(self) -> str:
        return f"VisionModel({self.spec!r}, {len(self.layers)} layers, {self.image_size}, {self.device}, {self.dtype})"

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The listed layers in model order; a derived layer follows its base.

        Unlisted layers are `logits` of a classifier and `module:<dotted path>`.
        """
        return self._table.layers

    @property
    def derived_layers(self) -> frozenset[str]:
        """Names of the layers that `attach` added; the fingerprint does not cover their functions."""
        return frozenset(x.name for x in self.layers if self._table.base(x.name) != x.name)

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self._some_weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights and activations."""
        return self._some_weight.dtype

    @property
    def image_size(self) -> tuple[int, int]:
        """Rows and columns of the pixels that `preprocess` returns."""
        return self._preprocessing.size

    @property
    def preprocessing(self) -> dict[str, Any]:
        """The settings of `preprocess` and of the normalisation inside the model, as JSON values."""
        return self._preprocessing.as_dict()

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over weights, preprocessing and architecture; the same on every device, computed once."""
        return fingerprint(self._architecture, self.preprocessing, self.module)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each logit.

        Raises:
            ModelError: The model has no classes, or their names are unknown.
        """
        if self._class_names is None:
            raise ModelError(f"{self.spec} has no class names{self._no_logits_hint}")
        return self._class_names

    @property
    def has_class_names(self) -> bool:
        """Whether the model has a classifier whose classes have names."""
        return self._class_names is not None

    @property
    def has_text(self) -> bool:
        """Whether the model can compare images with text."""
        return self._encode_text is not None

    def resolve(self, names: str | Iterable[str]) -> list[Layer]:
        """The layers that names, globs (`blocks.*.mlp.hidden`) and slices (`blocks[-4:].resid`) select.

        Returns:
            Layers in model order without repeats; unlisted `module:` layers come last.

        Raises:
            UnknownLayerError: A name matches nothing; the message lists near names.
        """
        return self._table.resolve(names)

    def module_of(self, layer: str) -> nn.Module:
        """The torch module whose output or input a layer is, such as the block of `blocks.3.resid`.

        A derived layer has the module of its base.

        Raises:
            UnknownLayerError: There is no such layer.
        """
        return self._table.hook_point(self._table.base(self.resolve(layer)[0].name)).module

    def capture(self, pixels_bchw: Tensor, layers: str | Iterable[str]) -> dict[str, Tensor]:
        """Capture the activations of some layers, batch first, in the model's dtype.

        The forward pass stops after the last of these layers, even within a block. Gradients flow if the caller enables
        them.

        Args:
            pixels_bchw: RGB in [0,1], like the pixels of `preprocess`; moved to the model's device.
            layers: Names, or anything else `resolve` understands.

        Returns:
            One tensor for each layer, in the layout of its kind, in model order.
        """
        values: dict[str, Tensor] = {}
        self.visit(pixels_bchw, layers, values.__setitem__)
        return {layer.name: values[layer.name] for layer in self.resolve(layers)}

    def visit(self, pixels_bchw: Tensor, layers: str | Iterable[str], see: See) -> None:
        """Pass the activations of some layers to a callback, one layer at a time, without keeping any.

        Args:
            pixels_bchw: Pixels like those of `capture`.
            layers: Names, or anything else `resolve` understands.
            see: The callback. It takes a layer's name and its tensor as soon as the forward pass has computed it, while
                it is in the processor's cache; derived layers follow after the forward pass. It must not change the
                tensor.
        """
        with self.visiting(layers) as visit:
            visit(pixels_bchw, see)

    @contextmanager
    def visiting(self, layers: str | Iterable[str]) -> Iterator[Callable[[Tensor, See], None]]:
        """Within the context, a function like `visit` for these layers, which takes pixels and `see`.

        Several threads may call it at once if the model is `concurrent`.
        """
        wanted = [layer.name for layer in self.resolve(layers)]
        derived = [name for name in wanted if self._table.base(name) != name]
        needed = {self._table.base(name) for name in derived}
        seen = {self._table.base(name) for name in wanted}
        here = threading.local()  # `take`: the callback of this thread's forward pass

        def visit(pixels_bchw: Tensor, see: See) -> None:
            bases: dict[str, Tensor] = {}
            pending = set(seen)

            def take(name: str, value: Tensor) -> None:
                pending.remove(name)
                if self._table.hook_point(name).copy:
                    value = value.clone()
                if name in needed:
                    bases[name] = value
                if name in wanted:
                    see(name, value)
                if not pending:
                    raise _Stop

            if pending:
                here.take = take
                try:
                    self._run(pixels_bchw)
                except _Stop:
                    self._check_interventions(seen)
                else:
                    raise ModelError(f"{self.spec}: {sorted(pending)} did not run in this forward pass")
                finally:
                    here.take = None
            for name in derived:
                see(name, self._table.derive(name, bases))

        def keep(name: str, value: Tensor) -> None:
            # Only visited forward passes are seen: a derived layer's function may itself call modules of this model.
            if (take := getattr(here, "take", None)) is not None:
                take(name, value)

        with ExitStack() as hooks:
            hooks.enter_context(evaluating(self.module))
            for name in sorted(seen):
                hooks.enter_context(hooking(self._table.hook_point(name), functools.partial(keep, name)))
            yield visit

    @contextmanager
    def intervene(self, changes: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator["VisionModel"]:
        """Change layers in every forward pass within the context: lesions, dropped features, steering.

        Args:
            changes: A function for each layer name, or for anything else `resolve` understands. It maps the layer's
                tensor (batch first, in the layout of its kind) to another tensor of the same shape.

        Raises:
            ModelError: A layer cannot be changed, a function returns another shape, or a forward pass ignores a change,
                as that of a compiled module does.
        """
        has_run: dict[str, bool] = {}

        def change(name: str, fn: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
            has_run[name] = True
            return _changed(name, fn, value)

        with ExitStack() as hooks:
            for names, fn in changes.items():
                for layer in self.resolve(names):
                    point = self._table.hook_point(layer.name)
                    if point.readonly:
                        raise ModelError(f"cannot intervene on {layer.name} of {self.spec}: {point.readonly}")
                    has_run[layer.name] = False
                    hooks.enter_context(hooking(point, functools.partial(change, layer.name, fn)))
            self._interventions.append(has_run)
            try:
                yield self
            finally:
                self._interventions = [each for each in self._interventions if each is not has_run]

    def _check_interventions(self, captured: Collection[str] | None = None) -> None:
        """Refuse a forward pass in which an intervention did not run; one that stopped early ran up to `captured`."""
        missing = [name for has_run in self._interventions for name, ran in has_run.items() if not ran]
        if captured is not None and missing:
            last = max((_block(name) for name in captured), default=-1)
            missing = [name for name in missing if -1 < _block(name) < last]
        if missing:
            raise ModelError(
                f"{self.spec}: the intervention on {', '.join(missing)} did not run in a forward pass. A compiled "
                "module ignores it: take the module as it was before torch.compile"
            )

    def attach(self, name: str, layer: str, fn: Callable[[Tensor], Tensor], width: int) -> Layer:
        """Add a layer that is derived from another, such as an SAE's encoder on `blocks.8.resid`.

        Args:
            name: A new name.
            layer: The base, from which the new layer is derived.
            fn: Maps the base's tensor to a tensor with `width` features and the same layout.
            width: Number of features.
        """
        return self._table.derive_layer(name, layer, fn, width)

    def encode_image(self, pixels_bchw: Tensor, normalize: bool = True) -> Tensor:
        """Embeddings [B,C] of unit length; without `normalize`, the layer `embedding`.

        Raises:
            ModelError: The model has no embedding.
        """
        if "embedding" not in self._table:
            raise ModelError(f"{self.spec} has no embedding: capture one of its layers instead")
        embedding = self.capture(pixels_bchw, ["embedding"])["embedding"]
        return F.normalize(embedding, dim=-1) if normalize else embedding

    def encode_text(self, texts: list[str], normalize: bool = True) -> Tensor:
        """Embeddings [n,C] of texts in the space of `encode_image`, of unit length unless `normalize` is false.

        Raises:
            ModelError: The model has no text tower.
        """
        if self._encode_text is None:
            raise ModelError(f"{self.spec} has no text tower: open_clip models and mini:clip have one")
        if isinstance(texts, str):
            raise ModelError(f"encode_text takes a list of texts, got the single text {texts!r}")
        with evaluating(self.module):
            embedding = self._encode_text(texts)
        return F.normalize(embedding, dim=-1) if normalize else embedding

    def logits(self, pixels_bchw: Tensor) -> Tensor:
        """Class scores [B,classes] before the softmax.

        Raises:
            ModelError: The model has no classifier.
        """
        if not self._has_logits:
            raise ModelError(f"{self.spec} has no classifier{self._no_logits_hint}")
        scores: Tensor = self._run(pixels_bchw)
        return scores

    @property
    def _no_logits_hint(self) -> str:
        return "; compare encode_image with encode_text of the class names" if self._encode_text else ""

    @property
    def _some_weight(self) -> Tensor:
        weights = itertools.chain(self.module.parameters(), self.module.buffers())
        return next((tensor for tensor in weights if tensor.is_floating_point()), torch.empty(0))

    def check_input(self) -> None:
        """Run the model on a blank image of `image_size`; errors of the module are not caught."""
        self._dry_run(1)

    def _dry_run(self, batch: int) -> None:
        with torch.no_grad():
            self._run(torch.zeros(batch, 3, *self.image_size, device=self.device))

    def _run(self, pixels_bchw: Tensor) -> Any:
        """Normalise the pixels and run the forward pass in eval mode."""
        if pixels_bchw.ndim != 4 or pixels_bchw.shape[1] != 3:
            raise ModelError(f"pixels must be [B,3,H,W] in [0,1], got {list(pixels_bchw.shape)}")
        if self._anatomy.fixed_size and tuple(pixels_bchw.shape[2:]) != self.image_size:
            raise ModelError(f"{self.spec} takes images of {self.image_size}, got {tuple(pixels_bchw.shape[2:])}")
        if not pixels_bchw.is_floating_point():
            raise ModelError(f"pixels must be floats in [0,1], got {pixels_bchw.dtype}")
        pixels = pixels_bchw.to(self.device, torch.promote_types(pixels_bchw.dtype, torch.float32))
        mean, std = (
            torch.tensor(values, device=pixels.device, dtype=pixels.dtype).reshape(1, 3, 1, 1)
            for values in (self._preprocessing.mean, self._preprocessing.std)
        )
        with evaluating(self.module):
            output = self._forward(((pixels - mean) / std).to(self.dtype))
        self._check_interventions()
        return output


def _wrapped_tokens(module: nn.Module, tokens: Tokens | None, square: bool, path: str, count: int) -> Tokens:
    """The token layout of a wrapped module: as given, as the module declares it, or patches only."""
    if tokens is not None:
        return tokens
    if hasattr(module, "num_prefix_tokens"):
        return declared_tokens(module, count)
    few = next((few for few in range(1, 6) if is_square(count - few)), 0)
    if square and few and count - few >= 16 and not is_square(count):
        side = math.isqrt(count - few)
        raise ModelError(
            f"module:{path} returns {count} tokens, which may be {side} x {side} patches after {few} others (CLS, "
            f"registers): pass tokens=cp.Tokens(prefix={few}, cls=0), or cp.Tokens() if all are patches"
        )
    return Tokens()


def _block(layer: str) -> int:
    """The number of the transformer block that a layer is in; -1 if it is in none."""
    prefix, _, rest = layer.partition(".")
    return int(rest.partition(".")[0]) if prefix == "blocks" else -1


def _changed(name: str, fn: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    changed = fn(value.clone())  # a function may work in place, and a capture may hold the tensor
    if not isinstance(changed, Tensor) or changed.shape != value.shape:
        returned = list(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        raise ModelError(f"the intervention on {name} returned {returned}, expected a tensor {list(value.shape)}")
    return changed.to(value.dtype)
