"""The model of an index, loaded again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conceptprobe.images import load_images
from conceptprobe.indexing import Index, IndexingError, build_index, index_activations
from conceptprobe.indexing.model import model_of
from conceptprobe.models import load_model


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    images = load_images("mini:emoji/fxemoji").subset(range(12))
    model = load_model("mini:clip", device="cpu", dtype="bfloat16")
    out = tmp_path_factory.mktemp("model") / "index"
    return build_index(model, images, "final", out, k=4, vectors=False, workers=0)


def test_the_model_is_loaded_as_it_was_when_the_index_was_built(index: Index) -> None:
    model = model_of(index, device="cpu")
    assert model.fingerprint == index.manifest.model.fingerprint
    assert (model.spec, str(model.dtype)) == ("mini:clip", "torch.bfloat16")
    assert model_of(index, model) is model
    assert index.manifest.model.is_reproducible


def test_another_model_is_refused(index: Index) -> None:
    with pytest.raises(IndexingError, match=r"mini:supervised is not the model that .* was built with, mini:clip"):
        model_of(index, load_model("mini:supervised", device="cpu"))
    changed = Index(index.path, replace(index.manifest, model=replace(index.manifest.model, spec="mini:clip@random")))
    with pytest.raises(IndexingError, match="its fingerprint is"):
        model_of(changed, device="cpu")


def test_activations_from_elsewhere_have_no_model(tmp_path: Path) -> None:
    acts = np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32)
    index = index_activations(acts, [f"{row:02d}" for row in range(20)], tmp_path / "index", layer="acts")
    with pytest.raises(IndexingError, match="were computed elsewhere, so it names no model to load: give the model"):
        model_of(index)
    assert not index.manifest.model.is_reproducible
