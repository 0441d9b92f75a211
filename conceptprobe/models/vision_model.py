"""One face for every model: named layers, captured and changed."""

import functools
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from conceptprobe.models.anatomy import Anatomy
from conceptprobe.models.convolutional import block_paths
from conceptprobe.models.errors import ModelError, UnknownLayerError
from conceptprobe.models.fingerprint import fingerprint
from conceptprobe.models.layer_table import LayerTable
from conceptprobe.models.layers import Layer, Tokens, suggest
from conceptprobe.models.preprocessing import Preprocessing
from conceptprobe.models.sites import evaluating, touching

See = Callable[[str, Tensor], None]


class _Stop(Exception):  # noqa: N818
    """Ends a forward once everything asked for is captured."""


class VisionModel:
    """A model that looks at images, with its layers by name. Made by `load_model` or `VisionModel.wrap`.

    Attributes:
        spec: As given to `load_model`.
        module: The torch module itself; paths of `module:` layers start at it.
        concurrent: Whether forwards may run in several threads at once, since none leaves anything in the module.
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
        """Any torch module that takes normalised images [B,3,H,W].

        Args:
            layers: Dotted paths of the modules to list; the stages and blocks where it is None. Every other module is a
                layer too, by its name `module:<dotted path>`.
            image_size: What `preprocess` resizes and crops to.
            mean, std: Normalisation, done inside.
            name: The model's spec; `wrap:<class name>` where it is None.
            tokens: How modules that put out [B,T,C] lay out their tokens; patches only where it is None.
            channels_last: Modules that put out four dimensions put out [B,H,W,C].
            class_names: Names of the module's outputs, where those are logits.
        """
        size = (image_size, image_size) if isinstance(image_size, int) else image_size
        known = dict(module.named_modules())
        paths = () if layers is None else tuple(layers)
        for path in paths:
            if path not in known:
                raise UnknownLayerError(f"the module has no submodule {path!r}.{suggest(path, known)}")
        declared = tokens or Tokens()
        anatomy = Anatomy(
            blocks=tuple(block_paths(module)) if layers is None else (),
            tokens=lambda path: declared,
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
            concurrent=False,  # nobody knows what the module does
        )
        model._table.list_modules(paths)
        return model

    def __repr__(self) -> str:
        return f"VisionModel({self.spec!r}, {len(self.layers)} layers, {self.image_size}, {self.device}, {self.dtype})"

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The listed layers in model order; a derived layer follows the one it derives from.

        Not listed, and layers all the same, are `logits` of a classifier and `module:<dotted path>`.
        """
        return self._table.layers

    @property
    def derived_layers(self) -> frozenset[str]:
        """Names of the layers that `attach` added; the fingerprint does not cover their functions."""
        return frozenset(x.name for x in self.layers if self._table.base(x.name) != x.name)

    @property
    def device(self) -> torch.device:
        return self._some_weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self._some_weight.dtype

    @property
    def image_size(self) -> tuple[int, int]:
        """Rows and columns of the images that `preprocess` gives."""
        return self._preprocessing.size

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What `preprocess` and the normalisation inside do, in JSON's types."""
        return self._preprocessing.as_dict()

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over weights, preprocessing and architecture; the same on every device. Computed once."""
        return fingerprint(self._architecture, self.preprocessing, self.module)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each logit.

        Raises:
            ModelError: The model has no classes, or nobody knows their names.
        """
        if self._class_names is None:
            raise ModelError(f"{self.spec} knows no class names{self._no_logits_hint}")
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
            In model order and without repeats; `module:` layers that are not listed come after those that are.

        Raises:
            UnknownLayerError: A name fits nothing; says which are near.
        """
        return self._table.resolve(names)

    def module_of(self, layer: str) -> nn.Module:
        """The torch module that a layer is an output or an input of, such as the block of `blocks.3.resid`.

        Of a derived layer it is that of its base.

        Raises:
            UnknownLayerError: There is no such layer.
        """
        return self._table.site(self._table.base(self.resolve(layer)[0].name)).module

    def capture(self, pixels_bchw: Tensor, layers: str | Iterable[str]) -> dict[str, Tensor]:
        """The activations of some layers, batch first, in the model's dtype.

        The forward stops as soon as it has them all, within a block too. Gradients flow where the caller enables them.

        Args:
            pixels_bchw: RGB in [0,1], as `preprocess` gives it; moved to the model's device.
            layers: Names, or anything else `resolve` understands.

        Returns:
            One tensor a layer, in the layout of its kind, in model order.
        """
        values: dict[str, Tensor] = {}
        self.visit(pixels_bchw, layers, values.__setitem__)
        return {layer.name: values[layer.name] for layer in self.resolve(layers)}

    def visit(self, pixels_bchw: Tensor, layers: str | Iterable[str], see: See) -> None:
        """Show the activations of some layers one after the other, and keep none of them.

        Args:
            pixels_bchw: As `capture` takes them.
            layers: Names, or anything else `resolve` understands.
            see: Given a layer's name and its tensor as soon as the forward has made it, while it is in the processor's
                cache; derived layers come after the forward. It must not change the tensor.
        """
        with self.visiting(layers) as visit:
            visit(pixels_bchw, see)

    @contextmanager
    def visiting(self, layers: str | Iterable[str]) -> Iterator[Callable[[Tensor, See], None]]:
        """Within the context, `visit` for these layers, given pixels and `see`.

        Where the model is `concurrent`, several threads may call it at once.
        """
        wanted = [layer.name for layer in self.resolve(layers)]
        derived = [name for name in wanted if self._table.base(name) != name]
        needed = {self._table.base(name) for name in derived}
        seen = {self._table.base(name) for name in wanted}
        here = threading.local()  # `take`: what the forward of this thread does with a tensor

        def visit(pixels_bchw: Tensor, see: See) -> None:
            bases: dict[str, Tensor] = {}
            pending = set(seen)

            def take(name: str, value: Tensor) -> None:
                pending.remove(name)
                if self._table.site(name).copy:
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
                    pass
                else:
                    raise ModelError(f"{self.spec}: {sorted(pending)} did not run in this forward")
                finally:
                    here.take = None
            for name in derived:
                see(name, self._table.derive(name, bases))

        def keep(name: str, value: Tensor) -> None:
            # Nobody looks at a forward of another's: a derived layer's function may call modules of this model.
            if (take := getattr(here, "take", None)) is not None:
                take(name, value)

        with ExitStack() as hooks:
            hooks.enter_context(evaluating(self.module))
            for name in sorted(seen):
                hooks.enter_context(touching(self._table.site(name), functools.partial(keep, name)))
            yield visit

    @contextmanager
    def intervene(self, changes: Mapping[str, Callable[[Tensor], Tensor]]) -> Iterator["VisionModel"]:
        """Change layers in every forward within the context: lesions, dropped features, steering.

        Args:
            changes: Layer names, or anything else `resolve` understands, and what to do to each of those layers: a
                function from its tensor (batch first, in the layout of its kind) to another of the same shape.

        Raises:
            ModelError: A layer cannot be changed, or a function gives another shape.
        """
        with ExitStack() as hooks:
            for names, fn in changes.items():
                for layer in self.resolve(names):
                    site = self._table.site(layer.name)
                    if site.readonly:
                        raise ModelError(f"cannot intervene on {layer.name} of {self.spec}: {site.readonly}")
                    hooks.enter_context(touching(site, functools.partial(_changed, layer.name, fn)))
            yield self

    def attach(self, name: str, layer: str, fn: Callable[[Tensor], Tensor], width: int) -> Layer:
        """Add a layer derived from another, such as an SAE's encoder on `blocks.8.resid`.

        Args:
            name: A new name.
            layer: The layer it derives from.
            fn: From that layer's tensor to one with `width` features and the same layout.
        """
        return self._table.derive_layer(name, layer, fn, width)

    def encode_image(self, pixels_bchw: Tensor, normalize: bool = True) -> Tensor:
        """Embeddings [B,C], of length one unless `normalize` is false (then the layer `embedding`)."""
        if "embedding" not in self._table:
            raise ModelError(f"{self.spec} declares no embedding: capture one of its layers instead")
        embedding = self.capture(pixels_bchw, ["embedding"])["embedding"]
        return F.normalize(embedding, dim=-1) if normalize else embedding

    def encode_text(self, texts: list[str], normalize: bool = True) -> Tensor:
        """Embeddings [n,C] of texts in the space of `encode_image`, of length one unless `normalize` is false.

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
        return self._run(pixels_bchw)

    @property
    def _no_logits_hint(self) -> str:
        return "; compare encode_image with encode_text of the class names" if self._encode_text else ""

    @property
    def _some_weight(self) -> Tensor:
        weights = itertools.chain(self.module.parameters(), self.module.buffers())
        return next((tensor for tensor in weights if tensor.is_floating_point()), torch.empty(0))

    def check_input(self) -> None:
        """Look at one blank image of `image_size`; whatever the module raises comes through."""
        self._dry_run(1)

    def _dry_run(self, batch: int) -> None:
        with torch.no_grad():
            self._run(torch.zeros(batch, 3, *self.image_size, device=self.device))

    def _run(self, pixels_bchw: Tensor) -> Any:
        """Normalise and look at the images, in eval mode."""
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
            return self._forward(((pixels - mean) / std).to(self.dtype))


def _changed(name: str, fn: Callable[[Tensor], Tensor], value: Tensor) -> Tensor:
    changed = fn(value.clone())  # a function may work in place, and the tensor may have been captured before
    if not isinstance(changed, Tensor) or changed.shape != value.shape:
        gave = list(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        raise ModelError(f"the intervention on {name} gave {gave}, expected a tensor {list(value.shape)}")
    return changed.to(value.dtype)
