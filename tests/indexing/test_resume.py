import contextlib
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from conceptprobe.errors import FolderBusyError
from conceptprobe.images import load_images
from conceptprobe.indexing import IndexingError, build_index, open_index
from conceptprobe.indexing import build as building
from conceptprobe.indexing.storage import checkpoint
from conceptprobe.indexing.storage import directory as place
from conceptprobe.indexing.storage.manifest import NAME
from conceptprobe.indexing.streaming import stream as streaming
from conceptprobe.models import load_model
from tests.indexing.index_files import make_folder, picture, same_files

LAYERS = ("blocks[-1:].mlp.hidden", "embedding")


def build(root: Path, out: Path, interval: float = 0.0, workers: int = 0, k: int = 7) -> None:
    """A build that leaves a checkpoint after every batch, or every `interval` seconds."""
    torch.set_num_threads(1)
    checkpoint.INTERVAL = interval
    model = load_model("mini:supervised@random", device="cpu")
    build_index(
        model, load_images(f"folder:{root}"), LAYERS, out, k=k, batch_size=4, workers=workers, pooling=("mean",)
    )


def build_to_be_killed(root: Path, out: Path, workers: int) -> None:
    # Loader workers are forked, as in a process of a user's own; they notice when it is gone.
    multiprocessing.set_start_method("fork", force=True)
    build(root, out, workers=workers)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_folder(tmp_path_factory.mktemp("resume"), 30)
    (root / "class0" / "0012a.png").write_bytes(b"")
    (root / "class2" / "0029a.png").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def whole(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "index"
    build(root, out, interval=1e9)
    return out


@contextlib.contextmanager
def interrupted() -> Iterator[None]:
    """A build in which all images have been seen, and no list is written."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "finish", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            yield


def first_batches(patch: pytest.MonkeyPatch) -> list[int]:
    """Of every build from here on, the number of the batch that it begins with."""
    firsts: list[int] = []
    original = streaming.load_batches

    def load_batches(*args: object, **kwargs: object) -> object:
        firsts.append(kwargs["first"])
        return original(*args, **kwargs)

    patch.setattr(streaming, "load_batches", load_batches)
    return firsts


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bytes(root: Path, whole: Path, tmp_path: Path) -> None:
    out, partial = tmp_path / "index", tmp_path / "index.partial"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["conceptprobe.indexing", "conceptprobe.models.mini"])
    rng, kills, resumed = random.Random(1), 0, 0
    while not out.exists():
        assert kills < 60, "the build makes no progress"
        process = context.Process(target=build_to_be_killed, args=(root, out, kills % 2))
        before = (partial / checkpoint.NAME).exists()
        process.start()
        seen = (partial / checkpoint.NAME).stat().st_mtime_ns if before else 0
        while process.is_alive():  # wait for some progress, so that every run gets further
            if (partial / checkpoint.NAME).exists() and (partial / checkpoint.NAME).stat().st_mtime_ns != seen:
                break
            time.sleep(0.002)
        time.sleep(rng.choice([0.0, 0.003, 0.02, 0.1]))
        if process.is_alive() and not out.exists():
            os.kill(process.pid or 0, signal.SIGKILL)
            kills += 1
            resumed += before
        process.join()
        if not out.exists():
            with pytest.raises(IndexingError, match="does not exist"):
                open_index(out)
    assert resumed >= 3
    same_files(out, whole)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.parametrize("step", ["stream", "finish", "hash_files", "replace_folder"])
def test_an_error_at_any_step_is_made_good_by_the_same_command(
    step: str, root: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(place if hasattr(place, step) else building, step, fail)
        with pytest.raises(KeyboardInterrupt):
            build(root, tmp_path / "index")
    assert not (tmp_path / "index").exists()
    build(root, tmp_path / "index")
    same_files(tmp_path / "index", whole)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


@pytest.mark.slow
def test_what_was_left_is_only_gone_on_with_by_the_same_plan(
    root: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with interrupted():
        build(root, tmp_path / "index", k=8)
    assert (tmp_path / "index.partial" / checkpoint.NAME).exists()
    build(root, tmp_path / "index")
    same_files(tmp_path / "index", whole)


def test_it_does_not_start_over(root: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with interrupted():
        build(root, tmp_path / "index")
    firsts = first_batches(monkeypatch)
    build(root, tmp_path / "index")
    assert firsts == [8]  # all 32 images of the listing were done
    same_files(tmp_path / "index", whole)


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["sample-mean.bin", "images.faiss", checkpoint.NAME])
def test_a_checkpoint_of_which_something_is_lost_is_none(
    lost: str, root: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with interrupted():
        build(root, tmp_path / "index")
    path = next((tmp_path / "index.partial").rglob(lost))
    path.write_bytes(path.read_bytes()[:100])
    build(root, tmp_path / "index")
    same_files(tmp_path / "index", whole)


@pytest.mark.slow
def test_a_derived_layer_is_never_gone_on_with(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)

    def build_derived(sign: float, out: Path) -> None:
        model = load_model("mini:supervised@random", device="cpu")
        model.attach("sae", "blocks.5.resid", lambda acts: sign * acts, 192)
        build_index(model, load_images(f"folder:{root}"), "sae", out, batch_size=4, workers=0)

    with interrupted():
        build_derived(1.0, tmp_path / "index")
    build_derived(-1.0, tmp_path / "index")
    build_derived(-1.0, tmp_path / "clean")
    same_files(tmp_path / "index", tmp_path / "clean")


def hold(root: Path, out: Path, step: str, started: object, end: object) -> None:
    module = place if step == "replace_folder" else building
    original = getattr(module, step)

    def wait(*args: object) -> None:
        started.set()
        end.wait(60)
        original(*args)

    setattr(module, step, wait)
    build(root, out, interval=1e9)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["finish", "replace_folder"])
def test_two_processes_on_one_directory(step: str, root: Path, whole: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started, end = context.Event(), context.Event()
    process = context.Process(target=hold, args=(root, tmp_path / "index", step, started, end))
    process.start()
    try:
        assert started.wait(120)
        with pytest.raises(FolderBusyError, match="another process is building"):
            build(root, tmp_path / "index")
        if step == "replace_folder":
            with pytest.raises(FolderBusyError, match="another process is building"):
                place.recover(tmp_path / "index")
        assert (tmp_path / "index.partial").exists()
    finally:
        end.set()
        process.join()
    same_files(tmp_path / "index", whole)
    assert [path.name for path in tmp_path.iterdir()] == ["index"]


def test_a_folder_that_no_build_left_is_not_touched(root: Path, tmp_path: Path) -> None:
    (tmp_path / "index.partial").mkdir()
    (tmp_path / "index.partial" / "mine.txt").write_text("x")
    with pytest.raises(IndexingError, match="in the way"):
        build(root, tmp_path / "index")
    assert (tmp_path / "index.partial" / "mine.txt").read_text() == "x"


@pytest.mark.parametrize("name", [NAME, f"{NAME}.tmp", f"{checkpoint.NAME}.tmp", "layers/embedding/top.safetensors"])
def test_a_file_that_a_kill_left_half_written(
    name: str, root: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with interrupted():
        build(root, tmp_path / "index")
    (tmp_path / "index.partial" / name).write_bytes(b'{"model": {"sp')
    build(root, tmp_path / "index", interval=1e9)
    same_files(tmp_path / "index", whole)


@pytest.mark.slow
def test_what_only_lacked_its_renaming_gives_way_to_another_plan(
    root: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(place, "replace_folder", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            build(root, tmp_path / "index", k=8)
    assert sorted(path.name for path in (tmp_path / "index.partial").iterdir())[-1] == "skipped.parquet"
    build(root, tmp_path / "index")
    same_files(tmp_path / "index", whole)


@pytest.mark.parametrize("changed", ["all", "the first", "the last", "none"])
def test_a_dataset_whose_images_have_changed_is_begun_again(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [picture(seed) for seed in range(12)]
    after = {
        "all": [picture(seed) for seed in range(100, 112)], "the first": [picture(100), *before[1:]],
        "the last": [*before[:-1], picture(100)], "none": before,
    }[changed]  # fmt: skip
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)
    model = load_model("mini:supervised@random", device="cpu")

    def run(pictures: list, out: str) -> None:
        build_index(model, load_images(pictures), LAYERS, tmp_path / out, batch_size=4, workers=0, pooling=("mean",))

    with interrupted():
        run(before, "index")
    firsts = first_batches(monkeypatch)
    run(after, "index")
    run(after, "fresh")
    assert firsts == [3 if changed == "none" else 0, 0]
    same_files(tmp_path / "index", tmp_path / "fresh")


def test_an_image_that_cannot_be_read_any_more_costs_nothing_of_what_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pictures(list):
        def __getitem__(self, at: int) -> object:
            if at == 5 and gone:
                raise OSError("stale file handle")
            return super().__getitem__(at)

    gone: list[bool] = []
    pictures = load_images(Pictures(picture(seed) for seed in range(8)))
    model = load_model("mini:supervised@random", device="cpu")
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)

    def run(out: str) -> None:
        build_index(model, pictures, LAYERS, tmp_path / out, batch_size=4, workers=0, pooling=("mean",))

    with interrupted():
        run("index")
    gone.append(True)
    with pytest.raises(IndexingError, match=r"'000000005' was read before and cannot be now \(dataset: OSError: stale"):
        run("index")
    gone.clear()
    firsts = first_batches(monkeypatch)
    run("index")
    run("fresh")
    assert firsts == [2, 0]
    same_files(tmp_path / "index", tmp_path / "fresh")
