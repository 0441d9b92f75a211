import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conceptprobe.images import ImageSource, load_images
from conceptprobe.indexing import Index, IndexingError, append_index, build_index, open_index
from conceptprobe.indexing import append as appending
from conceptprobe.indexing.reducers import sample as sampling
from conceptprobe.indexing.storage import checkpoint
from conceptprobe.indexing.storage import directory as place
from conceptprobe.indexing.storage.manifest import Counts
from conceptprobe.models import VisionModel, load_model
from tests.indexing.index_files import picture, same_files

SETTINGS: dict[str, Any] = {"k": 7, "bottom": 3, "batch_size": 4, "workers": 0, "growable": True}
LAYERS = ["blocks[-1:].mlp.hidden", "final"]


def add_images(root: Path, names: list[str]) -> ImageSource:
    root.mkdir(exist_ok=True)
    for name in names:
        if name.endswith("bad.png"):
            (root / name).write_bytes(b"no image")
        else:
            picture(int(name[:3])).save(root / name)
    return load_images(f"folder:{root}")


def names(first: int, stop: int) -> list[str]:
    return [f"{i:03d}.png" for i in range(first, stop)]


def build(model: VisionModel, images: ImageSource, out: Path, **changes: Any) -> Index:
    return build_index(model, images, LAYERS, out, **{**SETTINGS, **changes})


@pytest.mark.slow
@pytest.mark.parametrize("sampled", [32_768, 9])
def test_new_ids_after_full_batches_give_the_bytes_of_a_fresh_build(
    sampled: int, mini: VisionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sampling.sampled_rows, "__defaults__", (sampled,))
    build(mini, add_images(tmp_path / "images", [*names(0, 15), "007bad.png"]), tmp_path / "i")
    images = add_images(tmp_path / "images", [*names(15, 31), "030bad.png"])
    grown = append_index(tmp_path / "i", images, workers=0)
    assert grown.manifest.counts == Counts(33, 31, 2)
    assert grown.manifest.appended == ()
    build(mini, images, tmp_path / "fresh")
    same_files(tmp_path / "i", tmp_path / "fresh")
    again = append_index(tmp_path / "i", add_images(tmp_path / "images", []), workers=0)  # nothing new
    same_files(again.path, tmp_path / "fresh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "i", "images"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (names(10, 26), names(0, 10), "new ids sort before old ones"),
        (names(0, 15), names(15, 26), "the last batch of the 15 old images is not full"),
        ([*names(0, 26)[::2]], [*names(0, 26)[1::2], "003bad.png"], "new ids sort before old ones"),
    ],
)
def test_otherwise_the_manifest_says_why_and_the_lists_are_those_of_a_fresh_build(
    old: list[str], new: list[str], why: str, mini: VisionModel, tmp_path: Path
) -> None:
    build(mini, add_images(tmp_path / "images", old), tmp_path / "i")
    images = add_images(tmp_path / "images", new)
    grown = append_index(tmp_path / "i", images, model=mini, workers=0)
    (note,) = grown.manifest.appended
    assert why in note.why
    assert note.images == len(new)
    fresh = build(mini, images, tmp_path / "fresh")
    assert grown.manifest.counts == fresh.manifest.counts
    assert grown.images.equals(fresh.images)
    assert grown.skipped.equals(fresh.skipped)
    for pooling in ("mean", "max"):
        for feature in range(0, 192, 19):
            for a, b in zip(*(_all_lists(index, f"final:{feature}", pooling) for index in (grown, fresh)), strict=True):
                assert a.ids == b.ids
                np.testing.assert_allclose(a.values, b.values, rtol=1e-4, atol=1e-5)
        stats, expected = grown.stats("final", pooling), fresh.stats("final", pooling)
        np.testing.assert_array_equal(stats["count"], expected["count"])
        np.testing.assert_allclose(stats.to_numpy(float), expected.to_numpy(float), rtol=1e-3, atol=1e-5)
    more = append_index(grown.path, add_images(tmp_path / "images", names(50, 53)), workers=0)
    assert more.manifest.counts.indexed == fresh.manifest.counts.indexed + 3
    assert len(more.manifest.appended) == 2


def _all_lists(index: Index, feature: str, pooling: str) -> list[Any]:
    return [
        index.top(feature, 7, pooling), index.bottom(feature, 3, pooling), *index.strip(feature, pooling),
        index.search("final", np.eye(192)[int(feature.split(":")[1])], 7),
    ]  # fmt: skip


@pytest.mark.slow
def test_what_cannot_be_appended_is_refused_and_changes_nothing(mini: VisionModel, tmp_path: Path) -> None:
    root = tmp_path / "images"
    images = add_images(root, [*names(0, 7), "003bad.png"])
    build(mini, images, tmp_path / "i")
    shutil.copytree(tmp_path / "i", tmp_path / "copy")

    def refused(message: str, source: ImageSource, **settings: Any) -> None:
        with pytest.raises(IndexingError, match=message):
            append_index(tmp_path / "i", source, workers=0, **settings)
        same_files(tmp_path / "i", tmp_path / "copy")

    larger = add_images(root, names(7, 9))
    other = load_model("mini:clip@random", device="cpu")
    refused(r"model\.spec: mini:supervised@random / mini:clip@random; model\.fingerprint", larger, model=other)
    grey = load_images(f"folder:{root}", background="gray")
    refused(r"differ in source\.background: white / gray", grey)
    refused("lacks 1 images of .*, such as '000.png'", larger.subset(range(1, 10)))
    data = (root / "002.png").read_bytes()
    picture(99).save(root / "002.png")
    refused("'002.png' is not the image that", load_images(f"folder:{root}"))
    (root / "002.png").write_bytes(data)
    picture(3).save(root / "003bad.png")
    refused(r"'003bad.png', which .* skipped, can be read by now", load_images(f"folder:{root}"))
    build(mini, larger, tmp_path / "fixed", growable=False)
    with pytest.raises(IndexingError, match="not built to grow"):
        append_index(tmp_path / "fixed", larger)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["stream", "join", "finish", "clear", "replace_folder"])
def test_an_error_leaves_the_old_index_and_is_made_good_by_the_same_call(
    step: str, mini: VisionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(mini, add_images(tmp_path / "images", names(0, 8)), tmp_path / "i")
    shutil.copytree(tmp_path / "i", tmp_path / "copy")
    images = add_images(tmp_path / "images", names(8, 17))
    with monkeypatch.context() as patch:
        patch.setattr(
            place if hasattr(place, step) else appending, step, lambda *args: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            append_index(tmp_path / "i", images, model=mini, workers=0)
    same_files(tmp_path / "i", tmp_path / "copy")
    append_index(tmp_path / "i", images, model=mini, workers=0)
    build(mini, images, tmp_path / "fresh")
    same_files(tmp_path / "i", tmp_path / "fresh")


def test_killed_between_the_going_of_the_old_and_the_coming_of_the_new(mini: VisionModel, tmp_path: Path) -> None:
    build(mini, add_images(tmp_path / "images", names(0, 8)), tmp_path / "i")
    images = add_images(tmp_path / "images", names(8, 9))
    build(mini, images, tmp_path / "fresh")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, "replace_folder", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            append_index(tmp_path / "i", images, model=mini, workers=0)
    (tmp_path / ".i-replaced-x").mkdir()
    (tmp_path / "i").rename(tmp_path / ".i-replaced-x" / "i")
    append_index(tmp_path / "i", images, model=mini, workers=0)
    same_files(tmp_path / "i", tmp_path / "fresh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "i", "images"]


def grow(root: Path, out: Path) -> None:
    torch.set_num_threads(1)
    checkpoint.INTERVAL = 0.0
    append_index(out, load_images(f"folder:{root}"), workers=0)


def paths_below(folder: Path) -> set[str]:
    """What lies there, while another process makes and removes things."""
    return {os.path.join(where, name) for where, _, files in os.walk(folder) for name in (*files, "")}


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bytes(mini: VisionModel, tmp_path: Path) -> None:
    build(mini, add_images(tmp_path / "images", names(0, 8)), tmp_path / "i")
    images = add_images(tmp_path / "images", names(8, 40))
    build(mini, images, tmp_path / "fresh")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["conceptprobe.indexing", "conceptprobe.models.mini"])
    rng, kills = random.Random(3), 0
    while len(open_index(tmp_path / "i").images) == 8:
        assert kills < 40, "no progress"
        process = context.Process(target=grow, args=(tmp_path / "images", tmp_path / "i"))
        known = paths_below(tmp_path / "i.partial")
        process.start()
        while process.is_alive() and not paths_below(tmp_path / "i.partial") - known:
            time.sleep(0.002)
        process.join(rng.choice([0.0, 0.05, 0.2, 0.5]) * (1 + kills / 5))
        if process.is_alive():
            os.kill(process.pid or 0, signal.SIGKILL)
            kills += 1
        process.join()
        if not (tmp_path / "i").exists():  # between two renames
            append_index(tmp_path / "i", images, model=mini, workers=0)
    assert kills >= 2
    same_files(tmp_path / "i", tmp_path / "fresh")


def test_what_another_build_left_is_no_part_of_it(
    mini: VisionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(mini, add_images(tmp_path / "images", names(0, 8)), tmp_path / "i")
    images = add_images(tmp_path / "images", names(8, 12))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "INTERVAL", 0.0)
        patch.setattr("conceptprobe.indexing.build.finish", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build_index(mini, images, ["blocks[0].mlp.hidden"], tmp_path / "i", overwrite=True, **SETTINGS)
    assert (tmp_path / "i.partial" / "layers" / "blocks.0.mlp.hidden").is_dir()
    append_index(tmp_path / "i", images, model=mini, workers=0)
    build(mini, images, tmp_path / "fresh")
    same_files(tmp_path / "i", tmp_path / "fresh")
