from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conceptprobe.images import load_images
from conceptprobe.indexing import IndexingError, build_index, index_activations, verify_index
from conceptprobe.models import load_model
from tests.indexing.index_files import full_sort, make_folder, same_files

VALUES = np.random.default_rng(0).standard_normal((2500, 7)).astype(np.float32)
VALUES[::50, 3] = np.nan
IDS = [f"{i:05d}" for i in range(2500)]


def pieces(values: np.ndarray, seed: int) -> Any:
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(values), 9))
    return iter(np.split(values, cuts))


def test_lists_are_those_of_a_full_sort(tmp_path: Path) -> None:
    index = index_activations(VALUES, IDS, tmp_path / "i", layer="sae", k=20, bottom=5)
    rows, values = full_sort(np.nan_to_num(VALUES, nan=-np.inf), 20)
    np.testing.assert_array_equal(index.top_rows("sae")[0], rows)
    np.testing.assert_array_equal(index.top_rows("sae")[1], values)
    lowest = np.argsort(VALUES[:, 2])[:5]
    assert index.bottom("sae:2").ids == tuple(IDS[row] for row in lowest)
    assert index.stats("sae")["nonfinite"].tolist() == [0, 0, 0, 50, 0, 0, 0]
    found = index.search("sae", np.eye(7)[1], 20)
    assert found.ids == index.top("sae:1", 20).ids
    assert len(index.neighbours("sae:1", 3)) == 3
    assert index.manifest.model.external
    assert verify_index(tmp_path / "i").ok


@pytest.mark.parametrize("kind", ["tensor", "half", "memmap", "pieces", "shuffled"])
def test_same_bytes_however_the_values_come(kind: str, tmp_path: Path) -> None:
    plain = VALUES.astype(np.float16).astype(np.float32)
    index_activations(plain, IDS, tmp_path / "plain")
    order = np.random.default_rng(4).permutation(len(plain))
    np.save(tmp_path / "values.npy", plain)
    values, ids = {
        "tensor": (torch.from_numpy(plain), IDS),
        "half": (plain.astype(np.float16), IDS),
        "memmap": (np.load(tmp_path / "values.npy", mmap_mode="r"), IDS),
        "pieces": (pieces(plain, 1), IDS),
        "shuffled": (plain[order], [IDS[row] for row in order]),
    }[kind]
    index_activations(values, ids, tmp_path / "other")
    same_files(tmp_path / "plain", tmp_path / "other")


def test_same_lists_as_the_model_that_gave_the_activations(tmp_path: Path) -> None:
    images = load_images(f"folder:{make_folder(tmp_path / 'images', 20)}")
    model = load_model("mini:supervised@random", device="cpu")
    built = build_index(model, images, "embedding", tmp_path / "built", k=5, batch_size=20, workers=0)
    pixels = torch.stack([model.preprocess(images.load(row).image) for row in range(20)])
    with torch.inference_mode():
        values = model.capture(pixels, "embedding")["embedding"]
    index = index_activations(values, images, tmp_path / "i", layer="embedding", k=5)
    np.testing.assert_array_equal(index.top_rows("embedding")[0], built.top_rows("embedding")[0])
    np.testing.assert_array_equal(index.top_rows("embedding")[1], built.top_rows("embedding")[1])
    assert index.images.drop(columns="content_hash").equals(built.images.drop(columns="content_hash"))


@pytest.mark.parametrize(
    ("values", "ids", "message"),
    [
        (VALUES, IDS[:-1], "values of 2500 images, and 2499"),
        (pieces(VALUES, 2), IDS[:-1], "values of more images, and 2499"),
        (pieces(VALUES[:-3], 2), IDS, "values of 2497 images, and 2500"),
        (VALUES[0], IDS, r"not of shape \[7\]"),
        (iter([VALUES[:1300], VALUES[1300:, :5]]), IDS, "of 7 features, others of 5"),
        (VALUES, [*IDS[:-1], IDS[0]], "1 ids are there more than once"),
        (pieces(VALUES, 3), IDS[::-1], "must ascend"),
        (VALUES[:0], [], "nothing to index"),
    ],
)
def test_what_does_not_fit_is_refused(values: Any, ids: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(IndexingError, match=message):
        index_activations(values, ids, tmp_path / "i")
    assert not (tmp_path / "i").exists()


def test_an_index_is_summarised_by_layer(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    values[:, 1] = 0
    index = index_activations(values, list("abcdef"), tmp_path / "i", layer="own<", model="mine", k=2, vectors=False)
    assert index.summary().to_dict("records") == [
        {"layer": "own<", "kind": "vector", "grid": "", "features": 3, "dead": 1}
    ]
    shown = index._repr_html_()
    assert "<b>mine on ids</b>" in shown
    assert "<td>own&lt;</td><td>vector</td><td></td><td>3</td><td>1</td>" in shown
    assert "6 images indexed, 0 skipped; top lists of 2, pooled by mean" in shown
