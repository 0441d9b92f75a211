"""Objectives: functions from activations to a loss, with arithmetic.

An objective is called with T. `T("layer")` is a layer's activations, [B,C,H,W] for maps and for the patches of a ViT,
and [B,C] for vectors; `T("input")` is the images, and `T("labels")` the model's output. As in Lucent the result is
minimised, so that objectives are negative activations. Any function of T is an objective.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ParamSpec

import torch
import torch.nn.functional as F
from torch import Tensor

from conceptprobe.visualization.errors import VisualizeError

Activations = Callable[[str], Tensor]
Loss = Callable[[Activations], Any]
P = ParamSpec("P")


class Objective:
    """A loss with a name.

    Attributes:
        objective_func: From T to the loss.
        name: The name of the function that made the objective.
        description: The name with its arguments.
    """

    def __init__(self, objective_func: Loss, name: str = "", description: str = "") -> None:
        self.objective_func = objective_func
        self.name = name
        self.description = description

    def __call__(self, model: Activations) -> Any:
        """The loss."""
        return self.objective_func(model)

    def __repr__(self) -> str:
        return f"Objective({self.description or self.name or self.objective_func!r})"

    def __add__(self, other: "Objective | float") -> "Objective":
        if isinstance(other, int | float):
            return Objective(lambda model: other + self(model), self.name, self.description)
        return Objective.sum([self, other])

    def __radd__(self, other: "Objective | float") -> "Objective":
        return self + other

    @staticmethod
    def sum(objs: Iterable["Objective"]) -> "Objective":
        """The sum of objectives."""
        parts = tuple(objs)
        names = [getattr(part, "name", "") for part in parts]
        descriptions = [getattr(part, "description", "") for part in parts]
        return Objective(
            lambda model: sum(part(model) for part in parts), ", ".join(names), f"Sum({' + '.join(descriptions)})"
        )

    def __neg__(self) -> "Objective":
        return self * -1

    def __sub__(self, other: "Objective | float") -> "Objective":
        return self + -1 * other

    def __rsub__(self, other: float) -> "Objective":
        return -self + other

    def __mul__(self, other: float) -> "Objective":
        if not isinstance(other, int | float):
            raise TypeError(f"an objective can be multiplied by a number, not by {type(other).__name__}")
        return Objective(lambda model: other * self(model), self.name, self.description)

    def __rmul__(self, other: float) -> "Objective":
        return self * other

    def __truediv__(self, other: float) -> "Objective":
        return self * (1 / other)


def wrap_objective() -> Callable[[Callable[P, Loss]], Callable[P, Objective]]:
    """A decorator that turns a function which returns a loss into one which returns a named objective."""

    def wrap(make: Callable[P, Loss]) -> Callable[P, Objective]:
        @functools.wraps(make)
        def made(*args: P.args, **kwargs: P.kwargs) -> Objective:
            arguments = [*map(_short, args), *(f"{name}={_short(value)}" for name, value in kwargs.items())]
            return Objective(make(*args, **kwargs), make.__name__, f"{make.__name__.title()} [{', '.join(arguments)}]")

        return made

    return wrap


def handle_batch(batch: int | None = None) -> Callable[[Loss], Loss]:
    """A decorator that restricts a loss to one image of the batch; None takes all images."""
    return lambda loss: lambda model: loss(model if batch is None else lambda name: model(name)[batch : batch + 1])


@wrap_objective()
def neuron(layer: str, n_channel: int, x: int | None = None, y: int | None = None, batch: int | None = None) -> Loss:
    """One channel at one position: column x and row y, by default the middle."""
    return handle_batch(batch)(lambda model: -_at(model(layer), x, y)[:, n_channel].mean())


@wrap_objective()
def channel(layer: str, n_channel: int, batch: int | None = None) -> Loss:
    """The mean of one channel over all positions."""
    return handle_batch(batch)(lambda model: -model(layer)[:, n_channel].mean())


@wrap_objective()
def neuron_weight(
    layer: str, weight: Tensor | None, x: int | None = None, y: int | None = None, batch: int | None = None
) -> Loss:
    """The weighted mean of all channels at one position."""
    return handle_batch(batch)(lambda model: -_weighted(_at(model(layer), x, y), weight).mean())


@wrap_objective()
def channel_weight(layer: str, weight: Tensor, batch: int | None = None) -> Loss:
    """The weighted mean of all channels over all positions."""
    return handle_batch(batch)(lambda model: -_weighted(model(layer), weight).mean())


@wrap_objective()
def localgroup_weight(
    layer: str,
    weight: Tensor | None = None,
    x: int | None = None,
    y: int | None = None,
    wx: int = 1,
    wy: int = 1,
    batch: int | None = None,
) -> Loss:
    """The weighted mean of all channels in a box of wx columns from x on and wy rows from y on."""

    def inner(model: Activations) -> Tensor:
        acts = _map(model(layer))
        left, top = acts.shape[3] // 2 if x is None else x, acts.shape[2] // 2 if y is None else y
        return -_weighted(acts[:, :, top : top + wy, left : left + wx], weight).mean()

    return handle_batch(batch)(inner)


@wrap_objective()
def direction(layer: str, direction: Tensor, batch: int | None = None) -> Loss:
    """The mean cosine of the channels at each position with a direction."""
    return handle_batch(batch)(lambda model: -_cosine(model(layer), direction).mean())


@wrap_objective()
def direction_neuron(
    layer: str, direction: Tensor, x: int | None = None, y: int | None = None, batch: int | None = None
) -> Loss:
    """The cosine of the channels at one position with a direction."""
    return handle_batch(batch)(lambda model: -_cosine(_at(model(layer), x, y), direction).mean())


@wrap_objective()
def blur_input_each_step() -> Loss:
    """With weight -k, images are mixed in each step with a share k of their blurred copies (Nguyen et al. 2015)."""

    def inner(model: Activations) -> Tensor:
        images = model("input")
        kernel = torch.full((1, 1, 3, 3), 0.5, device=images.device, dtype=images.dtype)
        kernel[..., 1, 1] = 1.0
        with torch.no_grad():
            planes = images.flatten(0, 1)[:, None]
            share = F.conv2d(torch.ones_like(planes), kernel, padding=1)
            blurred = (F.conv2d(planes, kernel, padding=1) / share).reshape(images.shape)
        return -0.5 * (images - blurred).square().sum()

    return inner


@wrap_objective()
def channel_interpolate(layer1: str, n_channel1: int, layer2: str, n_channel2: int) -> Loss:
    """From one channel for the first image of the batch to another for the last."""

    def inner(model: Activations) -> Tensor:
        first, second = model(layer1)[:, n_channel1], model(layer2)[:, n_channel2]
        share = torch.linspace(0, 1, len(first), device=first.device)
        return -((1 - share) * first.flatten(1).mean(1) + share * second.flatten(1).mean(1)).sum()

    return inner


@wrap_objective()
def alignment(layer: str, decay_ratio: float = 2) -> Loss:
    """The mean squared differences between neighbours in the batch, up to the fourth, with falling weight."""

    def inner(model: Activations) -> Any:
        acts = model(layer)
        return sum(
            (acts[d:] - acts[:-d]).square().flatten(1).mean(1).sum() / decay_ratio**d
            for d in range(1, min(5, len(acts)))
        )

    return inner


@wrap_objective()
def diversity(layer: str) -> Loss:
    """Minus the summed cosines between the images' Gram matrices, divided by the batch size (Olah et al. 2017).

    It is subtracted to keep the images apart.
    """

    def inner(model: Activations) -> Tensor:
        values = _map(model(layer)).flatten(2)
        grams = F.normalize((values @ values.transpose(1, 2)).flatten(1), dim=1)
        likeness = grams @ grams.T
        return -(likeness.sum() - likeness.diagonal().sum()) / len(grams)

    return inner


def as_objective(obj: Any) -> Loss:
    """The loss of an objective, of a function of T, or of "layer:n" for a channel.

    Raises:
        VisualizeError: The argument is none of these.
    """
    if callable(obj):
        loss: Loss = obj
        return loss
    if isinstance(obj, str) and (split := obj.rpartition(":"))[2].strip().isdecimal():
        return channel(split[0].strip(), int(split[2]))
    raise VisualizeError(
        f"{obj!r} is no objective: give one of lucent.optvis.objectives, a function of T, or 'layer:n'"
    )


def _short(value: object) -> str:
    text = str(value)
    return "..." if len(text) > 15 or "\n" in text else text


def _map(acts: Tensor) -> Tensor:
    """Vectors as maps of one position."""
    return acts[..., None, None] if acts.ndim == 2 else acts


def _at(acts: Tensor, x: int | None, y: int | None) -> Tensor:
    """The position at column x and row y; by default the middle, for even sides the right or lower of the two."""
    acts = _map(acts)
    x, y = acts.shape[3] // 2 if x is None else x, acts.shape[2] // 2 if y is None else y
    return acts[:, :, y : y + 1, x : x + 1]


def _weighted(acts: Tensor, weight: Tensor | Sequence[float] | None) -> Tensor:
    return acts if weight is None else _map(acts) * _channels(weight, acts)


def _cosine(acts: Tensor, direction: Tensor | Sequence[float]) -> Tensor:
    return F.cosine_similarity(_channels(direction, acts), _map(acts), dim=1)


def _channels(values: Tensor | Sequence[float], acts: Tensor) -> Tensor:
    """One number for each channel, [1,C,1,1], on the activations' device."""
    numbers = torch.as_tensor(values, device=acts.device).to(acts.dtype).reshape(1, -1, 1, 1)
    if numbers.shape[1] != acts.shape[1]:
        raise VisualizeError(
            f"there are {numbers.shape[1]} numbers for {acts.shape[1]} channels: give one for each channel"
        )
    return numbers
