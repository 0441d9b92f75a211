import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from conceptprobe.cli.main import app
from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.looks.method import describe_looks
from conceptprobe.concepts.scoring.scores import load_scores
from conceptprobe.images import load_images
from conceptprobe.indexing import build_index
from conceptprobe.models import load_model

COLOURS = {"red": (200, 20, 20), "green": (20, 200, 20), "blue": (20, 20, 200), "grey": (120, 120, 120)}


def score(*args: str) -> Result:
    return CliRunner().invoke(app, ["score", *args])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten noisy squares of each of four colours; labels are the colours."""
    root = tmp_path_factory.mktemp("score")
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (root / "images" / name).mkdir(parents=True)
        for i in range(10):
            pixels = np.clip(np.array(colour) + rng.integers(-60, 60, (20, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / "images" / name / f"{i}.png")
    source = load_images(f"folder:{root / 'images'}")
    build_index(
        load_model("mini:supervised@random"), source, "blocks[-2:].mlp.hidden", root / "index", k=20, workers=0,
    )  # fmt: skip
    return root


def test_scores_are_printed_and_written(folder: Path, tmp_path: Path) -> None:
    done = score(str(folder / "index"), "--out", str(tmp_path / "all"), "--no-visual")
    assert done.exit_code == 0, done.output
    assert "FeatureScores(mini:supervised@random, k 10:" in done.output
    assert "looks: not tested by choice" in done.output
    assert "blocks.5.mlp.hidden  object" in done.output
    frame = load_scores(tmp_path / "all").frame
    assert frame["layer"].value_counts().to_dict() == {"blocks.4.mlp.hidden": 768, "blocks.5.mlp.hidden": 768}
    assert set(frame["concept"].dropna()) <= set(COLOURS)

    done = score(
        str(folder / "index"), "--layer", "blocks.5.mlp.hidden", "--out", str(tmp_path / "one"), "--no-visual", "--json"
    )
    one = load_scores(tmp_path / "one").frame
    pd.testing.assert_frame_equal(one, frame[frame["layer"] == "blocks.5.mlp.hidden"].reset_index(drop=True))
    printed = json.loads(done.stdout)
    assert printed["settings"]["k"] == 10
    assert sum(row["count"] for row in printed["summary"]) == 768


def test_concepts_of_a_file_and_a_scorer(folder: Path, tmp_path: Path) -> None:
    sets = tmp_path / "sets.json"
    sets.write_text(json.dumps({"warm": ["red", "grey/0.png"], "cold": ["green", "blue"]}))
    done = score(
        str(folder / "index"), "--concepts", str(sets), "--layer", "blocks.4.mlp.hidden", "-k", "8", "--scorer",
        "mini:clip", "--out", str(tmp_path / "out"), "-q", "0.2", "--seed", "3",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    scores = load_scores(tmp_path / "out")
    assert scores.settings["concepts"]["kinds"] == {"label": 4, "set": 2}
    assert scores.settings["scorer"] == "mini:clip"
    assert describe_looks(scores.settings["looks"]) == "activations predicted from colours and gradients"
    live = scores.frame[scores.frame["tested"]]
    assert live[["clarity", "monosemanticity", "redundancy"]].notna().all(axis=None)
    assert live["clarity"].between(-1, 1).all()


def test_mistakes(folder: Path, tmp_path: Path) -> None:
    assert score(str(folder / "index"), "--taxonomy", "folders", "--concepts", "x.json").exit_code == 2
    refused = score(str(folder / "index"), "--k", "21")
    assert isinstance(refused.exception, ConceptError)
    assert "k is 21: it must be from 2 to 20" in str(refused.exception)
    unknown = score(str(folder / "index"), "--concepts", str(tmp_path / "none.json"))
    assert isinstance(unknown.exception, ConceptError)
