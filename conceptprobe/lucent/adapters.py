"""What a Lucent script gives, as the engine's parts: parameters and their image function, and a torch optimiser."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from conceptprobe.visualization.errors import VisualizeError


class Given:
    """`param_f()` as a parametrization: the tensors that it gave, flattened, are one vector.

    The engine has a row of parameters for each image. Images of a Lucent batch may share parameters, so the first row
    holds them all, and the others nothing.

    Attributes:
        leaves: The tensors.
        images_now: The images of the last look; an objective may ask for them.
        snapshots: Images after the steps that were asked for.
    """

    def __init__(
        self, leaves: Iterable[Tensor], image_f: Callable[[], Tensor], device: torch.device, at: Sequence[int] = ()
    ) -> None:
        self.leaves = list(leaves)
        self.image_f = image_f
        self._device = device
        self._at, self._steps = frozenset(at), 0
        if not self.leaves or not all(
            isinstance(leaf, Tensor) and leaf.requires_grad and leaf.is_leaf for leaf in self.leaves
        ):
            raise VisualizeError(
                "param_f must give a list of tensors that require gradients, and a function of no arguments"
            )
        with torch.no_grad():
            self.images_now = image_f().to(device)
        if self.images_now.ndim != 4 or self.images_now.shape[1] != 3:
            raise VisualizeError(f"param_f must give images [B,3,H,W] in [0,1], it gave {list(self.images_now.shape)}")
        self.batch = len(self.images_now)
        self.size = (self.images_now.shape[2], self.images_now.shape[3])
        self.snapshots: list[Tensor] = []

    def start(self, size: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
        return self.rows(self.leaves)

    def start_from(self, images_nchw: Tensor) -> Tensor:
        raise VisualizeError("parameters of a param_f cannot start from an image")

    def images(self, params: Tensor, size: tuple[int, int]) -> Tensor:
        self.images_now = _Image.apply(params, self)
        return self.images_now

    def project(self, params: Tensor) -> None:
        self._steps += 1
        if self._steps in self._at:
            self.snapshots.append(self.images(params, self.size).detach())

    def describe(self) -> dict[str, Any]:
        return {"name": "given", "shapes": [list(leaf.shape) for leaf in self.leaves]}

    def rows(self, tensors: Sequence[Tensor]) -> Tensor:
        """[B,numbers]: the numbers of some tensors of the leaves' shapes in the first row, zeros in the others."""
        flat = torch.cat([tensor.detach().flatten().to(self._device, torch.float32) for tensor in tensors])
        rows = torch.zeros(self.batch, len(flat), device=flat.device)
        rows[0] = flat
        return rows

    def put(self, params: Tensor) -> None:
        """Into the leaves."""
        with torch.no_grad():
            for leaf, values in zip(self.leaves, self.split(params), strict=True):
                leaf.copy_(values)

    def split(self, params: Tensor) -> list[Tensor]:
        """The first row as tensors of the leaves' shapes."""
        parts = params[0].split([leaf.numel() for leaf in self.leaves])
        return [part.reshape(leaf.shape) for part, leaf in zip(parts, self.leaves, strict=True)]


class _Image(torch.autograd.Function):
    """Images of the leaves, with the gradient handed on to the engine's rows."""

    @staticmethod
    def forward(ctx: Any, params: Tensor, given: Given) -> Tensor:
        given.put(params)
        with torch.enable_grad():
            images = given.image_f()
        ctx.given, ctx.made = given, images
        return images.detach().to(params.device, torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        given: Given = ctx.given
        own = torch.autograd.grad(ctx.made, given.leaves, gradient.to(ctx.made), allow_unused=True)
        return given.rows(
            [torch.zeros_like(x) if g is None else g for g, x in zip(own, given.leaves, strict=True)]
        ), None


class GivenOptimizer:
    """A torch optimiser of the leaves, as the engine's."""

    def __init__(self, given: Given, optimizer: torch.optim.Optimizer) -> None:
        if isinstance(optimizer, torch.optim.LBFGS):
            raise VisualizeError("LBFGS looks several times in a step, which the engine does not do: take Adam or SGD")
        self._given, self._optimizer = given, optimizer

    def move(self, params: Tensor, gradient: Tensor, first: Tensor, second: Tensor, step: int) -> Tensor:
        given = self._given
        given.put(params)
        for leaf, own in zip(given.leaves, given.split(gradient), strict=True):
            leaf.grad = own.to(leaf).clone()
        self._optimizer.step()
        for leaf in given.leaves:
            leaf.grad = None
        return given.rows(given.leaves)
