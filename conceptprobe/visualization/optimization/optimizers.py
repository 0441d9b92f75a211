"""Adam and NAdam as functions of parameters, gradient and moments.

torch.optim has its step counter on the default device and reads it at every step. Here the count is a Python number, so
that a step is only arithmetic on the parameters' device.
"""

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

EPSILON = 1e-8
MOMENTUM_DECAY = 4e-3


class UpdateRule(Protocol):
    """Any rule that updates parameters along their gradient; see `Optimizer.move`."""

    def move(self, params: Tensor, gradient: Tensor, first: Tensor, second: Tensor, step: int) -> Tensor:
        """The parameters after a step."""


@dataclass(frozen=True)
class Optimizer:
    """Adam or NAdam with a learning rate schedule.

    Attributes:
        kind: "adam" (Kingma & Ba 2015) or "nadam" (Dozat 2016; the momentum schedule of torch.optim.NAdam).
        learning_rate: Learning rate at the first step.
        betas: Decay of the first and the second moment.
        schedule: "constant", or "cosine", which ends at 0 after the last step (Loshchilov & Hutter 2017).
        steps: Number of steps of the run.
    """

    kind: Literal["adam", "nadam"]
    learning_rate: float
    betas: tuple[float, float]
    schedule: Literal["constant", "cosine"]
    steps: int

    def move(self, params: Tensor, gradient: Tensor, first: Tensor, second: Tensor, step: int) -> Tensor:
        """The parameters after a step.

        Args:
            params: The parameters, which are not changed.
            gradient: Their gradient, which is not changed.
            first: The first moment, zeros before the first step; changed in place.
            second: The second moment, zeros before the first step; changed in place.
            step: Number of the step, from 0.
        """
        beta1, beta2 = self.betas
        first.lerp_(gradient, 1 - beta1)
        second.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        scale = second.div(1 - beta2 ** (step + 1)).sqrt_().add_(EPSILON)
        rate = self.rate(step)
        if self.kind == "adam":
            return params.addcdiv(first, scale, value=-rate / (1 - beta1 ** (step + 1)))
        now, product = self._momentum(step + 1), math.prod(self._momentum(t) for t in range(1, step + 2))
        after = self._momentum(step + 2)
        moved = params.addcdiv(gradient, scale, value=-rate * (1 - now) / (1 - product))
        return moved.addcdiv_(first, scale, value=-rate * after / (1 - product * after))

    def rate(self, step: int) -> float:
        """The learning rate at a step, from 0."""
        if self.schedule == "constant":
            return self.learning_rate
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * step / self.steps))

    def _momentum(self, count: int) -> float:
        return self.betas[0] * (1 - 0.5 * math.pow(0.96, count * MOMENTUM_DECAY))


def moments(params: Tensor) -> tuple[Tensor, Tensor]:
    """The two moments before the first step."""
    return torch.zeros_like(params), torch.zeros_like(params)
