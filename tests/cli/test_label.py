import json
import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from conceptprobe.cli.main import app
from conceptprobe.concepts.naming.names import label_features, load_names
from conceptprobe.images import load_images
from conceptprobe.indexing import build_index
from conceptprobe.models import load_model
from conceptprobe.search.features import find_features

LAYER = "blocks.5.mlp.out"


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("label")
    images = load_images("mini:emoji/noto")
    model = load_model("mini:supervised", device="cpu")
    build_index(model, images.subset(range(0, len(images), 5)), LAYER, root / "index", k=20, workers=0)
    return root / "index"


@pytest.fixture
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    for function in (find_features, label_features):
        monkeypatch.setitem(function.__kwdefaults__, "cache", tmp_path_factory.getbasetemp() / "embeddings")


@pytest.mark.usefixtures("own_cache")
def test_label(index: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("cat\nflag\nheart\nmoon\nmusic\nfood\nclock\n")
    command = ["label", str(index), "--words", str(tmp_path / "words.txt"), "--scorer", "mini:clip"]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "names"), "--json"])
    assert done.exit_code == 0, done.stderr
    printed = json.loads(done.stdout)
    assert {row["source"] for row in printed["names"]} == {"words", "concepts"}
    frame = pd.read_parquet(tmp_path / "names" / "names.parquet")
    assert len(frame) == len(printed["names"])
    assert frame["feature"].nunique() == 192
    assert load_names(tmp_path / "names").settings == printed["settings"]
    plain = CliRunner().invoke(app, command)
    assert re.search(rf"{LAYER}, by words: \d+ of \d+ tested features are named, median AUC 0\.", plain.stdout)


@pytest.mark.usefixtures("own_cache")
def test_search_for_features(index: Path, tmp_path: Path) -> None:
    command = ["search", str(index), "--text", "cat", "--scorer", "mini:clip", "-k", "3"]
    lines = CliRunner().invoke(app, command).stdout.splitlines()
    printed = json.loads(CliRunner().invoke(app, [*command, "--json"]).stdout)
    assert [f"{row['layer']}:{row['feature']}" for row in printed] == [line.split()[1] for line in lines]
    assert all(2 <= line.count(", ") < 9 for line in lines)  # three images of each, and names with commas
    both = CliRunner().invoke(app, ["search", str(index), str(index), *command[2:]])
    assert len(both.stdout.splitlines()) == 3
    first = f"{LAYER}:{printed[0]['feature']}"
    like = CliRunner().invoke(app, ["search", str(index), "--like", first, "--scorer", "mini:clip", "--json"])
    assert printed[0]["feature"] not in [row["feature"] for row in json.loads(like.stdout)]
    (tmp_path / "text.png").write_text("no image")
    unreadable = CliRunner().invoke(app, ["search", str(index), "--like", str(tmp_path / "text.png")])
    assert unreadable.exit_code == 2
    assert "cannot be read as an image" in " ".join(unreadable.stderr.replace("│", "").split())
    by_id = CliRunner().invoke(app, ["search", str(index), "--like", "noto/1F0CF", "--scorer", "mini:clip"])
    assert len(by_id.stdout.splitlines()) == 10


@pytest.mark.parametrize("option", [["--scorer", "mini:clip"], []])
def test_a_device_that_does_not_exist_is_refused(index: Path, option: list[str]) -> None:
    done = CliRunner().invoke(app, ["search", str(index), "--text", "cat", "--device", "toaster", *option])
    assert "'toaster' is not a device" in str(done.exception)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["search", "a", "b", "--feature", "x:1"], "several indices are for --text and --like"),
        (["search", "a", "--text", "x", "--like", "y"], "give one of --text"),
        (["label", "a"], "Missing option '--scorer'"),
        (["label", "a", "--scorer", "mini:clip", "--seed", "-1"], "Invalid value for '--seed'"),
        (["probe", "shuffle", "--model", "mini:clip", "--images", "mini:emoji", "--seed", "-1"], "'--seed'"),
    ],
)
def test_wrong_usage(args: list[str], message: str) -> None:
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.replace("│", "").split())
