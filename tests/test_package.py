import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_wheel_and_sdist_hold_what_a_user_needs(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--outdir", str(tmp_path), str(ROOT)], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    (sdist,) = tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conceptprobe").rglob("*") if path.is_file()}
    shipped = {name for name in package if "__pycache__" not in name}
    assert shipped <= names
    assert {name for name in names if not name.startswith("conceptprobe-")} <= package
    assert {"conceptprobe/py.typed", "conceptprobe/mini/data/clip.safetensors"} <= shipped
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert shipped | {"Makefile", "recipes/mini/train.py", "indices/mini-clip.toml", "tests/test_package.py"} <= inside


def test_the_embedded_default_stays_small() -> None:
    size = sum(path.stat().st_size for path in (ROOT / "conceptprobe" / "mini").rglob("*") if path.is_file())
    assert size < 40 * 2**20
