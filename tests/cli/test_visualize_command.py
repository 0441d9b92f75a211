import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from conceptprobe.cli.main import app
from conceptprobe.concepts.scoring.scores import FeatureScores
from conceptprobe.errors import ConceptProbeError
from conceptprobe.images import load_images
from conceptprobe.indexing import build_index
from conceptprobe.models import load_model
from conceptprobe.visualization.results.visualizations import load_visualizations

pytestmark = pytest.mark.slow

LAYER = "blocks.1.mlp.hidden"
QUICK = ("--steps", "2", "--views", "1", "--device", "cpu")


def visualize(*args: object) -> Result:
    return CliRunner().invoke(app, ["visualize", *map(str, args)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty noisy squares, an index of two layers over them, and scores of five of its features."""
    root = tmp_path_factory.mktemp("visualize")
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    for i in range(20):
        pixels = rng.integers(0, 256, (20, 20, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{i:02}.png")
    model = load_model("mini:clip", "cpu")
    source = load_images(f"folder:{root / 'images'}")
    build_index(model, source, "blocks[:2].mlp.hidden", root / "index", k=5, workers=0)
    frame = pd.DataFrame(
        {
            "feature": [4, 5, 6, 7, 8],
            "layer": [LAYER, LAYER, "blocks.0.mlp.hidden", LAYER, LAYER],
            "verdict": ["conceptual", "conceptual", "conceptual", "object", "dead"],
            "q": [0.02, 0.001, 0.001, 0.01, np.nan],
            "llr": [9.0, 3.0, 8.0, 1.0, np.nan],
        }
    )
    about = {"model": "mini:clip", "fingerprints": {"model": model.fingerprint}}
    FeatureScores(frame, frame, about).save(root / "scores")
    FeatureScores(frame, frame, {"model": "other", "fingerprints": {"model": "1"}}).save(root / "other")
    return root


def test_images_their_records_and_a_contact_sheet(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = visualize("--index", folder / "index", "--features", "3,7-8", "--out", out, *QUICK)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[:3]] == [f"{LAYER}:{i}" for i in (3, 7, 8)]  # the index's last layer
    assert "activation" in lines[0]
    assert "rank" in lines[0]
    assert lines[3].startswith("Visualizations(3 images of 48 x 48; mini:clip; fourier; ")
    assert lines[4] == f"images: {out.resolve()}"
    made = load_visualizations(out)
    assert [(record.layer, record.feature, record.steps, record.views) for record in made.records] == [
        (LAYER, 3, 2, 1), (LAYER, 7, 2, 1), (LAYER, 8, 2, 1),
    ]  # fmt: skip
    assert all(record.natural is not None and record.natural.images == 20 for record in made.records)
    with Image.open(out / "contact.png") as sheet:
        assert sheet.width > 300
    done = visualize("--index", folder / "index", "--features", "3", "--specific", "--out", tmp_path / "own", *QUICK)
    assert done.exit_code == 0, done.output
    (record,) = load_visualizations(tmp_path / "own").records
    assert (record.feature, record.file) == (3, f"{LAYER}/3-specific.png")


def test_options_reach_the_work(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = visualize(
        "--model", "mini:clip", "--layer", "blocks[:2].mlp.hidden", "--features", "1", "--pooling", "max", "--size",
        "32x40", "--seed", "3", "--restarts", "2", "--preset", "ghiasi", "--animate", "gif", "--batch", "1", "--json",
        "--out", out, *QUICK,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["out"] == str(out.resolve())
    assert Path(said["contact"]).is_file()
    found = {(row["layer"], row["feature"], row["pooling"], row["seed"], row["restart"]) for row in said["images"]}
    assert found == {(f"blocks.{block}.mlp.hidden", 1, "max", 3, restart) for block in (0, 1) for restart in (0, 1)}
    made = load_visualizations(out)
    assert made.images_nhwc.shape == (4, 32, 40, 3)
    for record in made.records:
        assert record.preset["name"] == "ghiasi"
        with Image.open(out / str(record.animation)) as animation:
            assert animation.format == "GIF"


def test_features_of_a_file_and_of_scores(folder: Path, tmp_path: Path) -> None:
    listing = tmp_path / "features.txt"
    listing.write_text(f"# some\n3-4\n\nblocks.0.mlp.hidden:9, 4\n{LAYER}:3\n")

    def targets(name: str, *args: object) -> list[str]:
        done = visualize("--index", folder / "index", "--out", tmp_path / name, "--json", *args, *QUICK)
        assert done.exit_code == 0, done.output
        return [row["target"] for row in json.loads(done.stdout)["images"]]

    assert sorted(targets("file", "--features", listing)) == ["blocks.0.mlp.hidden:9", f"{LAYER}:3", f"{LAYER}:4"]
    scores = ("--scores", folder / "scores")
    assert sorted(targets("two", "--features", "top-conceptual:2", *scores)) == ["blocks.0.mlp.hidden:6", f"{LAYER}:5"]
    assert targets("one", "--features", "top-object:1", *scores) == [f"{LAYER}:7"]
    of_layer = targets("layer", "--features", "top-conceptual:3", *scores, "--layer", LAYER)
    assert sorted(of_layer) == [f"{LAYER}:4", f"{LAYER}:5"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--features", "3"], "give --model, or an --index of it"),
        (["--features", "3", "--model", "mini:clip"], "give --layer, or an --index, or features such as"),
        (["--features", "top-conceptual:3", "--index", "INDEX"], "needs --scores DIR"),
        (["--features", "top-polysemantic:3", "--index", "INDEX", "--scores", "SCORES"], "no polysemantic features"),
        (["--features", "top-object:3", "--index", "INDEX", "--scores", "OTHER"], "has scores of other, which is not"),
        (["--features", "nothing.txt", "--index", "INDEX"], "'nothing.txt', which is no feature and no file"),
        (["--features", "", "--index", "INDEX"], "which is no feature and no file"),
        (["--features", "9-3", "--index", "INDEX"], "write the smaller number first"),
        (["--features", "767-768", "--index", "INDEX"], "has features 0 to 767"),
        (["--features", "3", "--model", "mini:clip", "--layer", LAYER, "--specific"], "--specific needs an --index"),
        (["--features", "3", "--index", "INDEX", "--size", "big"], "write 224, or rows x columns"),
        (["--features", "3", "--index", "INDEX", "--preset", "nice"], "fourier, ghiasi, maco"),
        (["--features", "3", "--index", "INDEX", "--layer", "blocks.9.mlp.hidden"], "no layer 'blocks.9.mlp.hidden'"),
        (["--features", "3", "--index", "INDEX", "--layer", "blocks.4.mlp.hidden"], "has no layer blocks.4.mlp.hidden"),
        (["--features", "3", "--index", "INDEX", "--pooling", "cls"], "has no pooling cls"),
        (["--features", "3", "--index", "INDEX", "--model", "mini:supervised"], "is not the model that"),
        (["--features", f"{LAYER}:768", "--index", "INDEX"], "768"),
        (["--features", "3", "--index", "INDEX", "--size", "4"], "4"),
        (["--features", "3", "--index", "nowhere"], "nowhere does not exist"),
    ],
)  # fmt: skip
def test_mistakes_are_said_before_work_starts(folder: Path, tmp_path: Path, args: list[str], message: str) -> None:
    places = {"INDEX": folder / "index", "SCORES": folder / "scores", "OTHER": folder / "other"}
    out = tmp_path / "out"
    done = visualize(*[places.get(arg, arg) for arg in args], "--out", out, *QUICK)
    assert done.exit_code != 0
    said = str(done.exception) if isinstance(done.exception, ConceptProbeError) else " ".join(done.output.split())
    assert isinstance(done.exception, ConceptProbeError) or done.exit_code == 2, done.exception
    assert message in said.replace("│ ", "").replace(" │", "")
    assert not out.exists()
