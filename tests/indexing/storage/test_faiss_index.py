from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from conceptprobe.images import ImageSource, load_images
from conceptprobe.indexing import IndexingError, build_index, merge_indices
from conceptprobe.indexing import build as building
from conceptprobe.indexing.index import Index
from conceptprobe.indexing.reducers.layer import BatchRows, LayerReducer
from conceptprobe.indexing.storage import checkpoint
from conceptprobe.models import VisionModel
from tests.indexing.index_files import make_folder, same_files

LAYER = "blocks.5.mlp.hidden"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSource:
    return load_images(f"folder:{make_folder(tmp_path_factory.mktemp('images'), 300)}")


def build(mini: VisionModel, images: ImageSource, out: Path, faiss: str, **options: object) -> Index:
    return build_index(mini, images, LAYER, out, pooling=("mean",), workers=0, faiss=faiss, **options)


@pytest.fixture(scope="module")
def exact(mini: VisionModel, images: ImageSource, tmp_path_factory: pytest.TempPathFactory) -> Index:
    return build(mini, images, tmp_path_factory.mktemp("exact") / "index", "Flat")


@pytest.mark.slow
@pytest.mark.parametrize(("text", "share"), [("SQfp16", 0.95), ("IVF8,Flat", 0.5), ("PQ32", 0.2)])
def test_answers_near_the_exact_ones(
    text: str, share: float, mini: VisionModel, images: ImageSource, exact: Index, tmp_path: Path
) -> None:
    index = build(mini, images, tmp_path / "index", text)
    assert sorted(path.name for path in (index.path / "layers" / LAYER).iterdir() if "faiss" in path.name) == [
        "features.faiss", "images.faiss",
    ]  # fmt: skip
    assert index.manifest.faiss == text
    directions = np.random.default_rng(0).standard_normal((20, 768))
    both = [(index.search(LAYER, d, 10), exact.search(LAYER, d, 10)) for d in directions]
    assert np.mean([len({*ours.ids} & {*theirs.ids}) / 10 for ours, theirs in both]) >= share
    id_ = images.table["id"][7].as_py()
    same = {*index.similar_images(id_, 10).ids} & {*exact.similar_images(id_, 10).ids}
    assert len(same) / 10 >= share
    pd.testing.assert_frame_equal(index.neighbours(f"{LAYER}:3"), exact.neighbours(f"{LAYER}:3"))


@pytest.mark.slow
def test_all_lists_give_the_exact_answer(mini: VisionModel, images: ImageSource, exact: Index, tmp_path: Path) -> None:
    index = build(mini, images, tmp_path / "index", "IVF8,Flat")
    direction = np.random.default_rng(0).standard_normal(768)
    ours, theirs = (i.search(LAYER, direction, 300, **o) for i, o in ((index, {"nprobe": 8}), (exact, {})))
    assert len(ours) == 300
    assert ours.ids[:50] == theirs.ids[:50]
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-5, atol=1e-5)
    few = index.search(LAYER, direction, 300, nprobe=1)
    assert 0 < len(few) < 300
    assert np.isin(few.ids, theirs.ids).all()
    for wrong, why in [(index, "8 inverted lists"), (exact, "no inverted lists")]:
        with pytest.raises(IndexingError, match=why):
            wrong.search(LAYER, direction, nprobe=9)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["SQ8", "IVF8,PQ16"])
def test_a_resumed_build_ends_with_the_same_bytes(
    text: str, mini: VisionModel, images: ImageSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(mini, images, tmp_path / "one", text)
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)
    add = LayerReducer.add

    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    def add_three(reducer: LayerReducer, acts: torch.Tensor, arrival: BatchRows) -> None:
        if arrival.batch == 3:
            raise KeyboardInterrupt
        add(reducer, acts, arrival)

    # once between two batches, once when the vectors have become an index but it is not complete
    for target, name, stop in ((LayerReducer, "add", add_three), (building, "hash_files", interrupt)):
        with monkeypatch.context() as patch:
            patch.setattr(target, name, stop)
            with pytest.raises(KeyboardInterrupt):
                build(mini, images, tmp_path / "two", text)
    assert next((tmp_path / "two.partial").rglob("images.faiss")).stat().st_size
    build(mini, images, tmp_path / "two", text)
    same_files(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_shards_join_to_the_same_bytes(mini: VisionModel, images: ImageSource, tmp_path: Path) -> None:
    build(mini, images, tmp_path / "whole", "IVF8,SQ8")
    for shard in range(3):
        build(mini, images, tmp_path / str(shard), "IVF8,SQ8", shard=(shard, 3))
    merge_indices([tmp_path / name for name in "201"], tmp_path / "merged")
    same_files(tmp_path / "merged", tmp_path / "whole")


@pytest.mark.parametrize(("text", "why"), [("IVF301,Flat", "at least 301 images"), ("PQ7", "no 7 equal parts")])
def test_what_cannot_be_is_refused_before_any_image_is_run(
    text: str, why: str, mini: VisionModel, images: ImageSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(VisionModel, "visiting", None)
    with pytest.raises(IndexingError, match=why):
        build(mini, images, tmp_path / "index", text)
    assert not list(tmp_path.iterdir())
    with pytest.raises(TypeError):  # without vectors there is none to be trained, and the first image would be run
        build(mini, images, tmp_path / "index", text, vectors=False)
