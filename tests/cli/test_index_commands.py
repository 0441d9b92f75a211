import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptprobe.cli import main
from conceptprobe.indexing.storage import directory as place
from tests.indexing.index_files import same_files

LAYERS = ("--model", "mini:supervised@random", "--layers", "final", "--batch-size", "8", "--workers", "0", "--k", "5")


def run(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command within this process: starting one for each of so many would take most of the time."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
        pytest.MonkeyPatch.context() as patch,
    ):  # fmt: skip
        patch.setattr(sys, "argv", ["conceptprobe", *args])
        try:
            main()
        except SystemExit as end:
            code = int(end.code or 0)
    return subprocess.CompletedProcess(args, code, out.getvalue(), err.getvalue())


def add_images(root: Path, first: int, stop: int) -> None:
    root.mkdir(exist_ok=True)
    rng = np.random.default_rng(first)
    for i in range(first, stop):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(root / f"{i:02d}.png")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("index")
    add_images(root / "images", 0, 19)
    (root / "images" / "05bad.png").write_bytes(b"no")
    done = run("index", "build", *LAYERS, "--images", "folder:images", "--out", "whole", "--bottom", "3", cwd=root)
    assert done.returncode == 0, done.stderr
    return root


def test_shards_and_merge(root: Path) -> None:
    for number in (0, 1):
        done = run(
            "index", "build", *LAYERS, "--images", "folder:images", "--bottom", "3", "--out", f"part{number}",
            "--shard", f"{number}/2", "--json", "--log-json", f"log{number}.jsonl", cwd=root,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["part"] == {"batches": [[0, 1], [1, 3]][number : number + 1], "images": 20}
        events = [json.loads(line)["event"] for line in (root / f"log{number}.jsonl").read_text().splitlines()]
        assert (events[0], events[-1]) == ("start", "end")
    text = run("index", "info", "part1", cwd=root).stdout
    assert "shard    batches 1 to 2, of 20 images in all" in text
    assert "conceptprobe index merge" in run("search", "part1", "--feature", "final:0", cwd=root).stderr
    lacking = run("index", "merge", "part0", "--out", "merged", cwd=root)
    assert lacking.returncode == 1
    assert "shards are missing: of 3 batches none of these holds 1 to 2" in lacking.stderr
    done = run("index", "merge", "part1", "part0", "--out", "merged", "--json", cwd=root)
    assert json.loads(done.stdout)["indexed"] == 19
    same_files(root / "merged", root / "whole")


def test_append(root: Path, tmp_path: Path) -> None:
    add_images(tmp_path / "images", 0, 8)
    settings = (*LAYERS, "--images", "folder:images", "--growable")
    assert run("index", "build", *settings, "--out", "i", cwd=tmp_path).returncode == 0
    add_images(tmp_path / "images", 8, 13)
    done = run("index", "append", "i", "--json", "--workers", "0", cwd=tmp_path)
    assert json.loads(done.stdout)["indexed"] == 13, done.stderr
    assert run("index", "build", *settings, "--out", "fresh", cwd=tmp_path).returncode == 0
    same_files(tmp_path / "i", tmp_path / "fresh")
    add_images(tmp_path / "images", 13, 15)
    done = run("index", "append", "i", "--workers", "0", cwd=tmp_path)
    assert "the last batch of the 13 old images is not full" in done.stdout
    assert "appended 2 images: values and sums may differ" in run("index", "info", "i", cwd=tmp_path).stdout
    refused = run("index", "append", str(root / "whole"), "--images", "folder:images", cwd=tmp_path)
    assert refused.returncode == 1
    assert "--growable" in refused.stderr


def test_append_goes_on_where_it_was_killed_between_two_renames(root: Path, tmp_path: Path) -> None:
    add_images(tmp_path / "images", 0, 16)
    build = ("index", "build", *LAYERS, "--images", "folder:images", "--growable")
    assert run(*build, "--out", "i", cwd=tmp_path).returncode == 0
    add_images(tmp_path / "images", 16, 19)
    assert run(*build, "--out", "fresh", cwd=tmp_path).returncode == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, "replace_folder", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        assert run("index", "append", "i", "--workers", "0", cwd=tmp_path).returncode == 130
    (tmp_path / ".i-replaced-x").mkdir()
    (tmp_path / "i").rename(tmp_path / ".i-replaced-x" / "i")
    done = run("index", "append", "i", "--workers", "0", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    same_files(tmp_path / "i", tmp_path / "fresh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "i", "images"]


def test_verify(root: Path, tmp_path: Path) -> None:
    done = run("index", "verify", "whole", cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "whole: nothing wrong" in done.stdout
    assert "16 images run again" in done.stdout
    path = root / "whole" / "layers" / "final" / "bottom.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    done = run("index", "verify", "whole", cwd=root)
    assert done.returncode == 1
    assert "wrong    layers/final/bottom.safetensors has changed" in done.stdout
    found = json.loads(run("index", "verify", "whole", "--json", cwd=root).stdout)
    assert (found["ok"], found["problems"]) == (False, ["layers/final/bottom.safetensors has changed"])
    path.write_bytes(whole)


def test_max_skipped(root: Path) -> None:
    args = (*LAYERS, "--images", "folder:images", "--out", "strict")
    done = run("index", "build", *args, "--max-skipped", "4%", cwd=root)
    assert done.returncode == 1
    assert "1 of the first 8 images could not be read, more than the 0 allowed" in done.stderr
    assert not (root / "strict").exists()


@pytest.mark.parametrize("shard", ["2", "1/x", "-1/2"])
def test_a_shard_is_two_numbers(shard: str, root: Path) -> None:
    done = run("index", "build", *LAYERS, "--images", "folder:images", "--out", "x", "--shard", shard, cwd=root)
    assert done.returncode == 2
    assert "write I/N" in done.stderr
