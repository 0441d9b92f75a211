import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.slow


def run(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it, in a process of its own."""
    code = "from conceptprobe.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cli")
    (root / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(12):
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(root / "images" / f"{i:02d}.png")
    (root / "images" / "bad.png").write_bytes(b"no")
    (root / "recipe.toml").write_text(
        'model = "mini:supervised@random"\nimages = "folder:images"\nlayers = "blocks[-1:].mlp.hidden"\n'
        'out = "made"\nk = 5\n'
    )
    done = run("index", "build", "recipe.toml", "--batch-size", "8", cwd=root)
    assert done.returncode == 0, done.stderr
    assert "12 images indexed, 1 skipped" in done.stdout
    return root / "made"


def test_info(index: Path) -> None:
    text = run("index", "info", str(index)).stdout
    assert "13 listed = 12 indexed + 1 skipped" in text
    assert "bad.png" in text
    manifest = json.loads(run("index", "info", str(index), "--json").stdout)
    assert manifest["k"] == 5
    assert manifest["model"]["spec"] == "mini:supervised@random"


def test_search(index: Path) -> None:
    lines = run("search", str(index), "--feature", "blocks.5.mlp.hidden:3", "-k", "4").stdout.splitlines()
    assert len(lines) == 4
    found = json.loads(run("search", str(index), "--feature", "blocks.5.mlp.hidden:3", "-k", "4", "--json").stdout)
    assert [row["id"] for row in found] == [line.split()[1] for line in lines]
    assert [row["value"] for row in found] == sorted((row["value"] for row in found), reverse=True)
    assert (
        len(run("search", str(index), "--feature", "blocks.5.mlp.hidden:3").stdout.splitlines()) == 5
    )  # all there are
    assert len(run("search", str(index), "--image", "03.png", "-k", "4").stdout.splitlines()) == 4
    neighbours = json.loads(run("search", str(index), "--neighbours", "blocks.5.mlp.hidden:3", "--json").stdout)
    assert all(row["id"].startswith("blocks.5.mlp.hidden:") for row in neighbours)


def test_report(index: Path, tmp_path: Path) -> None:
    done = run("report", str(index), "--out", str(tmp_path / "report"), cwd=index.parent)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report" / "index.html").exists()


def test_models() -> None:
    assert "mini:clip" in run("models", "--family", "mini").stdout.splitlines()
    specs = json.loads(run("models", "ViT-B-32", "--family", "open_clip", "--json").stdout)
    assert "open_clip:ViT-B-32@openai" in specs
    layers = json.loads(run("models", "mini:supervised@random", "--layers", "--json").stdout)
    assert {"name": "blocks.5.mlp.hidden", "kind": "tokens", "width": 768, "prefix": 1, "grid": [6, 6]} in layers


def test_doctor() -> None:
    done = run("doctor")
    assert done.returncode == 0, done.stderr
    assert "embedded images  12359" in done.stdout


REST = ("--images", "mini:emoji", "--layers", "final", "--out", "x")


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (["index", "info", "nowhere"], 1, "does not exist"),
        (["index", "build", "nowhere.toml"], 1, "nowhere.toml: No such file"),
        (["index", "build", "--model", "mini:clip"], 2, "give a recipe"),
        (["index", "build", "--model", "mini:clip", *REST, "--workers", "-1"], 1, "workers is -1"),
        (["index", "build", "--model", "mini:clip", *REST, "--k", "1000000000"], 1, "from 1 to 10,000"),
        (["index", "build", "--model", "mini:clop", *REST], 1, "mini:clip"),
        (["index", "build", "--model", "mini:clip", *REST, "--images", "folder:no"], 1, "folder:no"),
        (["search", "nowhere"], 2, "--feature"),
        (["report", "nowhere", "--out", "x"], 1, "does not exist"),
        (["demo", "--device", "toaster"], 1, "'toaster' is not a device"),
        (["index", "build", "--k", "many"], 2, "Invalid value"),
        (["frobnicate"], 2, "No such command"),
    ],
)  # fmt: skip
def test_a_mistake_ends_in_one_clear_line(args: list[str], code: int, message: str, tmp_path: Path) -> None:
    done = run(*args, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_an_interrupt_says_how_to_go_on(tmp_path: Path) -> None:
    code = "from conceptprobe.cli import main; main()"
    command = [sys.executable, "-c", code, "index", "build", "--model", "mini:clip", *REST]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=tmp_path, process_group=0,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )  # fmt: skip
    while not (tmp_path / "x.partial" / "layers").exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "the same command resumes" in error
    assert "Traceback" not in error
    assert not (tmp_path / "x").exists()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    assert "Traceback" in run("--debug", "index", "info", "nowhere", cwd=tmp_path).stderr
