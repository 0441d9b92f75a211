"""The `[gpu]` extra in the place of `[cpu]`; no GPU is needed."""

import os
import subprocess
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest

ASKED = "CONCEPTPROBE_TEST_GPU_EXTRA"
ROOT = Path(__file__).parents[3]
SAME = ("test_faiss_files.py", "test_faiss_factory.py", "test_faiss_index.py")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(ASKED not in os.environ, reason=f"downloads 1.6 GB; set {ASKED}=1 to run it")
def test_the_same_tests_pass(tmp_path: Path) -> None:
    """Takes two minutes and 1.6 GB of disk while it runs."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    venv.create(tmp_path / "env", with_pip=True)
    python = tmp_path / "env" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *extras["gpu"]], check=True)

    def run(code: str) -> str:
        return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()

    # what comes later on the path is found only where the new environment has no such package
    site = Path(run("import sysconfig; print(sysconfig.get_path('purelib'))"))
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    assert run("import faiss; print(hasattr(faiss, 'StandardGpuResources'), faiss.__file__)") == (
        f"True {site / 'faiss' / '__init__.py'}"
    )
    tests = [ROOT / "tests" / "indexing" / "storage" / name for name in SAME]
    subprocess.run([python, "-m", "pytest", "-x", "-p", "no:cacheprovider", *tests], check=True, cwd=ROOT)
