"""A run that is killed, by a signal that no process can catch, and called again."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from conceptprobe.models import load_model
from conceptprobe.visualization.optimization import checkpoint
from conceptprobe.visualization.optimization.engine import optimise
from conceptprobe.visualization.results.visualizations import load_visualizations
from conceptprobe.visualization.visualize import visualize

WHAT = [f"blocks.0.mlp.hidden:{number}" for number in range(4)]
SETTINGS = {"steps": 12, "views": 2, "batch": 2, "frames": 4}
# Kills itself in the second chunk, when it has replaced its checkpoint so many times or is about to do so once more.
KILLED = """
import os, signal, sys
from conceptprobe.models import load_model
from conceptprobe.visualization.optimization import checkpoint
from conceptprobe.visualization.visualize import visualize
moment, out = sys.argv[1:3]
checkpoint.STEPS = 1
replace, saved = os.replace, []
def counted(source, target):
    if str(target).endswith("checkpoint.safetensors"):
        saved.append(target)
    if moment == "before" and len(saved) == 17:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target)
    if moment == "after" and len(saved) == 16:
        os.kill(os.getpid(), signal.SIGKILL)
os.replace = counted
visualize(load_model("mini:clip", device="cpu"), {what}, out=out, **{settings})
"""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_killed_run_goes_on_to_the_same_bits(moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    script = KILLED.replace("{what}", repr(WHAT)).replace("{settings}", repr(SETTINGS))
    done = subprocess.run([sys.executable, "-c", script, moment, str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert [record.target for record in load_visualizations(out).records] == WHAT[:2]
    assert checkpoint.stored_units(out / "checkpoint.safetensors") == tuple(f"{key} restart 0" for key in WHAT[2:])

    first: list[int] = []

    def told(*args: object, on_step: object, **options: object) -> object:
        def step(number: int) -> None:
            first.append(number)

        return optimise(*args, on_step=step, **options)  # type: ignore[arg-type, misc]

    model = load_model("mini:clip", device="cpu")
    monkeypatch.setattr("conceptprobe.visualization.job.optimise", told)
    resumed = visualize(model, WHAT, out=out, **SETTINGS)  # type: ignore[arg-type]
    assert first == list(range(6, 13))  # the second chunk alone, after the fifth step
    whole = visualize(model, WHAT, out=tmp_path / "whole", **SETTINGS)  # type: ignore[arg-type]
    assert resumed.records == whole.records
    for record in whole.records:
        name = str(record.file)
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (out / "checkpoint.safetensors").exists()
