"""Attacks: changes of images along the gradient of a loss, and the spectra of these changes."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from conceptprobe.probes.framework.probe import rows_of
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.stimuli.change_spectrum import grid_contrast, grid_share, power_spectrum, radial_shares

Loss = Callable[[Tensor, np.ndarray], Tensor]
"""What an attack increases: from pixels [b,3,h,w] and the numbers of the images [b] to a value for each image [b]."""


class Attack:
    """Moves images along the sign of the loss's gradient within epsilon, and records losses and changes.

    Args:
        loss: What is increased.
        epsilon: How far a pixel may move, in units of the pixels.
        steps: The number of steps.
        grid: Rows and columns of the model's patches.
        shown: How many changes are kept.
    """

    def __init__(self, loss: Loss, epsilon: float, steps: int, grid: tuple[int, int], shown: int) -> None:
        self._loss, self._epsilon, self._steps, self._grid, self._shown = loss, epsilon, steps, grid, shown
        self._losses: list[np.ndarray] = []
        self._power: list[np.ndarray] = []
        self._changes: list[np.ndarray] = []

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        """Move a batch of images, and record its losses and changes."""
        with torch.inference_mode(False), torch.enable_grad():
            start = pixels_bchw.clone()  # an inference tensor takes no part in gradients
            moved, loss_bs = climb(self._loss, start, numbers, self._epsilon, self._steps)
        change_bchw = (moved - start).cpu().numpy().astype(np.float64)
        self._losses.append(loss_bs.cpu().numpy())
        self._power.append(power_spectrum(change_bchw))
        room = self._shown - sum(map(len, self._changes))
        if room > 0:
            self._changes.append(change_bchw[:room])
        return moved

    def rows(
        self, ids: tuple[str, ...], name: str, epsilon: float, metric: str, sign: float, counted_n: np.ndarray
    ) -> list[pd.DataFrame]:
        """The loss by step of the images that count, and the changes' power by radius and on the grid's lines."""
        loss_ns = sign * np.concatenate(self._losses)
        power_nhw = np.concatenate(self._power)
        series = f"{name}, epsilon {epsilon:g}"
        share_nr = radial_shares(power_nhw)
        return [
            *(
                rows_of(metric, Condition(series, step), ids, np.where(counted_n, loss_ns[:, step], np.nan))
                for step in range(loss_ns.shape[1])
            ),
            *(
                rows_of("share of power", Condition(series, radius), ids, share_nr[:, radius])
                for radius in range(share_nr.shape[1])
            ),
            rows_of("grid share", Condition(name, epsilon), ids, grid_share(power_nhw, self._grid)),
            rows_of("grid contrast", Condition(name, epsilon), ids, grid_contrast(power_nhw, self._grid)),
        ]

    def artifacts(self) -> dict[str, np.ndarray]:
        """Some changes [k,3,h,w], scaled so that epsilon is black or white, and the mean power [h,w] around 0."""
        mean_hw = np.fft.fftshift(np.concatenate(self._power).mean(0)).astype(np.float32)
        if not self._changes:
            return {"power": mean_hw}
        change_kchw = np.concatenate(self._changes) / max(self._epsilon, np.finfo(np.float32).tiny)
        return {"power": mean_hw, "delta": ((change_kchw.clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)}


def climb(loss: Loss, pixels_bchw: Tensor, numbers: np.ndarray, epsilon: float, steps: int) -> tuple[Tensor, Tensor]:
    """Increase a loss by steps of epsilon / steps along its gradient's sign, within epsilon and [0,1].

    Returns:
        The moved pixels, each within epsilon of its start even after rounding; and the loss before the first and after
        each step, [b,steps+1].
    """
    low, high = pixel_range(pixels_bchw, epsilon)
    moved, values = pixels_bchw, []
    for step in range(steps + 1):
        moved = moved.detach().requires_grad_(step < steps)
        value_b = loss(moved, numbers)
        values.append(value_b.detach().float())
        if step < steps:
            (gradient,) = torch.autograd.grad(value_b.sum(), moved)
            moved = torch.clamp(moved.detach() + epsilon / steps * gradient.sign(), low, high)
    return moved.detach(), torch.stack(values, 1)


def pixel_range(pixels_bchw: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The lowest and highest float32 within epsilon of each pixel and within [0,1]."""
    pixels = pixels_bchw.detach().cpu()
    exact = pixels.double()
    low, high = (exact - epsilon).clamp_min(0).float(), (exact + epsilon).clamp_max(1).float()
    low = torch.where(exact - low.double() > epsilon, torch.nextafter(low, pixels), low)
    high = torch.where(high.double() - exact > epsilon, torch.nextafter(high, pixels), high)
    return low.to(pixels_bchw.device), high.to(pixels_bchw.device)
