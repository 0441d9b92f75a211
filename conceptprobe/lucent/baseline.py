"""torch-lucent itself, as a baseline for the same call."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from conceptprobe.lucent.activations import INPUT, LABELS, ActivationLookup, LazyActivations, NamedModel
from conceptprobe.lucent.optvis.transform import Composed, KnownTransform, TransformF
from conceptprobe.models.torch_internals import new_hooks_removed
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.optimization.model_state import frozen
from conceptprobe.visualization.transforms.affine import resize


def real_lucent(part: str) -> Any:
    """A module of torch-lucent.

    Raises:
        VisualizeError: torch-lucent is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(f"lucent.{part}")
    except ImportError as error:
        raise VisualizeError(
            f"engine='lucent' needs torch-lucent, which cannot be imported ({error}): install it by "
            "pip install 'conceptprobe[lucent]' (PyPI's package named lucent is another project)"
        ) from error


def render_by_lucent(
    named: NamedModel,
    objective_f: Callable[[Any], Any],
    param_f: Callable[[], Any],
    transforms: Sequence[TransformF],
    *,
    preprocess: bool,
    **options: Any,
) -> list[Any]:
    """Run `lucent.optvis.render.render_vis` on the module of a model, and remove its hooks afterwards.

    Args:
        named: The model.
        objective_f: A function of T.
        param_f: Returns parameters and the image function.
        transforms: Transforms of this library or of Lucent, or other functions of images.
        preprocess: Whether images are normalised for the model.
        **options: Further arguments of that function.

    Raises:
        VisualizeError: The objective reads a layer of tokens, of which Lucent takes the wrong axis for features.
    """
    render, transform = real_lucent("optvis.render"), real_lucent("optvis.transform")
    module = named.model.module
    mean, std = named.normalization if preprocess else ((0.0,) * 3, (1.0,) * 3)

    def normalize(image_t: Tensor) -> Tensor:
        shape = (1, -1, 1, 1)
        return (image_t - image_t.new_tensor(mean).reshape(shape)) / image_t.new_tensor(std).reshape(shape)

    params, image_f = param_f()
    with torch.no_grad():  # names are resolved before, since that runs the model, which Lucent's hooks would record
        views_bchw = resize(image_f().to(named.model.device), named.model.image_size)
        lookup = ActivationLookup(named, LazyActivations(named.model, views_bchw), image_f)
        objective_f(lookup)
    for name in lookup.names:
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
            **options,
        )
    return made


def _as_lucents(transforms: Sequence[TransformF], module: Any) -> list[TransformF]:
    lucent_transforms: list[TransformF] = []
    for transform in transforms:
        if isinstance(transform, KnownTransform):
            name, arguments = transform.lucent
            lucent_transforms.append(getattr(module, name)(*arguments))
        elif isinstance(transform, Composed):
            lucent_transforms += _as_lucents(transform.transforms, module)
        else:
            lucent_transforms.append(transform)
    return lucent_transforms
