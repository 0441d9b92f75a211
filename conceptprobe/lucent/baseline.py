"""torch-lucent itself, as another engine for the same call."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from conceptprobe.lucent.activations import INPUT, LABELS, Lazily, Looked, Named
from conceptprobe.lucent.optvis.transform import Composed, Known, TransformF
from conceptprobe.models.torch_internals import new_hooks_removed
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.optimization.model_state import frozen
from conceptprobe.visualization.transforms.affine import resize


def real_lucent(part: str) -> Any:
    """A module of torch-lucent.

    Raises:
        VisualizeError: It is not installed, or does not run here.
    """
    try:
        return importlib.import_module(f"lucent.{part}")
    except ImportError as error:
        raise VisualizeError(
            f"engine='lucent' needs torch-lucent, which cannot be imported ({error}): install it by "
            "pip install 'conceptprobe[lucent]' (PyPI's package named lucent is another project)"
        ) from error


def render_by_lucent(
    named: Named, objective_f: Callable[[Any], Any], param_f: Callable[[], Any], transforms: Sequence[TransformF], *,
    preprocess: bool, **given: Any,
) -> list[Any]:  # fmt: skip
    """`lucent.optvis.render.render_vis` on the module of a model of maps; no hook of it stays.

    Args:
        preprocess: Normalise as the model does.
        given: The other arguments of that function.

    Raises:
        VisualizeError: The objective looks at a layer of tokens, of which Lucent takes the wrong axis for features.
    """
    render, transform = real_lucent("optvis.render"), real_lucent("optvis.transform")
    module = named.model.module
    mean, std = named.normalization if preprocess else ((0.0,) * 3, (1.0,) * 3)

    def normalize(image_t: Tensor) -> Tensor:
        shape = (1, -1, 1, 1)
        return (image_t - image_t.new_tensor(mean).reshape(shape)) / image_t.new_tensor(std).reshape(shape)

    params, image_f = param_f()
    with (
        torch.no_grad()
    ):  # once before, since names are resolved by a look at the model, which Lucent's hooks would see
        views_bchw = resize(image_f().to(named.model.device), named.model.image_size)
        looked = Looked(named, Lazily(named.model, views_bchw), image_f)
        objective_f(looked)
    for name in looked.asked:
        named.lucent_name(name)

    def objective(hook: Callable[[str], Tensor]) -> Any:
        return objective_f(lambda name: hook(name if name in (INPUT, LABELS) else named.lucent_name(name)))

    with frozen(module), new_hooks_removed(module), torch.enable_grad():
        made: list[Any] = render.render_vis(
            module,
            objective,
            lambda: (params, image_f),
            transforms=[*_as_lucents(transforms, transform), normalize],
            preprocess=False,
            **given,
        )
    return made


def _as_lucents(transforms: Sequence[TransformF], module: Any) -> list[TransformF]:
    found: list[TransformF] = []
    for transform in transforms:
        if isinstance(transform, Known):
            name, arguments = transform.lucent
            found.append(getattr(module, name)(*arguments))
        elif isinstance(transform, Composed):
            found += _as_lucents(transform.transforms, module)
        else:
            found.append(transform)
    return found
