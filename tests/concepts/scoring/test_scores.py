import json
from pathlib import Path

import numpy as np
import pytest

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.looks.method import describe_looks
from conceptprobe.concepts.scoring.scores import FeatureScores, load_scores, score_features
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.errors import OutputError
from conceptprobe.indexing import Index, IndexingError, index_activations
from conceptprobe.intervals import wilson_interval

N, LEAVES = 400, 40
IDS = [f"i{n:03d}" for n in range(N)]
NAMES = ("leaf", "upper", "noise", "constant", "three", "negative leaf")


def activations(seed: int = 0) -> np.ndarray:
    """Features that respond to a leaf, an upper node, nothing; a constant, one that is on for three images, and one
    that is never above 0 and highest for a leaf; ten times with other noise, float32 [n,60]."""
    rng = np.random.default_rng(seed)
    columns = []
    for _ in range(10):
        acts_nf = rng.normal(0, 0.3, (N, len(NAMES)))
        acts_nf[:10, 0] += 5
        acts_nf[100:200, 1] += 5
        acts_nf[:, 3] = 1
        acts_nf[:, 4] = 0
        acts_nf[[7, 180, 300], 4] = 1 + rng.random(3)
        acts_nf[390:, 5] += 5
        acts_nf[:, 5] -= 20
        columns.append(acts_nf)
    return np.concatenate(columns, axis=1).astype(np.float32)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return index_activations(activations(), IDS, tmp_path_factory.mktemp("scores") / "index", layer="sae", k=40)


@pytest.fixture(scope="module")
def concepts() -> ConceptSet:
    sets = {f"leaf {i}": IDS[10 * i : 10 * i + 10] for i in range(LEAVES)}
    sets |= {f"upper {i}": IDS[100 * i : 100 * i + 100] for i in range(4)}
    return ConceptSet.from_sets(sets, IDS)


@pytest.fixture(scope="module")
def scores(index: Index, concepts: ConceptSet) -> FeatureScores:
    return score_features(index, concepts, draws=2000, visual=None)


def test_every_feature_has_a_row_and_its_verdict(scores: FeatureScores) -> None:
    frame = scores.frame
    assert frame["feature"].tolist() == list(range(60))
    verdicts = frame["verdict"].to_numpy().reshape(10, 6)
    expected = ("object", "conceptual", "unresolved", "dead", "unresolved", "object")
    for name, column, verdict in zip(NAMES, verdicts.T, expected, strict=True):
        assert set(column) == {verdict}, name
    assert frame.loc[0, "concept"] == "leaf 0"
    assert frame.loc[1, "concept"] == "upper 1"
    assert frame.loc[5, "concept"] == "leaf 39"
    assert frame.loc[4, ["fault", "fault_images"]].tolist() == ["tied", 7]
    assert frame.loc[[0, 3], "fault"].tolist() == ["", "tied"]
    assert frame.loc[4, "reason"] == "7 of the 10 images have the same value as images outside the list"
    assert frame["tested"].sum() == 40
    assert frame.loc[frame["tested"], ["p_random", "p_hub", "p", "q"]].notna().all(axis=None)
    assert (frame[["layer", "index", "pooling"]] == ["sae", "index", scores.settings["pooling"]]).all(axis=None)


def test_settings_and_words(scores: FeatureScores) -> None:
    assert (
        repr(scores)
        == "FeatureScores(external, k 10: 20 object, 10 conceptual, 0 polysemantic, 20 unresolved, 10 dead)"
    )
    assert scores.settings["k"] == 10  # the median leaf
    assert scores.settings["looks"] == {"method": None, "descriptors": None, "reason": "off", "error": None}
    assert describe_looks(scores.settings["looks"]) == "not tested by choice"
    assert scores.settings["concepts"]["count"] == 44


def test_the_curve_has_every_length_that_the_index_allows(scores: FeatureScores) -> None:
    assert sorted(scores.curve["k"].unique()) == scores.settings["curve"] == [5, 10, 20, 40]
    upper = scores.curve[scores.curve["feature"] == 1]
    assert upper["concept"].tolist() == ["upper 1"] * 4
    leaf = scores.curve[scores.curve["feature"] == 0].set_index("k")
    assert leaf.loc[[5, 10], "concept"].tolist() == ["leaf 0"] * 2
    assert leaf.loc[40, "hits"] == 10


def test_summary_has_wilson_intervals_of_the_tested(scores: FeatureScores) -> None:
    rows = scores.summary().set_index("verdict")
    assert rows["count"].to_dict() == {
        "object": 20, "conceptual": 10, "polysemantic": 0, "unresolved": 10, "dead": 10, "untested": 10,
    }  # fmt: skip
    assert rows["of"].tolist() == [40, 40, 40, 40, 60, 60]
    assert rows.loc["object", ["share", "low", "high"]].tolist() == [0.5, *wilson_interval(0.5, 40)]
    assert rows.loc["dead", ["share", "low", "high"]].tolist() == [1 / 6, *wilson_interval(1 / 6, 60)]


def test_equal_scores_are_equal_bytes_and_load_again(
    scores: FeatureScores, index: Index, concepts: ConceptSet, tmp_path: Path
) -> None:
    again = score_features(index, concepts, draws=2000, visual=None)
    for folder, made in (("a", scores), ("b", again)):
        made.save(tmp_path / folder)
    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["curve.parquet", "features.parquet", "scores.json"]
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    loaded = load_scores(tmp_path / "a")
    assert loaded.settings == scores.settings
    assert loaded.frame.drop(columns=["concept", "second_concept"]).equals(
        scores.frame.drop(columns=["concept", "second_concept"])
    )
    assert repr(loaded) == repr(scores)


def test_another_seed_draws_other_lists(scores: FeatureScores, index: Index, concepts: ConceptSet) -> None:
    other = score_features(index, concepts, draws=2000, visual=None, seed=1)
    assert not other.frame["p_random"].equals(scores.frame["p_random"])
    assert other.frame["llr"].equals(scores.frame["llr"])


def test_features_of_looks_are_not_called(index: Index, concepts: ConceptSet) -> None:
    looks_nv = np.random.default_rng(1).normal(0, 0.2, (N, 6))
    looks_nv[100:200, 0] += 3  # the upper node looks alike, and no leaf does
    frame = score_features(index, concepts, draws=2000, visual=looks_nv).frame
    verdicts = frame["verdict"].to_numpy().reshape(10, 6)
    assert set(verdicts[:, 1]) == {"unresolved"}
    assert set(verdicts[:, 0]) == set(verdicts[:, 5]) == {"object"}
    assert frame.loc[1, "p_visual"] > 0.05 >= frame.loc[1, "p_hub"]
    assert "as look-alikes may be too" in frame.loc[1, "reason"]


def test_without_vectors_looks_are_tested_by_lists_alone(concepts: ConceptSet, tmp_path: Path) -> None:
    index = index_activations(activations(), IDS, tmp_path / "bare", layer="sae", k=40, vectors=False)
    looks_nv = np.random.default_rng(1).normal(0, 0.2, (N, 6))
    looks_nv[100:200, 0] += 3
    scores = score_features(index, concepts, draws=2000, visual=looks_nv)
    assert scores.settings["looks"] == {"method": "alike", "descriptors": "array", "reason": None, "error": None}
    assert describe_looks(scores.settings["looks"]) == "lists of images alike in the descriptors of the user"
    asked = scores.frame["p_visual"].dropna()
    assert set(scores.frame.loc[asked.index, "feature"] % 6) >= {0, 1, 5}
    assert asked.between(1 / 1001, 1).all()
    assert scores.frame.loc[1, "p_visual"] > 0.05


def test_images_that_cannot_be_read_are_said(index: Index, concepts: ConceptSet) -> None:
    scores = score_features(index, concepts, draws=200)
    looks = scores.settings["looks"]
    assert (looks["method"], looks["reason"]) == (None, "unreadable")
    assert describe_looks(looks) == f"not tested, because the images cannot be read: {looks['error']}"
    assert scores.frame["p_visual"].isna().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 41}, "k is 41: it must be from 2 to 40"),
        ({"k": 1}, "scores: k is 1: input should be greater than or equal to 2"),
        ({"k": "20"}, "scores: k is '20': input should be a valid integer"),
        ({"q": 0}, "scores: q is 0: input should be greater than 0"),
        ({"draws": 10}, "scores: draws is 10: input should be greater than or equal to 100"),
        ({"seed": -1}, "scores: seed is -1"),
        ({"visual": "hog"}, "visual is 'hog'"),
        ({"visual": np.zeros((3, 2))}, "visual has shape \\(3, 2\\): it must be finite, with 400 rows"),
    ],
)
def test_what_is_out_of_range_is_refused(
    index: Index, concepts: ConceptSet, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ConceptError, match=message):
        score_features(index, concepts, **options)


def test_unknown_layers_and_concepts_of_other_images_are_refused(index: Index, concepts: ConceptSet) -> None:
    with pytest.raises(IndexingError, match=r"no layer 'blocks\.1'"):
        score_features(index, concepts, layers="blocks.1")
    with pytest.raises(IndexingError, match="no pooling"):
        score_features(index, concepts, pooling="max")
    other = ConceptSet.from_sets({"a": IDS[:3]}, IDS[:10])
    with pytest.raises(ConceptError, match=r"the concepts are over 10 images, .* has 400"):
        score_features(index, other)
    with pytest.raises(ConceptError, match="nothing is known of what the 400 images show"):
        score_features(index)


def test_few_images(tmp_path: Path) -> None:
    ids = IDS[:12]
    index = index_activations(activations()[:12], ids, tmp_path / "few", layer="sae", k=40)
    concepts = ConceptSet.from_sets({"a": ids[:4], "b": ids[4:9]}, ids)
    with pytest.raises(ConceptError, match="has 12 images, too few to choose k"):
        score_features(index, concepts)
    with pytest.raises(ConceptError, match="k is 12: it must be from 2 to 11"):
        score_features(index, concepts, 12)
    assert len(score_features(index, concepts, 4, draws=200, visual=None)) == 60


def test_folders_without_scores_are_refused(scores: FeatureScores, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"holds no scores\.json"):
        load_scores(tmp_path)
    folder = scores.save(tmp_path / "scores")
    settings = json.loads((folder / "scores.json").read_text())
    (folder / "scores.json").write_text(json.dumps({**settings, "schema_version": 99}))
    with pytest.raises(OutputError, match="schema version 99"):
        load_scores(folder)
    (folder / "scores.json").write_text("{")
    with pytest.raises(OutputError, match="is damaged"):
        load_scores(folder)
