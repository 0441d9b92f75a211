import http.client
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conceptprobe.concepts.scoring.scores import score_features
from conceptprobe.images import load_images
from conceptprobe.indexing import index_activations
from conceptprobe.probes.framework.probe import rows_of
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.framework.result import ProbeResult, make_curves, make_differences

pytestmark = pytest.mark.slow

CODE = "from conceptprobe.cli import main; main()"


def run(*args: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it, in a process of its own."""
    return subprocess.run([sys.executable, "-c", CODE, *args], capture_output=True, text=True, cwd=cwd, timeout=300)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Indices `one` and `two` over labelled images, and scores of `one`."""
    root = tmp_path_factory.mktemp("root")
    for i in range(20):
        folder = root / "images" / "abcd"[i // 5]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (12 * i, 0, 0)).save(folder / f"{i}.png")
    images = load_images(f"folder:{root / 'images'}")
    acts = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    one, _ = (
        index_activations(acts * sign, images, root / name, model=name, k=8) for name, sign in (("one", 1), ("two", -1))
    )
    score_features(one, k=4, draws=100, visual=None).save(root / "scores")
    return root


def test_scores_come_into_the_report_of_their_index(root: Path) -> None:
    done = run("report", "two", "one", "--scores", "scores", "--images", "copy", "--out", "report", cwd=root)
    assert done.returncode == 0, done.stderr
    assert f"report: {root / 'report' / 'index.html'}" in done.stdout
    text = (root / "report" / "data" / "report.js").read_text()
    assert '"full_images":"copy"' in text
    second = text.partition('"key":"one"')[2]
    assert '"scores":{"k":4' in second
    assert '"scores":null' in text.partition('"key":"one"')[0]


def test_probes_come_into_a_report_with_an_index_or_alone(root: Path) -> None:
    rows = rows_of("seen", Condition("a", 1.0), ("x", "y"), np.array([0.0, 1.0])).assign(model="one")
    nothing = pd.DataFrame({"model": pd.Series(dtype=str)})
    about = {
        "models": [{"spec": "one", "fingerprint": "1" * 64, "head": None, "classes": None, "layers": []}], "images": 2,
        "source": {"spec": "folder:images", "fingerprint": "2" * 64}, "protocol": "", "settings": {}, "seed": 0,
    }  # fmt: skip
    tables = (rows, make_curves(rows), make_differences(rows), nothing, nothing)
    ProbeResult("look", "What is seen?", *tables, artifacts={}, about=about).save(root / "probes" / "look")
    for given, pages in (([], 2), (["two"], 5)):
        done = run("report", *given, "--probes", "probes", "--out", "probed", cwd=root)
        assert done.returncode == 0, done.stderr
        assert len(list((root / "probed").glob("*.html"))) == pages
        assert "What is seen?" in (root / "probed" / "data" / "report.js").read_text()
    done = run("report", "--probes", "images", "--out", "refused", cwd=root)
    assert done.returncode == 1
    assert "images holds no result of a probe" in done.stderr
    assert run("report", "--out", "refused", cwd=root).returncode == 1
    assert not (root / "refused").exists()


def test_scores_of_no_index_of_the_report_are_refused_by_name(root: Path) -> None:
    done = run("report", "two", "--scores", "scores", "--out", "refused", cwd=root)
    assert done.returncode == 1
    assert "the scores of one on" in done.stderr
    assert "two: of another model or weights" in done.stderr
    assert not (root / "refused").exists()


def test_a_report_is_served_until_interrupted(root: Path) -> None:
    folder = root / "served"
    folder.mkdir()
    assert "is not a report" in run("serve", "served", cwd=root).stderr
    (folder / "conceptprobe-report.json").write_text("{}")
    (folder / "index.html").write_text("hello")
    command = [sys.executable, "-u", "-c", CODE, "serve", "served", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=root,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    ) as process:  # fmt: skip
        assert process.stdout is not None
        url, tunnel = process.stdout.readline().split()[-1], process.stdout.readline()
        assert url.startswith("http://127.0.0.1:")
        port = int(url.rstrip("/").rpartition(":")[2])
        assert f"ssh -N -L {port}:127.0.0.1:{port}" in tunnel
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"hello"
        connection.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
