import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from conceptprobe.concepts.scoring.judging import explain, judge, list_faults
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.hierarchy import Relations
from conceptprobe.concepts.statistics.nulls import Nulls, draw_nulls

K = 8
IMAGES = [f"i{n}" for n in range(1000)]


def make_tree() -> ConceptSet:
    """Ten upper nodes of ninety images, each of ten leaves of nine; a hundred images are in nothing."""
    sets = {f"super {i}": IMAGES[90 * i : 90 * i + 90] for i in range(10)}
    sets |= {f"leaf {i}": IMAGES[9 * i : 9 * i + 9] for i in range(100)}
    return ConceptSet.from_sets(sets, IMAGES, leaves=[f"leaf {i}" for i in range(100)])


LISTS = {
    "one leaf": [0, 1, 2, 3, 4, 5, 6, 7],
    "spread over an upper node": [0, 9, 18, 27, 36, 45, 54, 63],
    "two leaves of other upper nodes": [0, 1, 2, 3, 450, 451, 452, 453],
    "mostly one leaf of an upper node": [0, 1, 2, 3, 9, 18, 27, 36],
    "two leaves of an upper node": [0, 1, 2, 3, 10, 11, 12, 13],
    "anything": [5, 112, 220, 333, 444, 555, 666, 950],
    "nothing": [900, 910, 920, 930, 940, 950, 960, 970],
}


@pytest.fixture(scope="module")
def nulls() -> Nulls:
    lists = np.array([np.random.default_rng(f).permutation(1000)[:K] for f in range(len(LISTS))])
    return draw_nulls(lists, make_tree(), np.random.default_rng(0), draws=4000)


def verdicts(nulls: Nulls, **options: object) -> pd.DataFrame:
    frame = judge(np.array(list(LISTS.values())), Relations(make_tree()), nulls, **options).assign(fault_images=3)
    frame["reason"] = explain(frame, 0.05)
    return frame.set_index(pd.Index(LISTS))


def test_each_kind_gets_its_verdict_and_says_why(nulls: Nulls) -> None:
    frame = verdicts(nulls)
    assert frame["verdict"].tolist() == [
        "object", "conceptual", "polysemantic", "unresolved", "unresolved", "unresolved", "unresolved",
    ]  # fmt: skip
    expected = {
        "one leaf": "8 of 8 images are leaf 0, which is an object",
        "spread over an upper node": "8 of 8 images are super 0, spread over 8.0 objects",
        "two leaves of other upper nodes": "4 of 8 images are leaf 0, and 4 of 4 others are leaf 50",
        "nothing": "no concept has more of its images than chance would give",
    }
    assert frame["reason"].loc[list(expected)].to_dict() == expected
    assert "chance" not in frame["reason"]["anything"]
    assert "random lists may be too" in frame["reason"]["anything"]
    numbers = frame.loc["spread over an upper node"]
    assert (numbers["hits"], numbers["size"], numbers["kind"]) == (8, 90, "set")
    assert numbers["abstraction"] == pytest.approx(1 - np.log(1000 / 90) / np.log(1000 / 9))
    assert frame.loc["one leaf", "abstraction"] == 0


def test_a_strong_leaf_among_its_siblings_is_not_conceptual(nulls: Nulls) -> None:
    row = verdicts(nulls).loc["mostly one leaf of an upper node"]
    assert row["concept"] == "super 0"
    assert row["largest_leaf_share"] == 0.5
    assert row["reason"] == "8 of 8 images are super 0, but 50% of those are one object"


def test_few_leaves_of_a_broad_concept_are_not_conceptual(nulls: Nulls) -> None:
    rows = np.array([[0, 1, 2, 9, 10, 11, 18, 19]])
    alone = Nulls(K, nulls.random, (nulls.random,), np.zeros(1, np.int64))
    frame = judge(rows, Relations(make_tree()), alone)
    assert frame.loc[0, "verdict"] == "unresolved"
    assert frame.loc[0, "effective_leaves"] < frame.loc[0, "least_effective_leaves"]
    (reason,) = explain(frame, 0.05)
    assert reason.startswith("8 of 8 images are super 0, but spread over 3.0 objects, fewer than the")


def test_q_is_over_the_tested_features_and_the_largest_p(nulls: Nulls) -> None:
    p_visual_f = np.array([0.5, np.nan, 1e-3, 1e-3, 1e-3, 1e-3, 1e-3])
    dead_f = np.arange(len(LISTS)) == 2
    faults_f = np.array(["", "", "", "short", "", "", ""], object)
    frame = verdicts(nulls, p_visual_f=p_visual_f, dead_f=dead_f, faults_f=faults_f)
    tested = frame.iloc[[0, 1, 4, 5, 6]]
    expected = np.fmax(np.maximum(tested["p_random"], tested["p_hub"]), tested["p_visual"])
    np.testing.assert_allclose(tested["p"], expected)
    np.testing.assert_allclose(tested["q"], false_discovery_control(expected))
    assert frame["verdict"].tolist()[:4] == ["unresolved", "conceptual", "dead", "unresolved"]
    assert (
        frame["reason"].iloc[0]
        == f"8 of 8 images are leaf 0, as look-alikes may be too (p 0.5, q {frame['q'].iloc[0]:.2g})"
    )
    assert frame["reason"].iloc[2] == "its activations hardly vary"
    assert frame["reason"].iloc[3] == "only 3 images have a finite value, 8 are needed"
    assert frame.iloc[[2, 3]][["p_random", "p_hub", "p_visual", "p", "q"]].isna().all(axis=None)


def test_a_layer_of_dead_features(nulls: Nulls) -> None:
    assert set(verdicts(nulls, dead_f=np.ones(len(LISTS), bool))["verdict"]) == {"dead"}


def test_a_concept_within_one_leaf_is_an_object(nulls: Nulls) -> None:
    sets = {"leaf": IMAGES[:20], "part": IMAGES[:8], "other": IMAGES[20:40]}
    concepts = ConceptSet.from_sets(sets, IMAGES, leaves=["leaf", "other"])
    alone = Nulls(K, nulls.random, (nulls.random,), np.zeros(1, np.int64))
    frame = judge(np.arange(8)[None], Relations(concepts), alone)
    assert frame.loc[0, ["concept", "verdict", "abstraction"]].tolist() == ["part", "object", 0]


def test_k_may_be_more_than_a_leaf_has() -> None:
    rows_fk = np.concatenate([np.arange(9), [100, 300, 500, 700, 905, 910, 915]])[None]
    nulls = draw_nulls(rows_fk, make_tree(), np.random.default_rng(0), draws=1000)
    frame = judge(rows_fk, Relations(make_tree()), nulls)
    assert frame.loc[0, ["concept", "hits", "verdict"]].tolist() == ["leaf 0", 9, "object"]


def test_faults_of_lists() -> None:
    values = np.array(
        [
            [9.0, 8, 7, 6, 5, 4],
            [9, 8, 7, 0, 0, 0],
            [9, 8, 7, 7, 5, 4],
            [9, 0, 0, 0, 0, 0],
            [-1, -2, -3, -4, -5, -6],
            [5, 5, 5, 5, 5, 4],
            [9, 8, np.nan, np.nan, np.nan, np.nan],
        ]
    )
    rows = np.where(np.isnan(values), -1, np.arange(6))
    faults = list_faults(rows, values, 4)
    assert faults.fault_f.tolist() == ["", "", "", "tied", "", "tied", "short"]
    assert faults.images_f.tolist() == [0, 0, 0, 3, 0, 4, 2]


def test_ties_at_the_end_of_what_the_index_keeps() -> None:
    rows = np.tile(np.arange(4), (3, 1))
    values = np.array([[4.0, 3, 2, 1], [4, 3, 1, 1], [4, 0, 0, 0]])
    assert list_faults(rows, values, 4).fault_f.tolist() == ["", "tied", "tied"]
