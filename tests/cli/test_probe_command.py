import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from typer.testing import CliRunner

from conceptprobe.cli.main import app
from conceptprobe.cli.probe import parse_setting
from conceptprobe.concepts.scores import FeatureScores
from conceptprobe.errors import ConceptProbeError
from conceptprobe.models import load_model
from conceptprobe.probes import PROBES, load_probe

MODEL = "mini:supervised"
LAYER = "blocks.5.mlp.hidden"
IMAGES = ("--images", "mini:emoji/noto")


def probe(*args: object) -> Result:
    return CliRunner().invoke(app, ["probe", *map(str, args)])


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    """Verdicts on one layer of one model: a third conceptual, the rest object."""
    verdicts = np.where(np.arange(768) % 3 == 0, "conceptual", "object")
    frame = pd.DataFrame({"layer": LAYER, "feature": np.arange(768), "verdict": verdicts})
    settings = {"model": MODEL, "fingerprints": {"model": load_model(MODEL).fingerprint}}
    return FeatureScores(frame, frame.iloc[:0], settings).save(tmp_path / "scores")


def test_the_list_names_every_probe_and_its_question() -> None:
    done = probe("list")
    assert done.exit_code == 0, done.output
    listed = dict(re.split(r"\s+", line, maxsplit=1) for line in done.stdout.splitlines())
    assert listed == {found.name: found.question for found in PROBES.values()}


def test_a_run_is_printed_for_scripts_and_written(tmp_path: Path, scores: Path) -> None:
    done = probe(
        "occlusion", "--model", MODEL, "--model", "mini:clip", *IMAGES, "-n", 16, "--set", "shares=[0.5]", "--set",
        "draws=2", "--scores", scores, "--out", tmp_path / "out", "--seed", 3, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed["probe"] == "occlusion"
    assert printed["about"]["settings"] == {"shares": [0.5], "grid": None, "draws": 2}
    assert printed["about"]["seed"] == 3
    read = load_probe(tmp_path / "out")
    assert len(printed["curves"]) == len(read.curves)
    assert [row["value"] for row in printed["differences"]] == pytest.approx(read.differences["value"].tolist())
    survival = read.survival.groupby("model")["verdict"].agg(set)
    assert survival[MODEL] == {"all", "conceptual", "object", "conceptual - object"}
    assert survival["mini:clip"] == {"all"}
    counts = read.features[read.features["model"] == MODEL]["verdict"].value_counts()
    assert counts.to_dict() == {"object": 512, "conceptual": 256}


def test_a_run_is_printed_for_people(tmp_path: Path) -> None:
    done = probe("background", "--model", MODEL, *IMAGES, "-n", 4, "--set", "fill=white", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "ProbeResult(background: mini:supervised on 4 images of mini:emoji/noto)" in done.stdout
    assert re.search(r"mini:supervised +correct +foreground only +1 +[\d.]+  \[[\d.]+, [\d.]+\]  n 4", done.stdout)
    assert f"probes: {tmp_path / 'out'}" in done.stdout
    assert load_probe(tmp_path / "out").about["settings"] == {"fill": "white"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("shares=[0.1, 0.5]", ("shares", (0.1, 0.5))),
        ("draws=3", ("draws", 3)),
        ("fill=white", ("fill", "white")),
        ("grid=(7, 7)", ("grid", (7, 7))),
        ("grid=None", ("grid", None)),
    ],
)
def test_settings_are_read_in_pythons_notation(text: str, expected: tuple[str, object]) -> None:
    assert parse_setting(text) == expected


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("oclusion", "--model", MODEL, *IMAGES), "Did you mean occlusion"),
        (("occlusion", "--model", MODEL, *IMAGES, "--set", "share=1"), "no setting 'share'; it has shares"),
        (("occlusion", "--model", MODEL, *IMAGES, "--set", "draws"), "--set takes NAME=VALUE"),
        (("all", "--model", MODEL, *IMAGES, "--set", "draws=1"), "not with all"),
        (("occlusion", "--model", MODEL), "--images"),
        (("occlusion", *IMAGES), "--model"),
        (("occlusion", "--model", MODEL, *IMAGES, "--scores", "/nowhere"), "holds no scores.json"),
    ],
)
def test_mistakes_are_named(args: tuple[str, ...], message: str) -> None:
    fails(probe(*args), message)


def test_scores_of_another_model_are_refused(tmp_path: Path, scores: Path) -> None:
    fails(
        probe("occlusion", "--model", "mini:clip", *IMAGES, "--scores", scores),
        "scores are given for mini:supervised, which is none of the models mini:clip",
    )
    settings = {"model": MODEL, "fingerprints": {"model": "of other weights"}}
    frame = pd.DataFrame({"layer": [LAYER], "feature": [0], "verdict": ["object"]})
    other = FeatureScores(frame, frame.iloc[:0], settings).save(tmp_path / "other")
    fails(probe("occlusion", "--model", MODEL, *IMAGES, "--scores", other), "are of another model")


def fails(done: Result, message: str) -> None:
    assert done.exit_code != 0
    said = str(done.exception) if isinstance(done.exception, ConceptProbeError) else " ".join(done.output.split())
    assert isinstance(done.exception, ConceptProbeError) or done.exit_code == 2, done.exception
    assert message in said
