import numpy as np
import pytest

from conceptprobe.images import load_images
from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes import ProbeError, ProbeResult, run_probe
from conceptprobe.probes.classifiers.readout import fit_linear_probe, frozen_features, nearest_neighbours
from conceptprobe.probes.classifiers.tasks import choose_task, split_task
from conceptprobe.probes.framework.images import choose_images
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.run_settings import RunSettings


@pytest.fixture(scope="module")
def result() -> ProbeResult:
    layers = ("blocks.2.mlp.hidden", "embedding")
    return run_probe(
        "transfer",
        ["mini:clip", "mini:supervised"],
        "mini:emoji/noto",
        n=120,
        layers=layers,
        label="group",
        pooling="max",
    )


def test_answers_are_those_of_classifiers_of_the_layers_features(result: ProbeResult) -> None:
    model, source = load_model("mini:clip"), load_images("mini:emoji/noto")
    images = choose_images(source, RunSettings(n=120, label="group"), among={*source.table["group"].to_pylist()})
    task = choose_task(images)
    split = split_task(task, 0, 0.5)
    layers = model.resolve(["blocks.2.mlp.hidden", "embedding"])
    features = frozen_features(ProbedModel(model), images.pixels(model), layers, "max")
    tested = [id_ for id_, is_tested in zip(images.ids, split.test_n, strict=True) if is_tested]
    own = result.frame[result.frame["model"] == "mini:clip"]
    for x, values_nf in enumerate(features.values()):
        for series, answers_n in (
            ("logistic regression", fit_linear_probe(values_nf, task.targets_n, split).answers_n),
            ("20 nearest", nearest_neighbours(values_nf, task.targets_n, split, 20, 0.07)),
        ):
            rows = own[(own["series"] == series) & (own["x"] == x)].set_index("image")["value"]
            assert rows[tested].tolist() == (answers_n == task.targets_n[split.test_n]).tolist()
            assert len(rows) == len(tested)


def test_models_are_compared_on_the_same_images_to_test(result: ProbeResult) -> None:
    by_model = result.frame.groupby("model")["image"].agg(set)
    assert by_model["mini:clip"] == by_model["mini:supervised"]
    tested = len(by_model["mini:clip"])
    assert 40 < tested < 80
    assert (result.differences["n"] == tested).all()
    assert [model["layers"] for model in result.about["models"]] == [["blocks.2.mlp.hidden", "embedding"]] * 2
    assert f"tested on {tested} others" in result.caveats[0]


@pytest.mark.slow
def test_by_default_the_embedding_is_read_and_labels_without_enough_images_are_told_by_their_group() -> None:
    result = run_probe("transfer", "mini:clip", "mini:emoji", n=130)
    assert result.about["models"][0]["layers"] == ["embedding"]
    assert result.about["models"][0]["head"] is None
    assert "Told is group, one of 9" in result.caveats[0]
    assert "units, none of them on both sides" in result.caveats[0]


@pytest.mark.slow
def test_a_model_of_any_kind_and_any_column_will_do() -> None:
    result = run_probe("transfer", "timm:resnet18@random#32", "mini:emoji", n=60, target="style", test=0.3, k=0)
    assert {*result.frame["series"]} == {"most frequent class", "logistic regression"}
    assert result.artifacts["timm:resnet18@random#32/c"].shape == (1,)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 20}, "fewer than 10 a label"),
        ({"target": "flavour"}, "no column 'flavour'"),
        ({"target": "group", "n": 2}, "cannot be split|the same group"),
        ({"layers": ()}, "no layer"),
        ({"layers": "blocks.0.attn.probs", "n": 130}, "attention maps"),
        ({"label": "colour"}, "no column 'colour'"),
    ],
)
def test_bad_input_is_refused_before_any_compute(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, object], message: str
) -> None:
    monkeypatch.setattr(VisionModel, "capture", lambda *args: pytest.fail("it computed"))
    with pytest.raises(Exception, match=message) as caught:
        run_probe("transfer", "mini:clip", "mini:emoji", **options)  # type: ignore[arg-type]
    assert isinstance(caught.value, ProbeError) or "layers" in options


def test_guessing_is_there_to_compare_with(result: ProbeResult) -> None:
    source = load_images("mini:emoji/noto")
    guess = result.curves[(result.curves["series"] == "most frequent class")].iloc[0]
    tested = {*result.frame["image"]}
    groups = [source.table["group"][source.row_of(id_)].as_py() for id_ in tested]
    _, counts = np.unique(groups, return_counts=True)
    assert guess["value"] in counts / len(groups)
