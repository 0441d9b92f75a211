import itertools
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from conceptprobe.images import ImageSource, load_images
from conceptprobe.indexing import Index, IndexingError, build_index, merge_indices, open_index
from conceptprobe.indexing import merge as merging
from conceptprobe.indexing.merge import join_shards
from conceptprobe.indexing.reducers import sample as sampling
from conceptprobe.indexing.storage import checkpoint
from conceptprobe.indexing.storage import directory as place
from conceptprobe.models import VisionModel, load_model
from tests.indexing.index_files import make_folder, same_files

SETTINGS: dict[str, Any] = {"k": 7, "bottom": 5, "batch_size": 4, "workers": 0, "pooling": ("mean", "max")}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ImageSource:
    root = make_folder(tmp_path_factory.mktemp("images"), 39)
    (root / "class0" / "0012a.png").write_bytes(b"")
    (root / "class2" / "0029a.png").write_bytes(b"no image")
    return load_images(f"folder:{root}")  # 41 images: eleven batches, the last of one


def build(mini: VisionModel, images: ImageSource, out: Path, **changes: Any) -> Index:
    return build_index(mini, images, ["blocks[-1:].mlp.hidden", "final"], out, **{**SETTINGS, **changes})


def build_shards(mini: VisionModel, images: ImageSource, root: Path, count: int, **changes: Any) -> list[Path]:
    return [build(mini, images, root / f"{i}-of-{count}", shard=(i, count), **changes).path for i in range(count)]


@pytest.fixture(scope="module")
def whole(mini: VisionModel, images: ImageSource, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(mini, images, tmp_path_factory.mktemp("whole") / "index").path


@pytest.fixture(scope="module")
def shards(mini: VisionModel, images: ImageSource, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return build_shards(mini, images, tmp_path_factory.mktemp("shards"), 4)


@pytest.mark.parametrize("count", [1, 2, 7, 13])
def test_shards_in_any_order_give_the_bytes_of_one_build(
    count: int, mini: VisionModel, images: ImageSource, whole: Path, tmp_path: Path
) -> None:
    paths = build_shards(mini, images, tmp_path, count)  # of thirteen, two are empty
    random.Random(count).shuffle(paths)
    merge_indices(paths, tmp_path / "merged")
    same_files(tmp_path / "merged", whole)


@pytest.mark.slow
def test_more_images_than_are_sampled(
    mini: VisionModel, images: ImageSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling.sampled_rows, "__defaults__", (13,))
    once = build(mini, images, tmp_path / "once")
    merge_indices(build_shards(mini, images, tmp_path, 3)[::-1], tmp_path / "merged")
    same_files(tmp_path / "merged", tmp_path / "once")
    assert sum(len(tenth) for tenth in once.strip("final:0")) <= 13


@pytest.mark.parametrize("order", list(itertools.permutations(range(4)))[::5])
def test_merging_in_steps_gives_the_same_bytes(
    order: Sequence[int], shards: list[Path], whole: Path, tmp_path: Path
) -> None:
    a, b, c, d = (shards[i] for i in order)
    assert join_shards([a, b], tmp_path / "ab").part is not None
    with pytest.raises(IndexingError, match="is a shard"):
        open_index(tmp_path / "ab")
    assert join_shards([tmp_path / "ab", c], tmp_path / "abc").part is not None
    assert join_shards([d, tmp_path / "abc"], tmp_path / "all").part is None
    same_files(tmp_path / "all", whole)


@pytest.mark.slow
def test_an_index_that_can_grow_is_the_same_too(mini: VisionModel, images: ImageSource, tmp_path: Path) -> None:
    once = build(mini, images, tmp_path / "once", growable=True)
    assert (once.path / checkpoint.STATE).is_file()
    merge_indices(build_shards(mini, images, tmp_path, 3, growable=True)[::-1], tmp_path / "merged")
    same_files(tmp_path / "merged", tmp_path / "once")


def test_a_shard_answers_nothing(shards: list[Path], mini: VisionModel, images: ImageSource) -> None:
    with pytest.raises(IndexingError, match="conceptprobe index merge"):
        open_index(shards[1])


@pytest.mark.slow
def test_shards_that_do_not_fit_are_refused(
    shards: list[Path], whole: Path, mini: VisionModel, images: ImageSource, tmp_path: Path
) -> None:
    def refused(paths: Sequence[Path], message: str) -> None:
        with pytest.raises(IndexingError, match=message):
            merge_indices(paths, tmp_path / "merged")
        assert not (tmp_path / "merged").exists()

    refused([], "nothing to merge")
    refused([*shards[:2], shards[3]], "of 11 batches none of these holds 5 to 7")
    refused([*shards, shards[0]], "given twice")
    (half,) = [build(mini, images, tmp_path / "half", shard=(0, 2)).path]
    refused([half, *shards], "both hold batches 0 to 1")
    refused([*shards, whole], "whole index, not a shard")
    for name, changes in {"k": {"k": 6}, "pooling": {"pooling": ("mean",)}, "batch_size": {"batch_size": 5}}.items():
        other = build(mini, images, tmp_path / name, shard=(3, 4), **changes).path
        refused([*shards[:3], other], f"not of one index: {name}: ")
    other = build(load_model("mini:clip@random", device="cpu"), images, tmp_path / "model", shard=(3, 4)).path
    refused([*shards[:3], other], r"model\.spec: mini:supervised@random / mini:clip@random; model\.fingerprint: ")
    other = build(mini, images.subset(range(40)), tmp_path / "source", shard=(3, 4)).path
    refused([*shards[:3], other], r"source\.fingerprint: ")


def test_a_damaged_shard_is_refused(mini: VisionModel, images: ImageSource, tmp_path: Path) -> None:
    paths = build_shards(mini, images, tmp_path, 2)
    path = paths[1] / "layers" / "final" / "sample-mean.bin"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(IndexingError, match=r"1-of-2 is damaged: layers/final/sample-mean.bin has changed"):
        merge_indices(paths, tmp_path / "merged")


@pytest.mark.parametrize("step", ["join", "finish", "replace_folder"])
def test_an_error_in_the_merge_is_made_good_by_the_same_call(
    step: str, shards: list[Path], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(
            place if hasattr(place, step) else merging, step, lambda *args: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            merge_indices(shards, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    merge_indices(shards, tmp_path / "merged")
    same_files(tmp_path / "merged", whole)
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def work(root: Path, paths: list[Path], out: Path) -> None:
    """All shards that are missing, then the merge."""
    torch.set_num_threads(1)
    checkpoint.INTERVAL = 0.0
    model, images = load_model("mini:supervised@random", device="cpu"), load_images(f"folder:{root}")
    for number, path in enumerate(paths):
        if not path.exists():
            build(model, images, path, shard=(number, len(paths)))
    merge_indices(paths, out)


@pytest.mark.slow
def paths_below(folder: Path) -> set[str]:
    """What lies there, while another process makes and removes things."""
    return {os.path.join(where, name) for where, _, files in os.walk(folder) for name in (*files, "")}


@pytest.mark.slow
def test_killed_in_a_shard_or_in_the_merge_it_ends_with_the_same_bytes(
    images: ImageSource, whole: Path, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["conceptprobe.indexing", "conceptprobe.models.mini"])
    root = Path(images.spec.removeprefix("folder:"))
    paths, out, rng, kills = [tmp_path / str(i) for i in range(2)], tmp_path / "merged", random.Random(2), 0
    while not out.exists():
        assert kills < 40, "no progress"
        process = context.Process(target=work, args=(root, paths, out))
        known = paths_below(tmp_path)
        process.start()
        while process.is_alive() and not paths_below(tmp_path) - known:
            time.sleep(0.002)
        process.join(rng.choice([0.0, 0.01, 0.1, 0.3, 1.0]) * (1 + kills / 5))
        if process.is_alive():
            os.kill(process.pid or 0, signal.SIGKILL)
            kills += 1
        process.join()
    assert kills >= 3
    same_files(out, whole)


def test_the_manifest_says_nothing_of_shards(whole: Path, shards: list[Path]) -> None:
    assert json.loads((whole / "manifest.json").read_text())["part"] is None
    part = json.loads((shards[1] / "manifest.json").read_text())
    assert part["part"] == {"batches": [[2, 5]], "images": 41}
    assert part["counts"]["listed"] == 12


@pytest.mark.slow
def test_bottom_lists_are_the_lowest(mini: VisionModel, images: ImageSource, whole: Path, tmp_path: Path) -> None:
    every = build(mini, images, tmp_path / "all", k=50)
    for pooling in ("mean", "max"):
        rows, values = every.top_rows("final", pooling)
        for feature in (0, 7, 191):
            lowest = open_index(whole).bottom(f"final:{feature}", pooling=pooling)
            order = np.lexsort((rows[feature, :39], values[feature, :39]))[:5]
            assert lowest.ids == tuple(every.images["id"].to_numpy()[rows[feature, order]])
            np.testing.assert_array_equal(lowest.values, values[feature, order])
    with pytest.raises(IndexingError, match="bottom=K"):
        build(mini, images, tmp_path / "none", bottom=0).bottom("final:0")


def test_a_column_of_categories_is_the_same_in_shards(mini: VisionModel, tmp_path: Path) -> None:
    root = make_folder(tmp_path / "images", 12)
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    kinds = pa.array([("old", "new")[i % 2] for i in range(12)]).dictionary_encode()
    pq.write_table(pa.table({"path": files, "kind": kinds}), root / "t.parquet")
    source = load_images(f"table:{root / 't.parquet'}")
    assert source.table["kind"].type == pa.string()
    same_files(
        merge_indices(build_shards(mini, source, tmp_path, 3), tmp_path / "merged").path,
        build(mini, source, tmp_path / "whole").path,
    )
