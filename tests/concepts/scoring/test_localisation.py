from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.scoring import localisation
from conceptprobe.concepts.scoring.localisation import localise, probe
from conceptprobe.concepts.sets.concept_set import ConceptSet


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
    index = SimpleNamespace(
        images=pd.DataFrame({"id": ids, "label": labels}), choose_layers=lambda layers: ("layer",),
        sampled_rows=lambda images: np.arange(len(ids))[:images],
        activations=lambda _layer, rows: values[rows].astype(np.float32),
    )  # fmt: skip
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
    assert "fewer than 4" in found.left_out["rare"]
    with pytest.raises(ConceptError, match="no concept can be probed: rare"):
        localise(index, concepts, names=["rare"])
    with pytest.raises(ConceptError, match="no column 'class'"):
        localise(index, concepts, group="class")
