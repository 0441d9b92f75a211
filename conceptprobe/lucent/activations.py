"""A model's layers by Lucent's names, and their activations as Lucent's objectives expect them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from conceptprobe.models import Layer, UnknownLayerError, VisionModel
from conceptprobe.models.layers import LOGITS, MODULE, Tokens, suggest
from conceptprobe.visualization.errors import VisualizeError

INPUT, LABELS = "input", "labels"


class Named:
    """A model whose layers are found by Lucent's names (`layer4_1_conv1`) and by its own.

    Attributes:
        model: The model.
        normalization: Mean and standard deviation that the model subtracts and divides by.
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
        """The layer of a name.

        Raises:
            UnknownLayerError: There is none; says which are near.
            VisualizeError: The name fits several modules, or a layer of tokens of which nobody knows which are patches.
        """
        if name == LABELS:
            name = self._output()
        paths = self._paths.get(name, [])
        if len(paths) > 1:
            choices = " or ".join(f"{MODULE}{path}" for path in paths)
            raise VisualizeError(f"the layer name {name!r} fits several modules: say {choices}")
        try:
            found = self.model.resolve(f"{MODULE}{paths[0]}" if paths else name)
        except UnknownLayerError as error:
            known = [*(layer.name for layer in self.model.layers), *self._paths]
            raise UnknownLayerError(f"{self.model.spec} has no layer {name!r}.{suggest(name, known)}") from error
        if len(found) != 1:
            raise VisualizeError(f"{name!r} selects {len(found)} layers: an objective looks at one")
        if found[0].kind == "tokens" and not self._tokens_known:
            raise VisualizeError(
                f"{name} is a layer of tokens, and which of them are patches is not known of a plain module: give a "
                "model of load_model, or VisionModel.wrap(module, ..., tokens=Tokens(prefix=1, cls=0))"
            )
        return found[0]

    def lucent_name(self, name: str) -> str:
        """The name that torch-lucent has for a layer: that of the module that puts it out.

        Raises:
            VisualizeError: It takes the wrong axis of the layer for features, or cannot see it.
        """
        layer = self.layer(name)
        if layer.kind == "tokens":
            raise VisualizeError(
                f"{name} is a layer of tokens, of which torch-lucent takes token n for channel n: leave out "
                "engine='lucent', which is a baseline for CNNs"
            )
        if not layer.name.startswith(MODULE):
            raise VisualizeError(f"torch-lucent looks at what modules put out, and {name} is not that: name a module")
        return layer.name.removeprefix(MODULE).replace(".", "_")

    def shown(self, acts: Tensor, layer: Layer) -> Tensor:
        """Activations as objectives see them: the patches of tokens as a map."""
        if layer.kind != "tokens":
            return acts
        patches_bcp = acts[:, layer.prefix :].transpose(1, 2)
        count = patches_bcp.shape[2]
        grid = layer.grid
        if grid is None or grid[0] * grid[1] != count:
            side = round(count**0.5)
            grid = (side, side) if side * side == count else (count, 1)
        return patches_bcp.unflatten(2, grid)

    def _output(self) -> str:
        """The last module, as in Lucent, or what the model says that it puts out."""
        for name in (LOGITS, "embedding"):
            try:
                return self.model.resolve(name)[0].name
            except UnknownLayerError:
                continue
        return list(self._paths)[-1]


class Looked:
    """T of one batch of views: a layer's name gives its activations."""

    def __init__(self, named: Named, acts: Mapping[str, Tensor], images: Callable[[], Tensor]) -> None:
        self._named = named
        self._acts = acts
        self._images = images
        self.asked: list[str] = []

    def __call__(self, name: str) -> Tensor:
        if name == INPUT:
            return self._images()
        layer = self._named.layer(name)
        if layer.name not in self.asked:
            self.asked.append(layer.name)
        if layer.name not in self._acts:
            raise VisualizeError(
                f"the objective looks at {name} only now and then: it must look at the same layers in each step"
            )
        return self._named.shown(self._acts[layer.name].float(), layer)


class Lazily(dict[str, Tensor]):
    """Activations of some views, captured when a layer is asked for."""

    def __init__(self, model: VisionModel, views_bchw: Tensor) -> None:
        super().__init__()
        self._model, self._views = model, views_bchw

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> Tensor:
        self[name] = self._model.capture(self._views, [name])[name]
        return self[name]


class LucentObjective:
    """An objective function of Lucent as the engine wants it: one unit, whose images are the batch.

    It implements `Evaluator`.
    """

    def __init__(
        self, named: Named, loss: Callable[[Any], Any], images: Callable[[], Tensor], batch: int, views: int
    ) -> None:
        self._named, self._loss, self._images = named, loss, images
        self._batch, self._views = batch, views
        self.layers: tuple[str, ...] = ()

    @property
    def images(self) -> int:
        """Images of the batch."""
        return self._batch

    @property
    def early_layers(self) -> tuple[str, ...]:
        return self.layers

    def find_layers(self, views_nechw: Tensor) -> float:
        """Look once, to see which layers the objective asks for.

        Returns:
            The loss.
        """
        with torch.no_grad():
            looked = Looked(self._named, Lazily(self._named.model, views_nechw[:, 0]), self._images)
            loss = _number(self._loss(looked))
        self.layers = tuple(looked.asked)
        return float(loss)

    def __call__(self, acts: Mapping[str, Tensor], early: bool = False) -> Tensor:
        """Values [1,g,e]: each image has its share of the loss of its views' number."""
        by_view = {name: value.unflatten(0, (self._batch, self._views)).unbind(1) for name, value in acts.items()}
        losses = []
        for view in range(self._views):
            own = {name: values[view] for name, values in by_view.items()}
            losses.append(_number(self._loss(Looked(self._named, own, self._images))))
        return (-torch.stack(losses) / self._batch).expand(1, self._batch, self._views)


def _number(loss: Any) -> Tensor:
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        got = f"a tensor {list(loss.shape)}" if isinstance(loss, Tensor) else repr(loss)
        raise VisualizeError(
            f"the objective gave {got}: it must give one number that depends on the layers it looks at"
        )
    return loss.reshape(()).float()


def declared_tokens(module: nn.Module) -> Tokens | None:
    """How a ViT of timm or torchvision says that its tokens are laid out; None where a module says nothing."""
    prefix, embed = getattr(module, "num_prefix_tokens", None), getattr(module, "patch_embed", None)
    if isinstance(prefix, int) and embed is not None:
        cls = 0 if getattr(module, "cls_token", None) is not None else None
        return Tokens(prefix, cls, getattr(embed, "grid_size", None))
    if hasattr(module, "class_token") and hasattr(module, "patch_size"):
        side = int(module.image_size) // int(module.patch_size)  # type: ignore[arg-type]
        return Tokens(1, 0, (side, side))
    return None


def declared_size(module: nn.Module) -> tuple[int, int] | None:
    """The one size of images that a ViT of timm or torchvision takes; None where a module says nothing."""
    size: Any = getattr(getattr(module, "patch_embed", None), "img_size", None) or getattr(module, "image_size", None)
    if isinstance(size, int):
        return size, size
    return tuple(size) if isinstance(size, Sequence) and len(size) == 2 else None
