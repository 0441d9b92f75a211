from pathlib import Path

import numpy as np
import pytest

from conceptprobe.indexing import Index, IndexingError, index_activations
from conceptprobe.indexing.storage import vectors

VALUES = np.random.default_rng(0).standard_normal((12, 6)).astype(np.float32)
IDS = [f"{row:02d}" for row in range(12)]


@pytest.fixture(params=["Flat", "SQfp16"])
def index(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Index:
    monkeypatch.setattr(vectors, "ROWS_READ", 5)
    return index_activations(VALUES, IDS, tmp_path / "index", layer="own", model="mine", k=3, faiss=request.param)


def kept(index: Index) -> np.ndarray:
    return VALUES if index.manifest.faiss == "Flat" else VALUES.astype(np.float16).astype(np.float32)


def test_activations_come_in_blocks_in_the_order_of_the_images(index: Index) -> None:
    blocks = list(index.activation_blocks("own"))
    assert [len(block) for block in blocks] == [5, 5, 2]
    np.testing.assert_array_equal(np.concatenate(blocks), kept(index))
    np.testing.assert_array_equal(index.activations("own"), kept(index))


@pytest.mark.parametrize("rows", [[0, 4, 5, 11], [7], [], list(range(12))])
def test_vectors_of_some_images(index: Index, rows: list[int]) -> None:
    chosen = np.array(rows, np.int64)
    np.testing.assert_array_equal(index.activations("own", chosen), kept(index)[chosen])


def test_a_layer_that_is_not_there_is_refused(index: Index) -> None:
    with pytest.raises(IndexingError, match=r"has no layer 'blocks.0.resid'; it has own"):
        next(index.activation_blocks("blocks.0.resid"))
    with pytest.raises(IndexingError, match=r"has no layer 'blocks.0.resid'; it has own"):
        index.activations("blocks.0.resid", np.arange(2))


def test_without_vectors_there_are_none(tmp_path: Path) -> None:
    index = index_activations(VALUES, IDS, tmp_path / "index", layer="own", model="mine", k=3, vectors=False)
    with pytest.raises(IndexingError, match="build the index with vectors"):
        next(index.activation_blocks("own"))
