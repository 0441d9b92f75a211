"""A folder that a result cannot be saved to is refused before any work."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

import conceptprobe as cp
from conceptprobe.cli.main import app

IMAGES = "mini:emoji/fxemoji"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("folders") / "index"
    return cp.build_index("mini:clip", IMAGES, "blocks.5.mlp.out", out, workers=0).path


@pytest.mark.parametrize(
    "command",
    [
        ("score", "{index}"),
        ("label", "{index}", "--scorer", "mini:clip", "--words", "mini"),
        ("contrast", "{index}", "{index}"),
        ("probe", "shuffle", "--model", "mini:clip", "--images", IMAGES),
    ],
)
def test_an_index_as_the_folder_of_a_result_is_refused_before_work(
    command: tuple[str, ...], index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conceptprobe.models.vision_model.VisionModel.capture", lambda *args: 1 / 0)
    monkeypatch.setattr("conceptprobe.concepts.scoring.scores.score_features", lambda *args, **options: 1 / 0)
    before = {path: path.read_bytes() for path in index.rglob("*") if path.is_file()}
    words = [word.format(index=index) for word in command]
    done = CliRunner().invoke(app, [*words, "--out", str(index)])
    assert isinstance(done.exception, cp.OutputError)
    assert "holds files that are no earlier" in str(done.exception)
    assert {path: path.read_bytes() for path in index.rglob("*") if path.is_file()} == before
