"""Building on a real local Ray cluster of two workers."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import conceptprobe as cp
from conceptprobe.cli import main
from conceptprobe.errors import ConceptProbeError
from conceptprobe.indexing import ray_engine
from conceptprobe.indexing.ray_engine import Tree, _count_workers, build_index_on_ray
from conceptprobe.indexing.storage.manifest import NAME, Counts, Manifest
from conceptprobe.output.folder import locked

LAYER = "blocks[-1].mlp.hidden"
IMAGES = 250
SETTINGS = {"k": 10, "batch_size": 16}


class Pictures(torch.utils.data.Dataset):
    """Random pictures. Reading the 100th kills its process, once; a file says that it has happened."""

    def __init__(self, killed: Path | None = None) -> None:
        self.killed = killed

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, at: int) -> Image.Image:
        if at == 100 and self.killed is not None and not self.killed.exists():
            self.killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return Image.fromarray(np.random.default_rng(at).integers(0, 255, (48, 48, 3), np.uint8))


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=200 * 2**20)
    yield
    ray.shutdown()


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """A worker takes as many processors as torch has threads, and the cluster has two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model() -> cp.VisionModel:
    return cp.load_model("mini:clip")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_killed_worker_changes_nothing(cluster: None, model: cp.VisionModel, tmp_path: Path) -> None:
    alone = cp.build_index(model, cp.load_images(Pictures()), LAYER, tmp_path / "alone", workers=0, **SETTINGS)
    killed = tmp_path / "killed"
    source = cp.load_images(Pictures(killed))
    together = build_index_on_ray(model, source, LAYER, tmp_path / "together", ray_workers=3, **SETTINGS)  # room for 2
    assert killed.exists()
    assert contents(alone.path) == contents(together.path)
    assert not (tmp_path / "together.shards").exists()


@pytest.mark.slow
def test_lists_and_tags_of_a_source_come_through_the_joins(
    cluster: None, model: cp.VisionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "FAN_IN", 2)  # several levels of joins
    source = cp.load_images("mini:emoji/noto").subset(range(150))
    alone = cp.build_index(model, source, LAYER, tmp_path / "alone", workers=0, **SETTINGS)
    together = build_index_on_ray(model, source, LAYER, tmp_path / "together", shards=7, **SETTINGS)
    assert contents(alone.path) == contents(together.path)


@pytest.mark.slow
def test_what_was_complete_before_a_failure_is_not_built_again(
    cluster: None, model: cp.VisionModel, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for at in range(40):
        Pictures()[at].save(folder / f"{at:02d}.png")
    good = (folder / "39.png").read_bytes()
    (folder / "39.png").write_bytes(b"\0" * len(good))
    arguments = (model, cp.load_images(f"folder:{folder}"), LAYER, tmp_path / "out")
    with pytest.raises(ConceptProbeError, match="could not be read"):
        build_index_on_ray(*arguments, ray_workers=1, max_skipped=0, **SETTINGS)
    assert len(list((tmp_path / "out.shards").glob(f"*/[01]-of-3/{NAME}"))) == 2
    assert not (tmp_path / "out").exists()
    (folder / "39.png").write_bytes(good)
    built: list[str] = []
    work = ray_engine._run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_engine, "_run", lambda *args: built.extend(path.name for path in args[-1]) or work(*args))
        index = build_index_on_ray(*arguments, ray_workers=1, max_skipped=0, **SETTINGS)
    assert built == ["2-of-3"]
    assert Manifest.read(index.path).counts == Counts(40, 40, 0)


@pytest.mark.slow
def test_from_the_command_line(cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [
        "conceptprobe",
        "index",
        "build",
        "--model",
        "mini:clip",
        "--images",
        "mini:emoji/noto",
        "--layers",
        "final",
    ]
    command += ["--no-vectors", "--k", "5", "--batch-size", "1024", "--device", "cpu"]
    for engine in ("local", "ray"):
        monkeypatch.setattr(sys, "argv", [*command, "--engine", engine, "--out", str(tmp_path / engine)])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code
    assert contents(tmp_path / "local") == contents(tmp_path / "ray")


def test_a_second_build_is_refused(cluster: None, model: cp.VisionModel, tmp_path: Path) -> None:
    with (
        locked(tmp_path / "out.shards", "taken"),
        pytest.raises(ConceptProbeError, match=r"another process is building .* on Ray"),
    ):
        build_index_on_ray(model, cp.load_images(Pictures()), LAYER, tmp_path / "out", **SETTINGS)


def test_workers_for_which_no_node_has_room_are_refused(cluster: None, model: cp.VisionModel, tmp_path: Path) -> None:
    with pytest.raises(ConceptProbeError, match=r"a worker needs 6 processors of one node, .* are 2 and 0: give fewer"):
        build_index_on_ray(
            model, cp.load_images(Pictures()), LAYER, tmp_path / "out", ray_workers=1, workers=5, **SETTINGS
        )


def test_room_is_that_of_single_nodes() -> None:
    nodes = [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 8.0}, {"CPU": 4.0, "GPU": 4.0}]
    assert _count_workers(nodes, 5, cuda=False) == 2
    assert _count_workers(nodes, 2, cuda=True) == 1 + 2
    with pytest.raises(ConceptProbeError, match=r"needs 9 processors of one node, .* 8 and 1; 8 and 0; 4 and 4: give"):
        _count_workers(nodes, 9, cuda=False)


def test_a_bad_setting_is_refused_before_ray_is_started(model: cp.VisionModel, tmp_path: Path) -> None:
    with pytest.raises(ConceptProbeError, match="k is 0"):
        build_index_on_ray(model, cp.load_images(Pictures()), LAYER, tmp_path / "out", k=0)
    assert list(tmp_path.iterdir()) == []


def test_without_ray_it_says_what_to_install(
    model: cp.VisionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConceptProbeError, match=r"pip install 'conceptprobe\[ray\]'"):
        build_index_on_ray(model, cp.load_images(Pictures()), LAYER, tmp_path / "out")


def test_a_join_stands_for_what_it_was_made_of(tmp_path: Path) -> None:
    tree = Tree.of(tmp_path, 70)
    assert [len(level) for level in tree.levels] == [70, 9, 2]
    assert tree.children(1, 8) == tree.levels[0][64:]
    assert len(tree.missing(0)) == 70
    tree.levels[1][0].mkdir()
    (tree.levels[1][0] / NAME).touch()
    assert [number for number, _ in tree.missing(0)] == list(range(8, 70))
    assert [number for number, _ in tree.missing(1)] == list(range(1, 9))
    tree.levels[2][1].mkdir()
    (tree.levels[2][1] / NAME).touch()
    assert [number for number, _ in tree.missing(0)] == list(range(8, 64))
