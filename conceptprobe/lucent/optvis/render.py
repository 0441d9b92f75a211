"""The optimisation of images for one objective."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from torch import Tensor, nn

from conceptprobe.display.sheets import draw_grid
from conceptprobe.lucent.activations import LucentObjective, NamedModel, declared_size, declared_tokens
from conceptprobe.lucent.adapters import LucentOptimizer, LucentParametrization
from conceptprobe.lucent.baseline import render_by_lucent
from conceptprobe.lucent.misc.io import show
from conceptprobe.lucent.optvis import objectives, param, transform
from conceptprobe.lucent.optvis.param.device import parameters_on
from conceptprobe.models import VisionModel
from conceptprobe.validation import make_settings
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.optimization.engine import optimise
from conceptprobe.visualization.optimization.presets import Preset
from conceptprobe.visualization.progress import Meter
from conceptprobe.visualization.settings import VisualizationSettings
from conceptprobe.visualization.transforms.transforms import Pad, Transform
from conceptprobe.visualization.transforms.views import make_views

SMALLEST = 224  # a plain module sees smaller images at this size


def render_vis(
    model: VisionModel | nn.Module,
    objective_f: Any,
    param_f: Callable[[], tuple[Iterable[Tensor], Callable[[], Tensor]]] | None = None,
    optimizer: Callable[[Any], torch.optim.Optimizer] | None = None,
    transforms: Sequence[transform.TransformF] | None = None,
    thresholds: Sequence[int] = (512,),
    verbose: bool = False,
    preprocess: bool = True,
    progress: bool = True,
    show_image: bool = True,
    save_image: bool = False,
    image_name: str | os.PathLike[str] | None = None,
    show_inline: bool = False,
    fixed_image_size: int | tuple[int, int] | None = None,
    *,
    views: int = 1,
    engine: Literal["conceptprobe", "lucent"] = "conceptprobe",
) -> list[np.ndarray]:
    """Optimise images for an objective, with the arguments of Lucent's `render_vis`.

    Args:
        model: A `VisionModel`, or a torch module, for which images get ImageNet's normalisation.
        objective_f: An objective, a function of T, or "layer:n".
        param_f: Returns parameters and a function for the images in [0,1]; `param.image(128)` by default.
        optimizer: From the parameters to a torch optimiser; Adam with a learning rate of 0.05 by default.
        transforms: `transform.standard_transforms` by default.
        thresholds: The steps after which images are kept; the largest is the last step.
        verbose: Print the loss before the first step and at the end.
        preprocess: Normalise the images for the model.
        progress: Show a bar on stderr.
        show_image: Show the result in a viewer.
        save_image: Save the images, side by side.
        image_name: File for `save_image`; `image.jpg` by default.
        show_inline: Show the result in the notebook instead.
        fixed_image_size: The size to which images are resized after the transforms. By default it is the image size of
            a `VisionModel` or a ViT. Other modules see images of 224 pixels, or larger images at their size.
        views: Differently transformed copies of each image in a step, over which the loss is averaged.
        engine: "lucent" runs torch-lucent, a baseline for CNNs.

    Returns:
        For each threshold the images [B,H,W,3], float32 in [0,1].

    Raises:
        VisualizeError: An argument or the objective is not possible.
        UnknownLayerError: There is no such layer; the error names similar layers.
    """
    if not thresholds or min(thresholds) < 1 or views < 1:
        raise VisualizeError(
            f"thresholds are {list(thresholds)} and views {views}: give at least one threshold, and no number below 1"
        )
    if engine not in ("conceptprobe", "lucent"):
        raise VisualizeError(f"engine {engine!r} is unknown: choose conceptprobe or lucent")
    loss = objectives.as_objective(objective_f)
    param_f = param_f or (lambda: param.image(128))
    chosen_transforms = transform.standard_transforms if transforms is None else transforms
    device = model.device if isinstance(model, VisionModel) else _device(model)
    if engine == "lucent":
        if fixed_image_size is None and isinstance(model, VisionModel):
            fixed_image_size = model.image_size
        with parameters_on(device):
            return render_by_lucent(
                _name_layers(model, None, preprocess), loss, param_f, chosen_transforms, preprocess=preprocess,
                optimizer=optimizer, thresholds=thresholds, verbose=verbose, progress=progress, show_image=show_image,
                save_image=save_image, image_name=image_name, show_inline=show_inline,
                fixed_image_size=fixed_image_size,
            )  # fmt: skip

    with torch.inference_mode(False), torch.enable_grad(), parameters_on(device):
        leaves, image_f = param_f()
        parametrization = LucentParametrization(leaves, image_f, device, thresholds)
        update_rule = None if optimizer is None else LucentOptimizer(parametrization, optimizer(parametrization.leaves))
    parts = transform.as_transforms(chosen_transforms)
    named = _name_layers(model, _view_size(model, fixed_image_size, parametrization.size, parts), preprocess)
    if not preprocess and isinstance(model, VisionModel):
        parts = (*parts, transform.FunctionTransform(_undo(*named.normalization)))
    settings = make_settings(
        VisualizationSettings,
        {
            "preset": _preset(parametrization, parts),
            "size": parametrization.size,
            "steps": int(max(thresholds)),
            "views": views,
        },
        what="render_vis",
        error=VisualizeError,
    )
    shots = _optimise(named, loss, parametrization, settings, update_rule, verbose, progress)
    images = [tensor_to_img_array(shot) for shot in shots]
    if save_image:
        export(shots[-1], image_name)
    if show_inline:
        show(images[-1])
    elif show_image:
        view(shots[-1])
    return images


def _optimise(
    named: NamedModel, loss: objectives.Loss, parametrization: LucentParametrization, settings: VisualizationSettings,
    optimizer: LucentOptimizer | None, verbose: bool, progress: bool,
) -> list[Tensor]:  # fmt: skip
    """The images after each threshold, and after Ctrl-C also those of the last step."""
    say = Console(stderr=True).print
    model = named.model
    evaluator = LucentObjective(named, loss, lambda: parametrization.images_now, parametrization.batch, settings.views)
    generators = [transform.generator(model.device) for _ in range(parametrization.batch)]
    seeds = [generator.initial_seed() for generator in generators]
    views_nechw = make_views(
        settings.preset.transforms, parametrization.images_now, generators, 1, model.image_size, 0.0
    )
    first = evaluator.find_layers(views_nechw)
    if verbose:
        say(f"Initial loss: {first:.3f}")
    meter = Meter(1, 0, settings.steps)
    try:
        with meter.shown(progress):
            done = optimise(
                model, evaluator, seeds, settings, on_step=lambda step: meter.step(step, 1), optimizer=optimizer
            )
    except KeyboardInterrupt:
        say("Interrupted: these are the images of the last step.")
        return [*parametrization.snapshots, parametrization.images_now.detach()]
    if verbose:
        say(f"Loss at step {settings.steps}: {-done.curves_ns[0, -1] * parametrization.batch:.3f}")
    if done.stopped[0] is None:
        return parametrization.snapshots
    say(f"The loss or its gradient was not finite at step {done.stopped[0]}: these are the images before that step.")
    last = torch.from_numpy(done.images_nghwc[0]).permute(0, 3, 1, 2)
    return [shot if shot.isfinite().all() else last for shot in parametrization.snapshots]


def tensor_to_img_array(tensor: Tensor) -> np.ndarray:
    """A tensor [B,C,H,W] as an array [B,H,W,C]."""
    return tensor.detach().cpu().numpy().transpose(0, 2, 3, 1)


def view(tensor: Tensor) -> None:
    """Show images [B,C,H,W], side by side, in a viewer."""
    _side_by_side(tensor).show()


def export(tensor: Tensor, image_name: str | os.PathLike[str] | None = None) -> None:
    """Save images [B,C,H,W], side by side."""
    _side_by_side(tensor).save(image_name or "image.jpg")


def _side_by_side(tensor: Tensor) -> Image.Image:
    levels = (tensor_to_img_array(tensor).clip(0, 1) * 255).round().astype(np.uint8)
    return draw_grid([Image.fromarray(image) for image in levels], len(levels))


def _device(module: nn.Module) -> torch.device:
    return next((weight.device for weight in module.parameters()), torch.device("cpu"))


def _name_layers(model: VisionModel | nn.Module, size: tuple[int, int] | None, preprocess: bool) -> NamedModel:
    """The model as a `VisionModel` with Lucent's layer names; `size` is the image size of a plain module."""
    if isinstance(model, VisionModel):
        return NamedModel(model, tokens_known=True)
    mean, std = transform.MEAN, transform.STD
    if type(model).__name__ == "InceptionV1":
        mean = (transform.INCEPTION_MEAN / transform.INCEPTION_SCALE,) * 3
        std = (1 / transform.INCEPTION_SCALE,) * 3
    if not preprocess:
        mean, std = (0.0,) * 3, (1.0,) * 3
    tokens = declared_tokens(model)
    size = size or declared_size(model) or (SMALLEST, SMALLEST)
    wrapped = VisionModel.wrap(model, layers=(), image_size=size, mean=mean, std=std, tokens=tokens)
    return NamedModel(wrapped, tokens_known=tokens is not None)


def _view_size(
    model: VisionModel | nn.Module,
    fixed: int | tuple[int, int] | None,
    size: tuple[int, int],
    parts: Sequence[Transform],
) -> tuple[int, int]:
    fixed = (fixed, fixed) if isinstance(fixed, int) else fixed
    if isinstance(model, VisionModel):
        if fixed is not None and tuple(fixed) != model.image_size:
            raise VisualizeError(
                f"fixed_image_size is {fixed}, but {model.spec} has images of {model.image_size}: leave out "
                "fixed_image_size, or give the module itself"
            )
        return model.image_size
    declared = declared_size(model)
    if fixed is not None or declared is not None:
        rows, columns = fixed or declared or size
        return rows, columns
    if min(size) < SMALLEST:
        return SMALLEST, SMALLEST
    padded = sum(2 * int(part.pixels) for part in parts if isinstance(part, Pad))
    return size[0] + padded, size[1] + padded


def _undo(mean: Sequence[float], std: Sequence[float]) -> transform.TransformF:
    """The inverse of the model's normalisation."""
    return lambda image_t: (
        image_t * image_t.new_tensor(std).reshape(1, -1, 1, 1) + image_t.new_tensor(mean).reshape(1, -1, 1, 1)
    )


def _preset(parametrization: LucentParametrization, parts: tuple[Transform, ...]) -> Preset:
    return Preset(
        name="lucent",
        citation="Swee Kiat Lim et al., Lucent, github.com/greentfrapp/lucent",
        parametrization=parametrization,
        transforms=parts,
        regularizers=(),
        optimizer="adam",
        learning_rate=0.05,
        betas=(0.9, 0.999),
        schedule="constant",
        steps=512,
        views=1,
        early=0.0,
    )
