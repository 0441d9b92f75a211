"""Load models by their specs."""

import importlib
from types import ModuleType

import torch

from conceptprobe.device import resolve_device
from conceptprobe.errors import ConceptProbeError
from conceptprobe.models.checkpoints import reason
from conceptprobe.models.errors import ModelError, SpecError
from conceptprobe.models.spec import FAMILIES, ModelSpec
from conceptprobe.models.vision_model import VisionModel

ModelLike = VisionModel | str
"""A model, or a model's spec."""

_DTYPES = ("float32", "bfloat16", "float16")


def load_model(spec: str, device: str | torch.device = "auto", dtype: str | torch.dtype | None = None) -> VisionModel:
    """Load a model, in eval mode and with frozen weights (gradients still flow to the pixels).

    Args:
        spec: `family:architecture[@weights][#pixels]`; weights are a pretrained tag, a local file or directory, or
            `random` (always the same weights, from a fixed seed). Families: mini, open_clip, timm, torchvision.
            A weight file of open_clip may need a tag that has its activation function and preprocessing, as in
            `open_clip:ViT-B-32@openai:clip.pt`.
            `#pixels` is another, square input size: positional embeddings are resampled as the family resamples them.
        device: "auto" is the first GPU if there is one, else the CPU.
        dtype: float32 if it is None; "bfloat16" and "float16" halve the memory of weights and activations.

    Raises:
        SpecError: The spec cannot be parsed, or it names an unknown family, architecture or tag, or a size that the
            model cannot take.
        WeightsError: The weights cannot be found or do not fit; the message says what to do instead.
    """
    parsed = ModelSpec.parse(spec)
    name = str(dtype or "float32").removeprefix("torch.")
    if name not in _DTYPES:
        raise ModelError(f"dtype {name!r} is not one of {', '.join(_DTYPES)}")
    target = resolve_device(device)
    with torch.device("cpu"):  # whatever the process's default device is
        model = _load(parsed)
    model.module.eval().requires_grad_(False).to(target, getattr(torch, name))
    return model


def _load(spec: ModelSpec) -> VisionModel:
    try:
        model: VisionModel = _family(spec.family).load(spec)
        if spec.pixels is not None:
            model.check_input()
    except ConceptProbeError:
        raise
    except Exception as error:
        if spec.pixels is None:
            raise
        raise SpecError(f"{spec.text!r}: {spec.name} cannot work at {spec.pixels} pixels ({reason(error)})") from error
    return model


def list_models(family: str | None = None) -> list[str]:
    """Specs of all models with pretrained weights, of one family or of all families."""
    if family is not None and family not in FAMILIES:
        raise SpecError(f"no family {family!r}; there are {', '.join(FAMILIES)}")
    return [spec for name in FAMILIES if family in (None, name) for spec in _family(name).names()]


def _family(name: str) -> ModuleType:
    """The module of a family, imported when it is first needed: timm, open_clip and torchvision take seconds each."""
    return importlib.import_module(f"conceptprobe.models.{name}")


def as_model(model: ModelLike) -> VisionModel:
    """The model itself, or the model that `load_model` loads for a spec."""
    return load_model(model) if isinstance(model, str) else model
