import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from conceptprobe.cli.main import app
from conceptprobe.cli.probe_inputs import parse_setting
from conceptprobe.concepts.scoring.scores import FeatureScores
from conceptprobe.errors import ConceptProbeError
from conceptprobe.models import load_model
from conceptprobe.probes import PROBES, load_probe
from conceptprobe.probes.imagenet_sets import SETS

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
    assert json.loads(probe("list", "--json").stdout) == listed
    assert listed == {
        **{found.name: found.question for found in PROBES.values()},
        **{
            f"imagenet-{name}": "How often is the model right on ImageNet's other test set of this name?"
            for name in SETS
        },
    }


def test_a_run_is_printed_for_scripts_and_written(tmp_path: Path, scores: Path) -> None:
    done = probe(
        "occlusion", "--model", MODEL, "--model", "mini:clip", *IMAGES, "-n", 16, "--set", "shares=[0.5]", "--set",
        "kinds=['random']", "--set", "draws=2", "--scores", scores, "--out", tmp_path / "out", "--seed", 3, "--json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    printed = json.loads(done.stdout)
    assert printed["probe"] == "occlusion"
    changed = {"kinds": ["random"], "shares": [0.5], "draws": 2}
    assert {name: printed["about"]["settings"][name] for name in changed} == changed
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
    assert f"probe: {tmp_path / 'out'}" in done.stdout
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
        (("occlusion", "--model", MODEL, *IMAGES, "--set", "share=1"), "did you mean 'shares'"),
        (("occlusion", "--model", MODEL, *IMAGES, "--set", "draws"), "--set is 'draws': write NAME=VALUE"),
        (("all", "--model", MODEL, *IMAGES, "--set", "draws=1"), "not with all"),
        (("occlusion", "--model", MODEL), "--images"),
        (("occlusion", *IMAGES), "--model"),
        (("occlusion", "--model", MODEL, *IMAGES, "--scores", "/nowhere"), "holds no scores.json"),
        (("imagenet-x", "--model", MODEL, "--images", "folder:/nowhere"), "name is 'x': input should be 'v2'"),
        (("imagenet-r", "--model", MODEL, *IMAGES, "--layer", LAYER), "--layer does not go with imagenet-r"),
        (
            ("imagenet-r", "--model", MODEL, *IMAGES, "--set", "severities=[1]"),
            "has no setting 'severities'. Settings: none",
        ),
        (
            ("imagenet-c", "--model", MODEL, "--images", "/", "--set", "severities=3"),
            "severities is 3: input should be a valid tuple",
        ),
        (("cutout", "--model", MODEL, *IMAGES, "--classes", __file__), "0 images have one of the"),
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


@pytest.mark.parametrize(
    ("option", "name", "text", "message"),
    [
        ("--classes", "one.txt", "skull\n", "no list of two or more class names"),
        ("--classes", "classes.json", '{"skull": 1}', "no list of two or more class names"),
        ("--classes", "classes.json", "[", "is not JSON"),
        ("--class-map", "map.json", '["skull"]', "holds no class map"),
        ("--class-map", "map.json", "skull", "is not JSON"),
        ("--class-map", "map.json", '{"unicorns at sea": "skull"}', "has none of the labels"),
    ],
)
def test_files_of_classes_are_checked(tmp_path: Path, option: str, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    fails(probe("cutout", "--model", MODEL, *IMAGES, option, tmp_path / name), message)


@pytest.mark.parametrize(("name", "text"), [("c.txt", "pizza\n\n skull \n"), ("c.json", '["pizza", "skull"]')])
def test_classes_are_read_from_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    args = ("cutout", "--model", MODEL, *IMAGES, "--classes", tmp_path / name, "--set", "shares=[0.1]", "--json")
    done = probe(*args)
    assert done.exit_code == 0, done.output
    about = json.loads(done.stdout)["about"]
    assert (about["images"], about["models"][0]["classes"]) == (2, 2)


def test_scores_without_the_layer_that_is_followed_are_refused(tmp_path: Path, scores: Path) -> None:
    fails(
        probe("cutout", "--model", MODEL, *IMAGES, "--scores", scores, "--layer", "blocks.3.mlp.hidden"),
        "blocks.3.mlp.hidden is followed, and the scores given for mini:supervised have verdicts on 0 of its 768 "
        f"features; they have layers {LAYER}: follow one of those",
    )


def test_a_test_set_of_imagenet_is_read_from_its_folder(tmp_path: Path) -> None:
    """A CNN of random weights, with the classes of ImageNet by their places."""
    for number in (3, 20):
        (tmp_path / "v2" / str(number)).mkdir(parents=True)
        Image.new("RGB", (40, 40), (number, 0, 0)).save(tmp_path / "v2" / str(number) / "a.png")
    args = ("imagenet-v2", "--model", "timm:resnet18@random#32", "--images", f"folder:{tmp_path / 'v2'}")
    done = probe(*args, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    read = load_probe(tmp_path / "out")
    assert (read.about["images"], read.about["settings"]) == (2, {"name": "v2"})
    assert read.about["models"][0]["classes"] == 1000


def fails(done: Result, message: str) -> None:
    assert done.exit_code != 0
    said = str(done.exception) if isinstance(done.exception, ConceptProbeError) else " ".join(done.output.split())
    assert isinstance(done.exception, ConceptProbeError) or done.exit_code == 2, done.exception
    assert message in said
