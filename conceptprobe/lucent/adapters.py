"""The parameters, the image function and the torch optimiser of a Lucent script, as parts of the engine."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from conceptprobe.visualization.errors import VisualizeError


class LucentParametrization:
    """The result of `param_f()` as a parametrization, whose parameters are one vector.

    The engine has a row of parameters for each image. Images of a Lucent batch may share parameters, so the first row
    holds all of them, and the others are zeros.

    Attributes:
        leaves: The leaf tensors that are optimised.
        image_f: The function that returns the images.
        images_now: The images of the last step, which objectives read as `T("input")`.
        batch: Number of images.
        size: Rows and columns of the images.
        snapshots: Images after the thresholds.
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
                "param_f must return a list of tensors that require gradients, and a function without arguments"
            )
        with torch.no_grad():
            self.images_now = image_f().to(device)
        if self.images_now.ndim != 4 or self.images_now.shape[1] != 3:
            raise VisualizeError(f"param_f must return images [B,3,H,W] in [0,1], not {list(self.images_now.shape)}")
        self.batch = len(self.images_now)
        self.size = (self.images_now.shape[2], self.images_now.shape[3])
        self.snapshots: list[Tensor] = []

    def start(self, size: tuple[int, int], generators: Sequence[torch.Generator]) -> Tensor:
        """The leaves' numbers."""
        return self.rows(self.leaves)

    def start_from(self, images_nchw: Tensor) -> Tensor:
        """Not possible, since the image function has no inverse."""
        raise VisualizeError("parameters of a param_f cannot start from an image")

    def images(self, params: Tensor, size: tuple[int, int]) -> Tensor:
        """The images of the image function, after the leaves are set."""
        self.images_now = _Image.apply(params, self)
        return self.images_now

    def project(self, params: Tensor) -> None:
        """All parameters are allowed; after a threshold, the images are kept."""
        self._steps += 1
        if self._steps in self._at:
            self.snapshots.append(self.images(params, self.size).detach())

    def describe(self) -> dict[str, Any]:
        """The shapes of the leaves, in JSON's types."""
        return {"name": "param_f", "shapes": [list(leaf.shape) for leaf in self.leaves]}

    def rows(self, tensors: Sequence[Tensor]) -> Tensor:
        """[B,numbers]: the numbers of tensors of the leaves' shapes in the first row, zeros in the others."""
        flat = torch.cat([tensor.detach().flatten().to(self._device, torch.float32) for tensor in tensors])
        rows = torch.zeros(self.batch, len(flat), device=flat.device)
        rows[0] = flat
        return rows

    def put(self, params: Tensor) -> None:
        """Set the leaves to parameters."""
        with torch.no_grad():
            for leaf, values in zip(self.leaves, self.split(params), strict=True):
                leaf.copy_(values)

    def split(self, params: Tensor) -> list[Tensor]:
        """The first row as tensors of the leaves' shapes."""
        parts = params[0].split([leaf.numel() for leaf in self.leaves])
        return [part.reshape(leaf.shape) for part, leaf in zip(parts, self.leaves, strict=True)]


class _Image(torch.autograd.Function):
    """Images of the leaves, whose gradient is that of the engine's rows."""

    @staticmethod
    def forward(ctx: Any, params: Tensor, parametrization: LucentParametrization) -> Tensor:
        parametrization.put(params)
        with torch.enable_grad():
            images = parametrization.image_f()
        ctx.parametrization, ctx.images = parametrization, images
        return images.detach().to(params.device, torch.float32)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        parametrization: LucentParametrization = ctx.parametrization
        gradients = torch.autograd.grad(ctx.images, parametrization.leaves, gradient.to(ctx.images), allow_unused=True)
        return parametrization.rows(
            [torch.zeros_like(x) if g is None else g for g, x in zip(gradients, parametrization.leaves, strict=True)]
        ), None


class LucentOptimizer:
    """A torch optimiser of the leaves, as an update rule of the engine."""

    def __init__(self, parametrization: LucentParametrization, optimizer: torch.optim.Optimizer) -> None:
        if isinstance(optimizer, torch.optim.LBFGS):
            raise VisualizeError(
                "LBFGS evaluates the loss several times in a step, which the engine cannot do: use Adam or SGD"
            )
        self._parametrization, self._optimizer = parametrization, optimizer

    def move(self, params: Tensor, gradient: Tensor, first: Tensor, second: Tensor, step: int) -> Tensor:
        """The parameters after a step of the torch optimiser."""
        parametrization = self._parametrization
        parametrization.put(params)
        for leaf, values in zip(parametrization.leaves, parametrization.split(gradient), strict=True):
            leaf.grad = values.to(leaf).clone()
        self._optimizer.step()
        for leaf in parametrization.leaves:
            leaf.grad = None
        return parametrization.rows(parametrization.leaves)
