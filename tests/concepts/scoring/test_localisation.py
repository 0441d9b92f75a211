from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.scoring import localisation
from conceptprobe.concepts.scoring.localisation import load_localisation, localise, probe
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.errors import OutputError


def greedy(values_nf: np.ndarray, target_n: np.ndarray, count: int) -> tuple[list[int], np.ndarray]:
    """Orthogonal matching pursuit by its definition, in float64."""
    values = (values_nf - values_nf.mean(0)) / values_nf.std(0)
    target = target_n - target_n.mean()
    chosen: list[int] = []
    residual = target
    for _ in range(count):
        score = np.abs(values.T @ residual)
        score[chosen] = -1
        chosen.append(int(score.argmax()))
        weights, *_ = np.linalg.lstsq(values[:, chosen], target, rcond=None)
        residual = target - values[:, chosen] @ weights
    return chosen, weights


def test_probes_are_greedy_least_squares() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((200, 30)) @ rng.standard_normal((30, 30))
    targets = (values[:, [3, 7]] + values[:, [9, 4]] + rng.standard_normal((200, 2)) > 1).astype(float)
    train, test = slice(0, 120), slice(120, 200)
    found = probe(values[train], targets[train], values[test], targets[test], (1, 3, 5))
    for concept in range(2):
        for at, count in enumerate((1, 3, 5)):
            chosen, weights = greedy(values[train], targets[train, concept], count)
            assert found.chosen_cm[concept, :count].tolist() == chosen
            scores = ((values - values[train].mean(0)) / values[train].std(0))[test][:, chosen] @ weights
            assert found.auc_cm[concept, at] == pytest.approx(roc_auc_score(targets[test, concept], scores), abs=1e-9)


def make(
    monkeypatch: pytest.MonkeyPatch, values: np.ndarray, labels: np.ndarray, sets: dict[str, np.ndarray]
) -> tuple[Any, ConceptSet]:
    """An index of one layer with these activations, and concepts."""
    ids = [f"{row:04d}" for row in range(len(values))]
    manifest = SimpleNamespace(model={"spec": "mini:clip"}, source={"spec": "folder:images"})
    index = SimpleNamespace(
        images=pd.DataFrame({"id": ids, "label": labels}), choose_layers=lambda layers: ("layer",), manifest=manifest
    )
    monkeypatch.setattr(localisation, "image_vectors", lambda _index, _layer, rows: values[rows].astype(np.float32))
    concepts = ConceptSet.from_sets({name: [ids[row] for row in rows] for name, rows in sets.items()}, ids)
    return index, concepts


def curve(found: localisation.Localisation, concept: str) -> list[float]:
    return found.frame[found.frame["concept"] == concept].sort_values("features")["auc"].tolist()


def test_a_concept_of_one_feature_needs_one_and_a_concept_of_four_needs_four(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    values, labels = rng.standard_normal((2000, 40)), np.arange(2000) // 5
    one = np.flatnonzero(values[:, 11] > 1)
    four = np.flatnonzero(values[:, [1, 2, 3, 4]].sum(1) > 2)
    index, concepts = make(monkeypatch, values, labels, {"one": one, "four": four})
    found = localise(index, concepts)
    assert curve(found, "one")[0] > 0.99
    assert curve(found, "four")[0] < 0.85
    assert curve(found, "four")[2] > 0.99
    rows = found.frame[(found.frame["concept"] == "four") & (found.frame["features"] == 4)]
    assert set(rows["chosen"].iloc[0]) == {1, 2, 3, 4}
    assert (found.frame["split"] == "groups").all()


def test_objects_do_not_leak_between_the_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every object has a feature of its own, and nothing says which objects are of the concept."""
    rng = np.random.default_rng(3)
    labels = np.repeat(np.arange(16), 50)
    values = 5.0 * (labels[:, None] == np.arange(16)) + rng.standard_normal((800, 16))
    index, concepts = make(monkeypatch, values, labels, {"half": np.flatnonzero(labels % 2 == 0)})
    assert abs(curve(localise(index, concepts), "half")[-1] - 0.5) < 0.15
    leaking = localise(index, concepts, group=None)
    assert curve(leaking, "half")[-1] > 0.9


def test_a_concept_of_a_single_object_is_split_by_images_and_rare_ones_are_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(4)
    labels = np.arange(400) // 20
    values = rng.standard_normal((400, 10))
    values[labels == 3, 5] += 6
    index, concepts = make(
        monkeypatch, values, labels, {"object": np.flatnonzero(labels == 3), "rare": np.array([0, 399])}
    )
    found = localise(index, concepts)
    assert set(found.frame["split"]) == {"images"}
    assert curve(found, "object")[0] > 0.99
    assert found.left_out.to_numpy().tolist() == [["rare", "groups", 2]]
    with pytest.raises(ConceptError, match="no concept can be probed: rare: a half of the groups has fewer than 4 of"):
        localise(index, concepts, names=["rare"])
    with pytest.raises(ConceptError, match="no column 'class'"):
        localise(index, concepts, group="class")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ()}, "localisation: features is ()"),
        ({"features": (1, 0)}, "localisation: features.1 is 0: input should be greater than or equal to 1"),
        ({"images": 3}, "localisation: images is 3"),
        ({"seed": "0"}, "localisation: seed is '0': input should be a valid integer"),
    ],
)
def test_settings_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConceptError) as error:
        localise("nowhere", ConceptSet.from_sets({"a": ["1", "2"]}, ["1", "2", "3"]), **options)
    assert str(error.value).startswith(message)


def make_localisation() -> localisation.Localisation:
    """Probes of three concepts with one and two features in two layers."""
    rows = [
        (concept, layer, count, auc + 0.1 * (count - 1), auc - 0.05, [3, 1][:count], 20, 4, "groups")
        for layer in ("blocks.0", "<b>blocks.1</b>")
        for concept, auc in (("a", 0.5), ("b", 0.6), ("c", 0.8))
        for count in (1, 2)
    ]
    columns = ["concept", "layer", "features", "auc", "auc_low", "chosen", "positives", "groups", "split"]
    left_out = pd.DataFrame([("d", "images", 3)], columns=["concept", "split", "positives"])
    settings = {"model": "mini:clip", "layers": ["blocks.0", "<b>blocks.1</b>"], "seed": 0}
    return localisation.Localisation(pd.DataFrame(rows, columns=columns), left_out, settings)


def test_the_summary_is_over_the_concepts() -> None:
    summary = make_localisation().summary()
    assert summary[["layer", "features", "concepts"]].to_numpy().tolist() == [
        ["blocks.0", 1, 3], ["blocks.0", 2, 3], ["<b>blocks.1</b>", 1, 3], ["<b>blocks.1</b>", 2, 3],
    ]  # fmt: skip
    numbers = ["median_auc", "lower_quartile", "upper_quartile", "median_auc_low"]
    assert summary.loc[0, numbers].tolist() == pytest.approx([0.6, 0.55, 0.7, 0.55])


def test_a_localisation_is_saved_and_shown(tmp_path: Path) -> None:
    made = make_localisation()
    loaded = load_localisation(made.save(tmp_path / "localisation"))
    pd.testing.assert_frame_equal(loaded.frame, made.frame)
    pd.testing.assert_frame_equal(loaded.left_out, made.left_out)
    assert loaded.settings == made.settings
    assert repr(loaded) == "Localisation(mini:clip: 3 concepts in 2 layers, 1 left out)"
    html = loaded._repr_html_()
    assert "&lt;b&gt;blocks.1&lt;/b&gt;" in html
    assert "1 concept had too few images in a half" in html
    lines = made.figure().axes[0].get_lines()
    assert [line.get_ydata().tolist() for line in lines] == [pytest.approx([0.6, 0.7])] * 2
    with pytest.raises(OutputError, match=r"holds no localisation.json: make it with `localise\(INDEX, CONCEPTS\)"):
        load_localisation(tmp_path)
