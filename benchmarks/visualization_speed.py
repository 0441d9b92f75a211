"""What a visualization costs: a step beside the least that it needs, and a feature beside other ways to make one.

    python benchmarks/visualization_speed.py [--quick] [--rounds 5] [--features 8] [--steps 4]

All with random weights, the preset `fourier` and images of the model's size.

a step     beside bare torch at the same batch: normalise, forward up to the target, backward to the pixels; no weight
           has a gradient, and nothing after the target runs. In half precision on CUDA, as the step itself.
a feature  beside a loop that makes one feature after the other, with the same parametrization and views and Adam, as it
           is usually written: a hook on the target, a whole forward, `backward()`. With weights as a model comes,
           which collect gradients that nobody needs, and with frozen ones. Block 6 of a ViT-B/16.
lucent     beside `render_vis` of torch-lucent 0.1.8, where it is installed, on a middle layer of a ResNet-50: the same
           size and number of steps, its own transforms, one view a step in both; weights likewise.
a batch    features a second against how many are optimised at once.
"""

import importlib.util
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from common import alternate, arguments, print_table, spread
from conceptprobe.models import VisionModel, load_model
from conceptprobe.visualization.objectives.objectives import feature
from conceptprobe.visualization.optimization.batching import default_units
from conceptprobe.visualization.optimization.engine import optimise
from conceptprobe.visualization.optimization.presets import Preset, get_preset
from conceptprobe.visualization.settings import choose_settings
from conceptprobe.visualization.transforms.views import make_views

STEP, FEATURE = 1.15, 1.5
MINI, VIT, RESNET = "mini:clip", "timm:vit_base_patch16_224@random", "timm:resnet50@random"
SMALL_VIT, SMALL_RESNET = "timm:vit_tiny_patch16_224@random", "timm:resnet18@random"


class Stop(Exception):  # noqa: N818
    pass


@dataclass(frozen=True)
class Case:
    """A target in a model: the layer, its module, and from what the module puts out the mean of each feature."""

    model: VisionModel
    layer: str
    module: nn.Module
    pooled: Callable[[Tensor], Tensor]

    @property
    def name(self) -> str:
        return f"{self.model.spec}, {self.layer}"


def make_case(spec: str, block: int | str) -> Case:
    torch.manual_seed(0)
    model = load_model(spec, device="auto")
    if isinstance(block, str):
        return Case(model, f"module:{block}", model.module.get_submodule(block), lambda x_bchw: x_bchw.mean((2, 3)))
    layer = f"blocks.{block}.mlp.hidden"
    return Case(model, layer, model.module_of(layer), lambda x_btc: x_btc[:, 1:].mean(1))


def precision(model: VisionModel) -> AbstractContextManager[object]:
    return torch.autocast("cuda", dtype=torch.bfloat16) if model.device.type == "cuda" else nullcontext()


def waiting(model: VisionModel, way: Callable[[], object]) -> Callable[[], None]:
    """The same, until the device has done it."""

    def run() -> None:
        way()
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)

    return run


def normalised(model: VisionModel, pixels_bchw: Tensor) -> Tensor:
    mean, std = (
        torch.tensor(model.preprocessing[key], device=pixels_bchw.device)[:, None, None] for key in ("mean", "std")
    )
    return (pixels_bchw - mean) / std


def forward_of(model: VisionModel) -> Callable[[Tensor], Any]:
    return getattr(model.module, "visual", model.module)


def freeze(model: VisionModel) -> None:
    for weight in model.module.parameters():
        weight.grad = None
        weight.requires_grad_(False)


def ours(case: Case, features: Sequence[int], preset: Preset) -> None:
    objectives = [feature(case.layer, index) for index in features]
    optimise(case.model, objectives, list(features), choose_settings(case.model, preset, size=case.model.image_size))


def bare(case: Case, features: int, preset: Preset) -> None:
    """As many forwards and backwards as there are steps, and nothing else."""
    model = case.model
    pixels = torch.rand(features * preset.views, 3, *model.image_size, device=model.device)
    index_b = torch.arange(features, device=model.device).repeat_interleave(preset.views)[:, None]
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: object, output: Tensor) -> None:
        kept.append(output)
        raise Stop

    handle = case.module.register_forward_hook(keep)
    forward = forward_of(model)
    for _ in range(preset.steps):
        leaf = pixels.requires_grad_()
        try:
            with precision(model):
                forward(normalised(model, leaf))
        except Stop:
            value = case.pooled(kept.pop()).float().gather(1, index_b).sum()
        torch.autograd.grad(value, leaf)
    handle.remove()


def loop(case: Case, features: Sequence[int], preset: Preset, frozen: bool) -> None:
    """One feature after the other, the whole model forwards."""
    model, device = case.model, case.model.device
    kept: list[Tensor] = []
    handle = case.module.register_forward_hook(lambda module, args, output: kept.append(output))
    model.module.requires_grad_(not frozen)
    forward = forward_of(model)
    for index in features:
        generators = [torch.Generator(device).manual_seed(index)]
        params = preset.parametrization.start(model.image_size, generators).requires_grad_()
        adam = torch.optim.Adam([params], preset.learning_rate)
        for step in range(preset.steps):
            images_nchw = preset.parametrization.images(params, model.image_size)
            views_nechw = make_views(
                preset.transforms, images_nchw, generators, preset.views, model.image_size, step / preset.steps
            )
            with precision(model):
                forward(normalised(model, views_nechw[0]))
            adam.zero_grad()
            (-case.pooled(kept.pop()).float()[:, index].mean()).backward()
            adam.step()
    handle.remove()
    freeze(model)


def lucent(case: Case, features: Sequence[int], steps: int, frozen: bool) -> None:
    """torch-lucent, one feature after the other as it does; its hooks, which it leaves, are taken off."""
    from lucent.optvis import param, render

    case.model.module.requires_grad_(not frozen)
    size = case.model.image_size[0]
    name = case.layer.removeprefix("module:").replace(".", "_")
    for index in features:
        render.render_vis(
            case.model.module, f"{name}:{index}", lambda: param.image(size), thresholds=(steps,), fixed_image_size=size,
            show_image=False, progress=False, verbose=False,
        )  # fmt: skip
        for module in case.model.module.modules():
            module._forward_hooks.clear()
    freeze(case.model)


def compare_steps(cases: Sequence[Case], features: int, preset: Preset, rounds: int) -> None:
    rows = []
    for case in cases:
        ways = {
            "ours": waiting(case.model, partial(ours, case, range(features), preset)),
            "bare": waiting(case.model, partial(bare, case, features, preset)),
        }
        seconds = alternate(ways, rounds)
        rows.append(
            {
                "a step on": case.name,
                "batch": f"{features} images, {preset.views} views",
                "seconds": spread(seconds["ours"] / preset.steps, 3),
                "bare forward and backward": spread(seconds["bare"] / preset.steps, 3),
                "times": spread(seconds["ours"] / seconds["bare"], 3),
                "target": f"<= {STEP}",
            }
        )
    print_table(rows)


def compare_ways(case: Case, ways: dict[str, Callable[[], None]], features: int, steps: int, rounds: int) -> None:
    """A row for each way, the first of which is ours."""
    seconds = alternate({name: waiting(case.model, way) for name, way in ways.items()}, rounds)
    first = next(iter(ways))
    print_table(
        [
            {
                "a feature on": case.name,
                "by": name,
                f"seconds for {steps} steps": spread(own / features, 3),
                "times as long as ours": "" if name == first else spread(own / seconds[first]),
                "target": "" if name == first else f">= {FEATURE}",
            }
            for name, own in seconds.items()
        ]
    )


def compare_batches(case: Case, batches: Sequence[int], preset: Preset, rounds: int) -> None:
    ways = {str(n): waiting(case.model, partial(ours, case, range(n), preset)) for n in batches}
    seconds = alternate(ways, rounds)
    whole = get_preset("fourier").steps
    default = default_units(case.model.device, preset.views, 1, case.model.image_size)
    print_table(
        [
            {
                "features at once": f"{n}{' (the default)' if n == default else ''}",
                f"features of {whole} steps an hour": spread(
                    3600 * n / np.asarray(seconds[str(n)] / preset.steps * whole), 1
                ),
                "images through the model a second": spread(n * preset.views * preset.steps / seconds[str(n)], 1),
            }
            for n in batches
        ]
    )


def main() -> None:
    given = arguments(__doc__, rounds=(5, 1), features=(8, 2), steps=(4, 2))
    preset = replace(get_preset("fourier"), steps=given.steps, early=0.0)
    mini = make_case(MINI, 4)
    vit = make_case(SMALL_VIT if given.quick else VIT, 6)
    resnet = make_case(SMALL_RESNET if given.quick else RESNET, "layer3.1" if given.quick else "layer3.2")
    device = vit.model.device
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    print(f"{where}, {torch.get_num_threads()} threads, {given.features} features at once\n")
    for case in (mini, vit, resnet):
        freeze(case.model)
    compare_steps([mini, vit, resnet], given.features, preset, given.rounds)
    features = range(given.features)
    compare_ways(
        vit,
        {
            "conceptprobe": partial(ours, vit, features, preset),
            "a loop": partial(loop, vit, features, preset, False),
            "a loop, weights frozen": partial(loop, vit, features, preset, True),
        },
        given.features, given.steps, given.rounds,
    )  # fmt: skip
    if importlib.util.find_spec("lucent") is None:
        print("torch-lucent is not installed: no comparison (pip install 'conceptprobe[lucent]')\n")
    else:
        one = replace(preset, views=1)
        ways = {
            "conceptprobe": partial(ours, resnet, features, one),
            "torch-lucent": partial(lucent, resnet, features, given.steps, False),
            "torch-lucent, weights frozen": partial(lucent, resnet, features, given.steps, True),
        }
        compare_ways(resnet, ways, given.features, given.steps, given.rounds)
    most = 64 if device.type == "cuda" else 16
    batches = [1, 2] if given.quick else [2**power for power in range(most.bit_length())]
    compare_batches(vit, batches, preset, given.rounds)


if __name__ == "__main__":
    main()
