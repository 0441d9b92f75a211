"""A model's layers by Lucent's names, and their activations as Lucent's objectives expect them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from conceptprobe.models import Layer, UnknownLayerError, VisionModel
from conceptprobe.models.layers import LOGITS, MODULE, Tokens, suggest
from conceptprobe.visualization.errors import VisualizeError

INPUT, LABELS = "input", "labels"


class NamedModel:
    """A model with its layers by Lucent's names (`layer4_1_conv1`) and by the model's names.

    Attributes:
        model: The model.
        normalization: Mean and standard deviation of the model's normalisation.
    """

    def __init__(self, model: VisionModel, *, tokens_known: bool) -> None:
        self.model = model
        self.normalization = tuple(model.preprocessing["mean"]), tuple(model.preprocessing["std"])
        self._tokens_known = tokens_known
        self._paths: dict[str, list[str]] = {}
        for path, _ in model.module.named_modules():
            if path:
                self._paths.setdefault(path.replace(".", "_"), []).append(path)

    def layer(self, name: str) -> Layer:
        """The layer with a name.

        Raises:
            UnknownLayerError: There is no such layer; the error names similar layers.
            VisualizeError: The name fits several modules, or it is a layer of tokens of unknown layout.
        """
        if name == LABELS:
            name = self._output()
        paths = self._paths.get(name, [])
        if len(paths) > 1:
            choices = " or ".join(f"{MODULE}{path}" for path in paths)
            raise VisualizeError(f"the layer name {name!r} fits several modules: write {choices}")
        try:
            layers = self.model.resolve(f"{MODULE}{paths[0]}" if paths else name)
        except UnknownLayerError as error:
            known = [*(layer.name for layer in self.model.layers), *self._paths]
            raise UnknownLayerError(f"{self.model.spec} has no layer {name!r}.{suggest(name, known)}") from error
        if len(layers) != 1:
            raise VisualizeError(f"{name!r} selects {len(layers)} layers: name one of them")
        if layers[0].kind == "tokens" and not self._tokens_known:
            raise VisualizeError(
                f"{name} is a layer of tokens, and the module does not say which of them are patches: give a model of "
                "load_model, or VisionModel.wrap(module, ..., tokens=Tokens(prefix=1, cls=0))"
            )
        return layers[0]

    def lucent_name(self, name: str) -> str:
        """torch-lucent's name of a layer, which is that of the module with this output.

        Raises:
            VisualizeError: torch-lucent takes the wrong axis of the layer for features, or cannot read the layer.
        """
        layer = self.layer(name)
        if layer.kind == "tokens":
            raise VisualizeError(
                f"{name} is a layer of tokens, of which torch-lucent takes token n for channel n: leave out "
                "engine='lucent', which is a baseline for CNNs"
            )
        if not layer.name.startswith(MODULE):
            raise VisualizeError(f"torch-lucent reads only outputs of modules, and {name} is none: name a module")
        return layer.name.removeprefix(MODULE).replace(".", "_")

    def in_lucent_layout(self, acts: Tensor, layer: Layer) -> Tensor:
        """Activations in Lucent's layout: the patches of tokens are a map."""
        if layer.kind != "tokens":
            return acts
        patches_bcp = acts[:, layer.prefix :].transpose(1, 2)
        count = patches_bcp.shape[2]
        grid = layer.grid
        if grid is None or grid[0] * grid[1] != count:
            side = round(count**0.5)
            grid = (side, side) if side * side == count else (count, 1)
        result: Tensor = patches_bcp.unflatten(2, grid)
        return result

    def _output(self) -> str:
        """The name of the output: the model's logits or embedding, or else the last module, as in Lucent."""
        for name in (LOGITS, "embedding"):
            try:
                return self.model.resolve(name)[0].name
            except UnknownLayerError:
                continue
        return list(self._paths)[-1]


class ActivationLookup:
    """The argument T of an objective, for one batch of views: `T(name)` is the activations of a layer.

    Attributes:
        names: Names of the layers that the objective has read.
    """

    def __init__(self, named: NamedModel, acts: Mapping[str, Tensor], images: Callable[[], Tensor]) -> None:
        self._named = named
        self._acts = acts
        self._images = images
        self.names: list[str] = []

    def __call__(self, name: str) -> Tensor:
        """The activations of a layer, or the images for "input"."""
        if name == INPUT:
            return self._images()
        layer = self._named.layer(name)
        if layer.name not in self.names:
            self.names.append(layer.name)
        if layer.name not in self._acts:
            raise VisualizeError(
                f"the objective does not read {name} in every step: an objective must read the same layers in each step"
            )
        return self._named.in_lucent_layout(self._acts[layer.name].float(), layer)


class LazyActivations(dict[str, Tensor]):
    """Activations of views, captured when a layer is read."""

    def __init__(self, model: VisionModel, views_bchw: Tensor) -> None:
        super().__init__()
        self._model, self._views = model, views_bchw

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Tensor:
        self[name] = self._model.capture(self._views, [name])[name]
        return self[name]


class LucentObjective:
    """An objective function of Lucent as an `Evaluator` of one unit, whose images are the batch.

    Attributes:
        layers: The layers to capture.
    """

    def __init__(
        self, named: NamedModel, loss: Callable[[Any], Any], images: Callable[[], Tensor], batch: int, views: int
    ) -> None:
        self._named, self._loss, self._images = named, loss, images
        self._batch, self._views = batch, views
        self.layers: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """Number of images of the batch."""
        return self._batch

    @property
    def early_layers(self) -> tuple[str, ...]:
        """The layers to capture in the first steps, which are the same."""
        return self.layers

    def find_layers(self, views_nechw: Tensor) -> float:
        """Evaluate the objective once, to record which layers it reads.

        Returns:
            The loss.
        """
        with torch.no_grad():
            lookup = ActivationLookup(self._named, LazyActivations(self._named.model, views_nechw[:, 0]), self._images)
            loss = _number(self._loss(lookup))
        self.layers = tuple(lookup.names)
        return float(loss)

    def __call__(self, acts: Mapping[str, Tensor], early: bool = False) -> Tensor:
        """Values [1,g,e]: the loss of each view of the batch, divided equally among the images."""
        by_view = {name: value.unflatten(0, (self._batch, self._views)).unbind(1) for name, value in acts.items()}
        losses = []
        for view in range(self._views):
            acts_of_view = {name: values[view] for name, values in by_view.items()}
            losses.append(_number(self._loss(ActivationLookup(self._named, acts_of_view, self._images))))
        return (-torch.stack(losses) / self._batch).expand(1, self._batch, self._views)


def _number(loss: Any) -> Tensor:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = f"a tensor {list(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
        raise VisualizeError(
            f"the objective returned {got}: it must return one number that depends on the layers that it reads"
        )
    return loss.reshape(()).float()


def declared_tokens(module: nn.Module) -> Tokens | None:
    """The token layout that a ViT of timm or torchvision declares; None for other modules."""
    prefix, embed = getattr(module, "num_prefix_tokens", None), getattr(module, "patch_embed", None)
    if isinstance(prefix, int) and embed is not None:
        cls = 0 if getattr(module, "cls_token", None) is not None else None
        return Tokens(prefix, cls, getattr(embed, "grid_size", None))
    if hasattr(module, "class_token") and hasattr(module, "patch_size"):
        side = int(module.image_size) // int(module.patch_size)  # type: ignore[arg-type]
        return Tokens(1, 0, (side, side))
    return None


def declared_size(module: nn.Module) -> tuple[int, int] | None:
    """The image size that a ViT of timm or torchvision declares; None for other modules."""
    size: Any = getattr(getattr(module, "patch_embed", None), "img_size", None) or getattr(module, "image_size", None)
    if isinstance(size, int):
        return size, size
    return tuple(size) if isinstance(size, Sequence) and len(size) == 2 else None
