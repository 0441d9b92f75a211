"""What a pass does besides reducing: limits, logs, and what it does not go on with."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from conceptprobe.images import load_images
from conceptprobe.indexing import IndexingError, TooManySkippedError, build_index
from conceptprobe.indexing import build as building
from conceptprobe.indexing.storage import checkpoint
from conceptprobe.indexing.storage.manifest import Counts
from conceptprobe.indexing.streaming import stream as streaming
from conceptprobe.models import VisionModel
from tests.indexing.index_files import make_folder, same_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Thirty images, of which six cannot be read: number 6 and the last five."""
    root = make_folder(tmp_path / "images", 30)
    paths = sorted(root.rglob("*.png"))
    for path in [paths[6], *paths[25:]]:
        path.rename(path.with_suffix(".aside"))
        path.write_bytes(path.with_suffix(".aside").read_bytes()[:60].ljust(path.with_suffix(".aside").stat().st_size))
    return root


def repair(root: Path, keep: int = 0) -> None:
    """Make the images whole again, but for so many of the first."""
    for aside in sorted(root.rglob("*.aside"))[keep:]:
        aside.rename(aside.with_suffix(".png"))


def build(mini: VisionModel, root: Path, out: Path, **settings: Any) -> Any:
    return build_index(mini, load_images(f"folder:{root}"), "final", out, batch_size=4, workers=0, k=5, **settings)


@pytest.mark.parametrize(
    ("limit", "stops"), [(0, True), ("3.4%", True), (1, True), ("19%", True), (6, False), ("20%", False)]
)
def test_a_run_that_is_plainly_wrong_stops(
    limit: int | str, stops: bool, mini: VisionModel, root: Path, tmp_path: Path
) -> None:
    if not stops:
        assert build(mini, root, tmp_path / "i", max_skipped=limit).manifest.counts.skipped == 6
        return
    with pytest.raises(TooManySkippedError, match=r"could not be read, more than the . allowed; the last: "):
        build(mini, root, tmp_path / "i", max_skipped=limit)
    assert not (tmp_path / "i").exists()


def test_it_goes_on_once_the_images_can_be_read(
    mini: VisionModel, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)
    firsts = []
    original = streaming.load_batches

    def load_batches(*args: Any, **kwargs: Any) -> Any:
        firsts.append(kwargs["first"])
        return original(*args, **kwargs)

    monkeypatch.setattr(streaming, "load_batches", load_batches)
    with pytest.raises(TooManySkippedError):
        build(mini, root, tmp_path / "i", max_skipped=1)
    repair(root, keep=1)
    build(mini, root, tmp_path / "i", max_skipped=1)
    assert firsts == [0, 6]  # the seventh batch went wrong
    build(mini, root, tmp_path / "fresh")
    same_files(tmp_path / "i", tmp_path / "fresh")


@pytest.mark.slow
def test_an_image_that_was_skipped_before_and_can_be_read_now_is_not_missed(
    mini: VisionModel, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)
    with pytest.raises(TooManySkippedError):
        build(mini, root, tmp_path / "i", max_skipped=1)
    repair(root)
    assert build(mini, root, tmp_path / "i").manifest.counts == Counts(30, 30, 0)
    build(mini, root, tmp_path / "fresh")
    same_files(tmp_path / "i", tmp_path / "fresh")


@pytest.mark.parametrize("limit", [-1, "many", "-3%", "nan%", "1.5"])
def test_a_limit_that_is_none_is_refused(limit: int | str, mini: VisionModel, root: Path, tmp_path: Path) -> None:
    with pytest.raises(IndexingError, match="give a number of images, or a share such as 5%"):
        build(mini, root, tmp_path / "i", max_skipped=limit)


@pytest.mark.parametrize("shard", [(2, 2), (-1, 2), (0, 0)])
def test_a_shard_that_is_none_is_refused(shard: tuple[int, int], mini: VisionModel, root: Path, tmp_path: Path) -> None:
    with pytest.raises(IndexingError, match="shards are numbered from 0"):
        build(mini, root, tmp_path / "i", shard=shard)


def test_the_log_tells_all_that_happened(
    mini: VisionModel, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)
    log = tmp_path / "log.jsonl"
    with pytest.raises(TooManySkippedError):
        build(mini, root, tmp_path / "i", max_skipped=1, log=log)
    build(mini, root, tmp_path / "i", log=log)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    events = [line["event"] for line in lines]
    assert events[0] == "start"
    assert events.index("failed") < events.index("start", 1)
    assert events[-1] == "end"
    first, again = (line for line in lines if line["event"] == "start")
    assert (first["images"], first["of"], again["images"], again["skipped"]) == (0, 30, 24, 1)
    skipped = [line for line in lines if line["event"] == "skipped"]
    assert len(skipped) == 1 + 3 + 5  # the seventh batch was done twice
    assert all(line["id"].startswith("class") and line["reason"] for line in skipped)
    end = lines[-1]
    assert (end["images"], end["of"], end["skipped"], end["eta_seconds"]) == (30, 30, 6, 0)
    assert end["images_per_second"] > 0
    assert "TooManySkippedError: " in next(line for line in lines if line["event"] == "failed")["error"]
    assert set(events) == {"start", "progress", "skipped", "checkpoint", "failed", "end"}


@pytest.mark.slow
def test_a_build_within_an_intervention_is_never_gone_on_with(
    mini: VisionModel, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "INTERVAL", 0.0)
    with monkeypatch.context() as patch:
        patch.setattr(building, "finish", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with mini.intervene({"blocks.5.mlp.hidden": lambda acts: acts * 0}), pytest.raises(KeyboardInterrupt):
            build(mini, root, tmp_path / "i")
        with pytest.raises(KeyboardInterrupt):
            build(mini, root, tmp_path / "j")
    plain = build(mini, root, tmp_path / "i")
    same_files(tmp_path / "i", build(mini, root, tmp_path / "j").path)
    with mini.intervene({"blocks.5.mlp.hidden": lambda acts: acts * 0}):
        lesion = build(mini, root, tmp_path / "k")
    assert lesion.manifest.model.intervened
    assert not plain.manifest.model.intervened
    assert lesion.top("final:0", 5).values[0] != plain.top("final:0", 5).values[0]


@pytest.mark.skipif(os.name == "nt", reason="no such modes")
def test_every_file_has_the_modes_that_the_user_asks_for(mini: VisionModel, root: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("x")
    out = build(mini, root, tmp_path / "i", growable=True).path
    modes = {path.name: path.stat().st_mode for path in out.rglob("*") if path.is_file()}
    assert set(modes.values()) == {(tmp_path / "plain").stat().st_mode}, modes
