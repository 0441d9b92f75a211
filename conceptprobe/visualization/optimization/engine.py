"""The optimisation of one chunk of units.

Letters beside the package's: n units, g images of a unit (a set has several), i all n * g images, e views of an image,
s steps. A batch of the model is in the order [n, g, e], flattened. No operation mixes the numbers of two units.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptprobe.models import VisionModel
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.objectives.binding import Evaluator, bind
from conceptprobe.visualization.objectives.expressions import Objective
from conceptprobe.visualization.optimization.checkpoint import Checkpoint
from conceptprobe.visualization.optimization.model_state import compiled_blocks, frozen
from conceptprobe.visualization.optimization.optimizers import Optimizer, UpdateRule, moments
from conceptprobe.visualization.settings import VisualizationSettings
from conceptprobe.visualization.transforms.views import make_views


@dataclass(frozen=True)
class Optimised:
    """The optimised images of a chunk.

    Attributes:
        images_nghwc: float32 in [0,1], before they are rounded to 8 bits.
        curves_ns: float32, the objective of each unit at every step, averaged over views and images; NaN after the unit
            stopped.
        stopped: For each unit the step at which its loss or gradient was not finite, and it stopped at its last finite
            parameters; None for units that did not stop.
        frames_ngthwc: uint8, the images at every so many steps and at the end; None without frames.
    """

    images_nghwc: np.ndarray
    curves_ns: np.ndarray
    stopped: tuple[int | None, ...]
    frames_ngthwc: np.ndarray | None = None


def optimise(
    model: VisionModel,
    objectives: Sequence[Objective] | Evaluator,
    seeds: Sequence[int],
    settings: VisualizationSettings,
    *,
    starts: Tensor | None = None,
    checkpoint: Checkpoint | None = None,
    on_step: Callable[[int], None] | None = None,
    optimizer: UpdateRule | None = None,
) -> Optimised:
    """Optimise the images of n units together, each as if it were alone.

    Args:
        model: Its weights get no gradient, and it is restored afterwards, also after an exception.
        objectives: n objectives of g images each, or what evaluates them.
        seeds: n * g seeds. The seed of an image decides its start and its views, whatever else is in the chunk.
        settings: The preset and its numbers; `seed`, `restarts` and `batch` are not used.
        starts: Images [n * g,3,h,w] in [0,1] to start from, instead of noise.
        checkpoint: Saves the state now and then. A state that is already there is resumed, on the CPU to the same bits.
        on_step: Callback that gets the number of finished steps.
        optimizer: Replaces the preset's optimizer.

    Raises:
        VisualizeError: No gradient reaches the image, or the model does not have what an objective needs.
    """
    with torch.inference_mode(False), torch.enable_grad(), frozen(model.module):
        evaluator = bind(model, objectives, settings.views) if isinstance(objectives, Sequence) else objectives
        run = _Run(model, evaluator, settings, optimizer)
        state = run.start(seeds, starts)
        stored = None if checkpoint is None else checkpoint.load()
        if stored is not None:
            state.restore(stored)
        layers = {*evaluator.layers, *evaluator.early_layers}
        compiling: AbstractContextManager[object] = (
            compiled_blocks(model, layers) if settings.compile else nullcontext()
        )
        with compiling:
            while state.step < settings.steps:
                run.advance(state)
                if on_step is not None:
                    on_step(state.step)
                if checkpoint is not None and state.step < settings.steps and checkpoint.due(state.step):
                    checkpoint.save(state.step, state.tensors())
        return run.finish(state)


@dataclass
class _State:
    """The state of a chunk after some steps. Parameters and moments have a row for each image."""

    step: int
    params: Tensor
    good: Tensor  # the last parameters at which loss and gradient were finite
    moments: tuple[Tensor, Tensor]
    alive_n: Tensor
    stopped_n: Tensor
    curves_ns: Tensor
    generators: list[torch.Generator]
    frames: list[Tensor] = field(default_factory=list)

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors, for `restore`."""
        return {
            "step": torch.tensor(self.step, device="cpu"),
            "params": self.params,
            "good": self.good,
            "first": self.moments[0],
            "second": self.moments[1],
            "alive_n": self.alive_n,
            "stopped_n": self.stopped_n,
            "curves_ns": self.curves_ns,
            "generators": torch.stack([generator.get_state() for generator in self.generators]),
            **{f"frames.{number:06d}": levels for number, levels in enumerate(self.frames)},
        }

    def restore(self, stored: Mapping[str, Tensor]) -> None:
        """Restore the state that `tensors` returned."""
        self.step = int(stored["step"])
        targets = (self.params, self.good, *self.moments, self.alive_n, self.stopped_n, self.curves_ns)
        names = ("params", "good", "first", "second", "alive_n", "stopped_n", "curves_ns")
        for tensor, name in zip(targets, names, strict=True):
            tensor.copy_(stored[name])
        for generator, state in zip(self.generators, stored["generators"], strict=True):
            generator.set_state(state.clone())  # set_state reads from the start of the storage
        self.frames = [stored[name] for name in sorted(stored) if name.startswith("frames.")]


class _Run:
    """Everything that stays the same while a chunk is optimised."""

    def __init__(
        self, model: VisionModel, evaluator: Evaluator, settings: VisualizationSettings, optimizer: UpdateRule | None
    ) -> None:
        self.model, self.evaluator, self.settings = model, evaluator, settings
        self.preset, self.size, self.images = settings.preset, settings.size, evaluator.images
        self.optimizer: UpdateRule = optimizer or Optimizer(
            self.preset.optimizer, self.preset.learning_rate, self.preset.betas, self.preset.schedule, settings.steps
        )
        self.near: tuple[str, Tensor, float] | None = None

    def start(self, seeds: Sequence[int], starts: Tensor | None) -> _State:
        device, parametrization = self.model.device, self.preset.parametrization
        generators = [torch.Generator(device=device).manual_seed(seed) for seed in seeds]
        if starts is None:
            params = parametrization.start(self.size, generators)
        else:
            starts = starts.to(device, torch.float32)
            params = parametrization.start_from(starts)
            self._stay_near(starts)
        units = len(seeds) // self.images
        return _State(
            step=0,
            params=params,
            good=params.clone(),
            moments=moments(params),
            alive_n=torch.ones(units, dtype=torch.bool, device=device),
            stopped_n=torch.full((units,), -1, dtype=torch.int64, device=device),
            curves_ns=torch.full((units, self.settings.steps), torch.nan, dtype=torch.float32, device=device),
            generators=generators,
        )

    def advance(self, state: _State) -> None:
        """One step of every unit."""
        step = state.step
        params = state.params.detach().requires_grad_()
        images_nchw = self.preset.parametrization.images(params, self.size)
        if self.settings.frames and step % self.settings.frames == 0:
            state.frames.append(_to_levels(images_nchw).cpu())
        value_n, loss_i = self._evaluate(images_nchw, state.generators, step)
        (gradient,) = torch.autograd.grad(loss_i.sum(), params)
        # The sum of a gradient is finite where nearly all of it is, and needs one pass and no further tensor.
        finite_i = torch.isfinite(loss_i.detach()) & torch.isfinite(gradient.flatten(1).sum(1))
        finite_n = finite_i.unflatten(0, (-1, self.images)).all(1)
        state.stopped_n = torch.where(state.alive_n & ~finite_n, step, state.stopped_n)
        state.alive_n = state.alive_n & finite_n
        with torch.no_grad():
            state.curves_ns[:, step] = torch.where(state.alive_n, value_n, torch.nan)
            moved = self.optimizer.move(state.params, gradient, *state.moments, step)
            self.preset.parametrization.project(moved)
            alive = state.alive_n.repeat_interleave(self.images).reshape(-1, *[1] * (moved.ndim - 1))
            good = torch.where(alive, state.params, state.good)
            state.params, state.good = torch.where(alive, moved, good), good
        state.step += 1

    @torch.no_grad()
    def finish(self, state: _State) -> Optimised:
        images_nchw = self.preset.parametrization.images(state.params, self.size)
        # The parameters after the last step have not been checked yet.
        finite = torch.isfinite(images_nchw.flatten(1).sum(1)).unflatten(0, (-1, self.images)).all(1)
        if not bool(finite.all()):
            before_nchw = self.preset.parametrization.images(state.good, self.size)
            images_nchw = torch.where(
                finite.repeat_interleave(self.images)[:, None, None, None], images_nchw, before_nchw
            )
            last = torch.where(state.stopped_n < 0, self.settings.steps, state.stopped_n)
            state.stopped_n = torch.where(finite, state.stopped_n, last)
        frames = None
        if self.settings.frames:
            frames_tnhwc = torch.stack([*state.frames, _to_levels(images_nchw).cpu()])
            frames = frames_tnhwc.transpose(0, 1).unflatten(0, (-1, self.images)).numpy()
        images_nghwc = images_nchw.clamp(0, 1).permute(0, 2, 3, 1).unflatten(0, (-1, self.images))
        stopped = [None if step < 0 else step for step in state.stopped_n.tolist()]
        return Optimised(images_nghwc.cpu().numpy(), state.curves_ns.cpu().numpy(), tuple(stopped), frames)

    def _evaluate(self, images_nchw: Tensor, generators: list[torch.Generator], step: int) -> tuple[Tensor, Tensor]:
        """Each unit's value [n], and each image's loss [n * g]."""
        preset, steps = self.preset, self.settings.steps
        early = step < preset.early * steps
        views_nechw = make_views(
            preset.transforms, images_nchw, generators, self.settings.views, self.model.image_size, step / steps
        )
        acts = self._capture(views_nechw.flatten(0, 1), self.evaluator.early_layers if early else self.evaluator.layers)
        value_nge = self.evaluator(acts, early)
        if not value_nge.requires_grad:
            raise VisualizeError(
                f"no gradient of {', '.join(self.evaluator.layers)} reaches the image in {self.model.spec}, since a "
                "module before it is not differentiable, detaches or runs without gradients: choose an earlier layer"
            )
        loss_i = -value_nge.mean(2).flatten()
        for regularizer in preset.regularizers:
            loss_i = loss_i + regularizer(images_nchw, views_nechw)
        if self.near is not None:
            layer, target, weight = self.near
            distance_i = (self._capture_images(images_nchw, layer) - target).square().flatten(1).mean(1)
            loss_i = loss_i + weight * distance_i / target.square().flatten(1).mean(1).clamp_min(1e-12)
        return value_nge.detach().mean((1, 2)), loss_i

    def _capture(self, pixels_bchw: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
        with _autocast(self.model):
            return self.model.capture(pixels_bchw, layers)

    def _capture_images(self, images_nchw: Tensor, layer: str) -> Tensor:
        """A layer's activations for the images themselves instead of their views."""
        if tuple(images_nchw.shape[2:]) != self.model.image_size:
            images_nchw = F.interpolate(images_nchw, self.model.image_size, mode="bilinear", antialias=True)
        return self._capture(images_nchw, [layer])[layer].float()

    @torch.no_grad()
    def _stay_near(self, starts_nchw: Tensor) -> None:
        if self.preset.near is not None:
            layer = near_layer(self.model, self.evaluator.layers, self.preset.near.layer_depth)
            self.near = layer, self._capture_images(starts_nchw, layer), self.preset.near.weight


def near_layer(model: VisionModel, layers: Sequence[str], depth: float) -> str:
    """The listed layer at a depth, as a share of the depth of the first of some layers."""
    order = [
        layer.name for layer in model.layers if layer.kind != "attention" and layer.name not in model.derived_layers
    ]
    last = min((order.index(name) for name in layers if name in order), default=len(order) - 1)
    return order[min(int(depth * last), last)]


def _autocast(model: VisionModel) -> AbstractContextManager[object]:
    """bfloat16 within a float32 model on a GPU that supports it."""
    if model.device.type == "cuda" and model.dtype == torch.float32 and torch.cuda.is_bf16_supported():
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def _to_levels(images_nchw: Tensor) -> Tensor:
    """Images rounded to 8 bits, uint8 [n,h,w,3]; NaN becomes 0."""
    finite = torch.nan_to_num(images_nchw.detach(), nan=0.0, posinf=1.0, neginf=0.0)
    return finite.clamp(0, 1).mul(255).round().to(torch.uint8).permute(0, 2, 3, 1)
