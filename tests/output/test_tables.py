"""Saved results: replaced as a whole, never mixed with another run or with files of somebody else."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from conceptprobe.errors import FolderBusyError, OutputError
from conceptprobe.output.folder import locked
from conceptprobe.output.tables import load_tables, save_tables

TABLES = ("a", "b")

KILLED_SAVE = """
import os, signal, sys
import pandas as pd
from conceptprobe.output.tables import save_tables

folder, run, last = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
tables = {name: pd.DataFrame({"run": [run] * 3}) for name in ("a", "b")}
seen = 0

def count(event, arguments):
    global seen
    if event in ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "shutil.rmtree") or (
        event == "open" and isinstance(arguments[0], str) and os.path.dirname(folder) in arguments[0]
    ):
        seen += 1
        if seen == last:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count)
save_tables(folder, "result", tables, {"run": run}, {"words.txt": str(run).encode()})
"""


def save(folder: Path, run: int) -> Path:
    tables = {name: pd.DataFrame({"run": [run] * 3}) for name in TABLES}
    return save_tables(folder, "result", tables, {"run": run}, {"words.txt": str(run).encode()})


def runs(folder: Path) -> set[int]:
    """The runs that the files of a result are of."""
    tables, about = load_tables(folder, "result", TABLES, command="make")
    found = {about["run"], int((folder / "words.txt").read_text())}
    return found.union(*(set(table["run"]) for table in tables.values()))


def test_a_result_comes_back_and_replaces_an_earlier_one(tmp_path: Path) -> None:
    for run in (1, 2):
        assert save(tmp_path / "out", run) == tmp_path / "out"
        assert runs(tmp_path / "out") == {run}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_a_save_that_is_killed_at_any_write_leaves_the_old_result_or_the_new_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    save(out, 0)
    seen = set()
    for run in range(1, 60):
        before = runs(out)
        done = subprocess.run([sys.executable, "-c", KILLED_SAVE, str(out), str(run), str(run)], check=False)
        assert runs(out) in (before, {run})
        seen.add(runs(out) == {run})
        if done.returncode == 0:
            break
        assert done.returncode == -9
    else:
        pytest.fail("the save never ended")
    assert run > 8
    assert seen == {False, True}
    save(out, 99)
    assert runs(out) == {99}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_save_that_fails_leaves_the_old_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "out", 1)
    monkeypatch.setattr("conceptprobe.output.tables.json.dumps", lambda *args, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(tmp_path / "out", 2)
    monkeypatch.undo()
    assert runs(tmp_path / "out") == {1}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["manifest.json", "notes.txt", "a.parquet"])
def test_folders_of_something_else_are_refused_and_stay(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match="no earlier result"):
        save(tmp_path, 1)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_a_file_and_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("file", "link"):
        with pytest.raises(OutputError, match="is not a folder"):
            save(tmp_path / name, 1)
    assert not list((tmp_path / "folder").iterdir())


def test_one_process_writes_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path / "out", "taken"), pytest.raises(FolderBusyError, match="another process is writing"):
        save(tmp_path / "out", 1)
    save(tmp_path / "out", 1)
    assert runs(tmp_path / "out") == {1}


def test_a_reader_waits_for_no_writer_and_moves_nothing_below_it(tmp_path: Path) -> None:
    out = save(tmp_path / "out", 1)
    aside = tmp_path / ".out-replaced-1"
    aside.mkdir()
    out.rename(aside / "out")  # the moment between the two renames of a writer
    with locked(out, "taken"), pytest.raises(FolderBusyError, match="another process is writing"):
        runs(out)
    assert (aside / "out").is_dir()
    assert runs(out) == {1}  # the writer was killed there
    assert not aside.exists()
