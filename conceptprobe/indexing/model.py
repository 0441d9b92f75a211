"""The model of an index, loaded again."""

import torch

from conceptprobe.indexing.errors import IndexingError
from conceptprobe.indexing.index import Index
from conceptprobe.models import VisionModel, load_model


def model_of(index: Index, model: VisionModel | None = None, *, device: str | torch.device = "auto") -> VisionModel:
    """The model that an index was built with; any other model is refused.

    Args:
        index: An index.
        model: The model, if it is loaded already; by default the one that the index names, with its dtype.
        device: The device to load it on.

    Raises:
        IndexingError: The model is another one, or the index names none: its activations were computed elsewhere.
        ModelError: The model cannot be loaded.
    """
    about = index.manifest.model
    if model is None:
        if about.external:
            raise IndexingError(
                f"the activations in {index.path} were computed elsewhere, so it names no model to load: give the model"
            )
        model = load_model(about.spec, device=device, dtype=about.dtype)
    if model.fingerprint != about.fingerprint:
        raise IndexingError(
            f"{model.spec} is not the model that {index.path} was built with, {about.spec}: its fingerprint is "
            f"{model.fingerprint[:12]}, not {about.fingerprint[:12]}. Give that model, or build the index again"
        )
    return model
