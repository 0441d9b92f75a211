"""What was planted is found, and where nothing was planted nothing is; the full sizes are in benchmarks/."""

import numpy as np
import pandas as pd
import pytest

from false_discoveries import FEATURES, WORLDS, Q, discoveries
from planted_features import plant, summary, verdicts_of

EACH = 60


@pytest.fixture(scope="module")
def found() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return summary(verdicts_of(plant(EACH, 50, rng), 40, rng, draws=20_000))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "verdict"),
    [("leaf", "object"), ("mid", "conceptual"), ("super", "conceptual"), ("thematic", "conceptual")],
)
def test_planted_concepts_are_found_at_their_level(found: pd.DataFrame, kind: str, verdict: str) -> None:
    assert found.loc[kind, "right concept"] >= 0.95
    assert found.loc[kind, verdict] >= 0.95
    assert found.loc[kind, "polysemantic"] <= 0.02


@pytest.mark.slow
def test_planted_polysemantic_features_are_found(found: pd.DataFrame) -> None:
    assert (found.loc[["two leaves", "two mids"], "polysemantic"] >= 0.95).all()


@pytest.mark.slow
def test_a_leaf_with_weaker_siblings_is_never_conceptual(found: pd.DataFrame) -> None:
    assert found.loc["graded leaf", "conceptual"] <= 0.02
    assert found.loc["graded leaf", "polysemantic"] <= 0.02


@pytest.mark.slow
def test_noise_and_dead_features(found: pd.DataFrame) -> None:
    assert found.loc["noise", "unresolved"] >= 1 - Q
    assert found.loc["dead", "dead"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
def test_features_without_meaning_are_not_called(world: str) -> None:
    seeds = {"looks": 20, "look-alikes": 10}.get(world, 40)
    share = np.mean([discoveries(world, seed) > 0 for seed in range(seeds)])
    assert share <= Q + 2 * np.sqrt(Q * (1 - Q) / seeds)


@pytest.mark.slow
@pytest.mark.parametrize(("world", "without"), [("hubs", "hubs"), ("look-alikes", "looks"), ("dead", "faults")])
def test_each_repair_is_needed(world: str, without: str) -> None:
    assert np.mean([discoveries(world, seed, without) for seed in range(4)]) > 0.1 * FEATURES
