import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.stats import binom
from typer.testing import CliRunner

import contrast_coverage as simulation
from conceptprobe.cli.main import app
from conceptprobe.concepts.comparison.contrast import Contrast, contrast, load_contrast
from conceptprobe.concepts.comparison.coverage import Lists, concept_states, power_to_find
from conceptprobe.concepts.comparison.intervals import Measure, binomial, estimate
from conceptprobe.concepts.comparison.layer_pairs import check_comparable, feature_vectors, pair_layers
from conceptprobe.concepts.comparison.matched_difference import matched_difference, strata_of
from conceptprobe.concepts.comparison.resampling import Plan, sublists
from conceptprobe.concepts.errors import ContrastError
from conceptprobe.concepts.scoring.scores import FeatureScores, score_features
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.statistics.enrichment import log_likelihood_ratio
from conceptprobe.images import ImageSource, load_images
from conceptprobe.indexing import Index, build_index
from conceptprobe.indexing.storage.manifest import SourceEntry
from conceptprobe.models import load_model

pytestmark = pytest.mark.slow

IMAGES = 200
K = 30
LAYERS = "blocks[-2:].mlp.hidden"


@pytest.fixture(scope="module")
def images() -> ImageSource:
    """Some emoji: all of a few subgroups, whose labels, tags, subgroups and groups are concepts."""
    source = load_images("mini:emoji")
    groups = source.table["subgroup"].to_pylist()
    wanted = [row for row, name in enumerate(groups) if name in ("cat-face", "musical-instrument", "heart", "zodiac")]
    return source.subset(wanted[:IMAGES])


@pytest.fixture(scope="module")
def twins(images: ImageSource, tmp_path_factory: pytest.TempPathFactory) -> list[Index]:
    folder = tmp_path_factory.mktemp("indices")
    return [
        build_index(load_model(f"mini:{name}", device="cpu"), images, LAYERS, folder / name, k=K, workers=0)
        for name in ("clip", "supervised")
    ]


@pytest.fixture(scope="module")
def scores(twins: list[Index]) -> list[FeatureScores]:
    return [score_features(index, visual=None, draws=1000) for index in twins]


@pytest.fixture(scope="module")
def result(twins: list[Index], scores: list[FeatureScores]) -> Contrast:
    return contrast(*twins, scores=scores, resamples=8)


def measure(value_f: np.ndarray, value_bf: np.ndarray | None = None, scale: float = 1.0) -> Measure:
    value_bf = np.tile(value_f, (2, 1)) if value_bf is None else value_bf
    return Measure(value_f, np.ones_like(value_f), value_bf, np.ones_like(value_bf), scale, is_rate=False)


# The interval.


def test_the_variance_between_clusters_is_that_of_a_cluster_bootstrap() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 7, 150)
    cluster_f = np.repeat(np.arange(150), sizes)
    value_f = (rng.random(150) < 0.4)[cluster_f] * (rng.random(len(cluster_f)) < 0.9) * 1.0
    sign_f = np.where(rng.random(len(cluster_f)) < 0.5, 1, -1)  # clusters of both models
    drawn = []
    for _ in range(3000):
        weight_f = np.bincount(rng.integers(150, size=150), minlength=150)[cluster_f]
        means = [np.average(value_f[sign_f == sign], weights=weight_f[sign_f == sign]) for sign in (1, -1)]
        drawn.append(means[0] - means[1])
    result = estimate(measure(value_f), sign_f, cluster_f)
    assert result.value == pytest.approx(value_f[sign_f == 1].mean() - value_f[sign_f == -1].mean())
    assert result.se == pytest.approx(np.std(drawn), rel=0.05)
    assert result.se_images == 0


def test_of_the_variance_between_images_only_what_clusters_share_is_added() -> None:
    rng = np.random.default_rng(1)
    cluster_f, sign_f = np.repeat(np.arange(40), 2), np.repeat([1, -1], 40)
    shared_b = rng.standard_normal((4000, 1))
    own_bf = rng.standard_normal((4000, 40))[:, cluster_f]
    leaning_f = np.where(sign_f == 1, 0.5, 0.0)
    value_bf = leaning_f * shared_b + own_bf
    means_b = value_bf[:, :40].mean(1) - value_bf[:, 40:].mean(1)
    per_cluster = sum(
        (value_bf[:, cluster_f == g] * np.where(sign_f == 1, 1, -1)[cluster_f == g]).sum(1).var(ddof=1) / 40**2
        for g in range(40)
    )
    result = estimate(measure(np.zeros(80), value_bf, scale=3.0), sign_f, cluster_f)
    assert result.se_images**2 == pytest.approx(3 * (means_b.var(ddof=1) - per_cluster))
    pairs = 1 - 1 / 20  # of the 20 clusters that lean, those of a cluster with itself are left out
    assert result.se_images == pytest.approx(np.sqrt(3 * 0.5**2 * pairs), rel=0.05)


def test_the_same_features_in_both_models_do_not_differ_at_all() -> None:
    value_f = np.tile(np.random.default_rng(2).random(30), 2)
    result = estimate(measure(value_f), np.repeat([1, -1], 30), np.tile(np.arange(30), 2))
    assert (result.value, result.se) == (pytest.approx(0), pytest.approx(0))


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.2, 0.3])
def test_p_is_that_of_the_interval(shift: float) -> None:
    value_f = (np.random.default_rng(5).random(200) < np.repeat([0.3 + shift, 0.3], 100)).astype(float)
    result = estimate(measure(value_f), np.repeat([1, -1], 100), np.arange(200))
    freedom = 198
    assert result.p == pytest.approx(2 * stats.t.sf(abs(result.value) / result.se, freedom))
    assert (result.p < 0.05) == (result.low > 0 or result.high < 0)
    assert estimate(measure(np.zeros(10)), np.repeat([1, -1], 5), np.arange(10)).p == 1


def test_no_case_among_few_features_is_not_surely_none() -> None:
    none = dataclasses.replace(measure(np.zeros(100)), is_rate=True)
    sign_f = np.repeat([1, -1], 50)
    assert binomial(none, sign_f).se == 0
    # Agresti and Caffo's interval for 0 of 50 against 0 of 50, without the shift of its centre.
    share, size = 1 / 52, 52
    variance = 2 * (50 * share**2 + share**2 + (1 - share) ** 2) / size**2
    assert estimate(none, sign_f, np.arange(100)).se == pytest.approx(np.sqrt(variance))


def test_nothing_to_count_gives_nothing() -> None:
    empty = dataclasses.replace(measure(np.zeros(10)), counts_f=np.repeat([1.0, 0.0], 5))
    assert np.isnan(estimate(empty, np.repeat([1, -1], 5), np.arange(10)).value)
    assert np.isnan(binomial(empty, np.repeat([1, -1], 5)).value)


def test_intervals_hold_0_when_a_model_is_dealt_out_at_random() -> None:
    rows = simulation.split(400, np.random.default_rng(3), clusters=200, models=2, resamples=30, branches=6)
    for how, result in rows.items():
        assert 0.93 <= simulation.coverage(result, 0.0) <= 0.985, how
    naive = np.abs(rows["by clusters"][:, 0]) <= 1.96 * rows["by clusters"][:, 5]
    assert naive.mean() < 0.85  # independent features would be too sure


def test_a_difference_of_10_points_is_found() -> None:
    rows = simulation.power(200, np.random.default_rng(4), pools=1, resamples=20, branches=7)
    assert np.mean(rows[:, 1] > 0) >= 0.8
    assert 0.05 < rows[:, 0].mean() < 0.11


# Images.


@given(
    rows=st.lists(st.lists(st.integers(-1, 19), min_size=6, max_size=6), min_size=1, max_size=5),
    kept=st.sets(st.integers(0, 19)), k=st.integers(1, 6),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_sublists_are_the_first_kept_images(rows: list[list[int]], kept: set[int], k: int) -> None:
    rows = [list(dict.fromkeys(row for row in ids if row >= 0)) for ids in rows]
    rows_fk = np.array([ids + [-1] * (6 - len(ids)) for ids in rows])
    keep_n = np.isin(np.arange(20), list(kept))
    expected = [[row for row in ids if row in kept][:k] for ids in rows]
    np.testing.assert_array_equal(sublists(rows_fk, keep_n, k), [ids + [-1] * (k - len(ids)) for ids in expected])


def test_resamples_keep_a_share_of_the_images_and_scale_to_new_ones() -> None:
    plan = Plan.of(1000, 8, seed=0)
    assert (plan.k, plan.kept) == (6, 750)
    values = np.random.default_rng(0).standard_normal(1000)
    means = [values[plan.keep(b)].mean() for b in range(2000)]
    assert plan.keep(0).sum() == 750
    assert plan.scale * np.var(means) == pytest.approx(values.var() / 1000, rel=0.1)
    assert not np.array_equal(plan.keep(0), plan.keep(1))
    np.testing.assert_array_equal(plan.keep(5), Plan.of(1000, 8, seed=0).keep(5))


def test_repeated_images_would_look_like_enrichment_and_a_part_of_them_does_not() -> None:
    repeated, kept = simulation.twice(np.random.default_rng(5), features=500)
    assert repeated > 0.2
    assert kept <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 500)


# Strata.


def all_labellings(value_f: np.ndarray, sign_f: np.ndarray) -> list[float]:
    labellings = set(itertools.permutations(sign_f.tolist()))
    return [value_f[np.array(s) == 1].mean() - value_f[np.array(s) == -1].mean() for s in labellings]


def test_permuted_labels_give_the_exact_p_of_a_small_table() -> None:
    value_f, sign_f = np.array([1, 1, 1, 0, 1, 0, 0, 0.0]), np.repeat([1, -1], 4)
    every = all_labellings(value_f, sign_f)
    exact = np.mean(np.abs(every) >= 0.5 - 1e-12)
    result = matched_difference(
        value_f, np.ones(8), sign_f, np.arange(8), np.zeros(8, int), np.random.default_rng(0), 20_000
    )
    assert result.value == pytest.approx(0.5)
    assert result.p == pytest.approx(exact, abs=0.012)


def test_a_difference_that_firing_rates_explain_goes_away_within_strata() -> None:
    rng = np.random.default_rng(1)
    sign_f = np.where(rng.random(3000) < 0.5, 1, -1)
    rate_f = rng.random(3000) ** np.where(sign_f == 1, 1.0, 2.0)
    stratum_f = strata_of(np.zeros(3000), rate_f)
    value_f = (rng.random(3000) < 0.2 + 0.15 * (stratum_f % 5)).astype(float)
    crude = value_f[sign_f == 1].mean() - value_f[sign_f == -1].mean()
    result = matched_difference(value_f, np.ones(3000), sign_f, np.arange(3000), stratum_f, rng)
    assert crude > 0.08
    assert abs(result.value) < 0.05
    assert result.p > 0.05
    assert result.low < 0 < result.high


def test_the_interval_within_strata_leaves_out_0_where_permuted_labels_do() -> None:
    rng = np.random.default_rng(6)
    sign_f, stratum_f = np.tile([1, -1], 100), np.repeat(np.arange(4), 50)
    for shift in np.linspace(0, 0.4, 9):
        value_f = (rng.random(200) < 0.3 + shift * (sign_f == 1)).astype(float)
        result = matched_difference(value_f, np.ones(200), sign_f, np.arange(200), stratum_f, rng)
        assert (result.low + result.high) / 2 == pytest.approx(result.value)
        if result.low > 0 or result.high < 0:
            assert result.p <= 0.05


def test_redundant_features_count_as_one_for_p() -> None:
    value_f = np.repeat([1, 1, 0, 0, 0, 0.0], 20)
    sign_f, cluster_f = np.repeat([1, -1], 60), np.repeat(np.arange(6), 20)
    rng = np.random.default_rng(2)
    together = matched_difference(value_f, np.ones(120), sign_f, cluster_f, np.zeros(120, int), rng)
    apart = matched_difference(value_f, np.ones(120), sign_f, np.arange(120), np.zeros(120, int), rng)
    assert together.p == pytest.approx(0.4, abs=0.05)  # both in A, or both in B: 2 * 3 of 15 ways
    assert apart.p < 0.001


def test_a_cluster_of_both_models_has_its_sides_exchanged() -> None:
    value_f, sign_f = np.tile([1.0, 0.0], 10), np.tile([1, -1], 10)
    result = matched_difference(
        value_f, np.ones(20), sign_f, np.repeat(np.arange(10), 2), np.zeros(20, int), np.random.default_rng(3), 50_000
    )
    assert result.value == pytest.approx(1)
    assert result.p == pytest.approx(2 / 2**10, abs=0.0007)


# Concepts.


def planted_lists() -> tuple[ConceptSet, Lists]:
    ids = [str(row) for row in range(60)]
    concepts = ConceptSet.from_sets(
        {"cat": ids[:6], "dog": ids[6:12], "pet": ids[:12], "car": ids[20:26]}, ids, leaves=["cat", "dog", "car"]
    )
    rows_fk = np.array([[0, 1, 2, 3], [6, 7, 8, 30], [40, 41, 42, 43], [20, 21, 22, 44]])
    scores = pd.DataFrame(
        {
            "layer": "layer", "feature": [0, 1, 2, 3], "concept": ["cat", "dog", None, "car"],
            "verdict": ["object", "object", "unresolved", "unresolved"], "tested": [True, True, True, True],
            "q": [0.01, 0.02, 1.0, 0.2], "llr": [9.0, 6.0, 0.0, 6.0],
        }
    )  # fmt: skip
    return concepts, Lists(rows_fk, scores)


def test_a_concept_is_held_by_a_significant_feature_that_it_explains_best() -> None:
    concepts, lists = planted_lists()
    table = concept_states("model", [lists], concepts).set_index("concept")
    assert table["state"].to_dict() == {"cat": "held", "dog": "held", "pet": "enriched", "car": "enriched"}
    assert table["held"].to_dict() == {"cat": 1, "dog": 1, "pet": 0, "car": 0}
    assert table["feature"].to_dict() == {"cat": 0, "dog": 1, "pet": 0, "car": 3}
    assert table["hits"].to_dict() == {"cat": 4, "dog": 3, "pet": 4, "car": 3}
    assert table.loc["dog", "llr"] == pytest.approx(float(log_likelihood_ratio(3, 4, 6, 60)))


def test_a_model_whose_features_cannot_be_tested_holds_nothing() -> None:
    concepts, lists = planted_lists()
    untested = lists.scores.assign(tested=False, concept=None, verdict="dead")
    table = concept_states("model", [Lists(lists.rows_fk, untested)], concepts)
    assert (table["state"] == "none").all()
    assert table["feature"].isna().all()


def test_power_is_the_chance_that_a_feature_as_strong_is_found() -> None:
    table = pd.DataFrame({"k": [8, 8, 8], "size": [6, 6, 600]})
    least = float(log_likelihood_ratio(4, 8, 6, 6000))
    result = power_to_find(table, np.array([6.0, np.nan, 6.0]), least, 6000)
    assert result[0] == pytest.approx(binom.sf(3, 8, 6 / 8))
    assert np.isnan(result[1])
    assert result[2] < result[0]  # a broad concept needs more hits
    assert np.isnan(power_to_find(table, np.full(3, 6.0), np.nan, 6000)).all()


# All of it, on a few emoji.


def told_in_text(summary: pd.DataFrame) -> pd.Series:
    """The rows that the text has a sentence for: all layers together, and the conceptual features of each layer."""
    return (summary["layer"] == "all") | (summary["measure"] == "conceptual")


def more_points(summary: pd.DataFrame) -> pd.Series:
    return (summary["measure"] != "abstraction") & (summary["difference"] > 0)


def test_contrast_of_the_twins(twins: list[Index], result: Contrast, tmp_path: Path) -> None:
    assert set(result.frame["layer"]) == {*twins[0].layers, "all"}
    row = result.frame.iloc[0]
    value = result.models.set_index(["model", "layer", "measure"])["value"]
    assert row["a"] == value["mini:clip", row["layer"], row["measure"]]
    np.testing.assert_allclose(result.frame["difference"], result.frame["a"] - result.frame["b"])
    known = result.frame[result.frame["p"].notna()]
    assert ((known["p"] < 0.05) == ((known["low"] > 0) | (known["high"] < 0))).all()
    assert (known["q"] >= known["p"]).all()
    assert result.frame["matched_difference"].between(result.frame["matched_low"], result.frame["matched_high"]).all()
    assert ((result.frame["low"] <= result.frame["difference"]) | result.frame["low"].isna()).all()
    rates = result.models[result.models["measure"] != "abstraction"].groupby(["model", "layer"])["value"].sum()
    np.testing.assert_allclose(rates, 1)
    assert (result.models["features"] == result.models[["tested", "dead", "untested"]].sum(axis=1)).all()
    assert set(result.matches["side"]) == {"a", "b"}
    text = result.text()
    assert "mini:clip against mini:supervised" in text
    assert "that mini:supervised was trained to tell apart" in text
    summary = result.summary()
    assert text.count(" at similar firing rates in a layer: ") == (summary["layer"] == "all").sum()
    assert text.count("no difference is shown") == int((~summary["shown"] & told_in_text(summary)).sum())
    assert text.count(" points more") == int((summary["shown"] & told_in_text(summary) & more_points(summary)).sum())
    folder = result.save(tmp_path / "contrast")
    assert json.loads((folder / "contrast.json").read_text())["settings"]["models"] == ["mini:clip", "mini:supervised"]
    again = load_contrast(folder)
    for name in ("frame", "models", "concepts", "matches"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(result, name))
    assert again.text() == text


def test_contrast_is_the_same_again(twins: list[Index], scores: list[FeatureScores], result: Contrast) -> None:
    again = contrast(*twins, scores=scores, resamples=8)
    for name in ("frame", "models", "concepts", "matches"):
        pd.testing.assert_frame_equal(getattr(again, name), getattr(result, name))


def test_a_model_does_not_differ_from_itself_among_three(
    twins: list[Index], scores: list[FeatureScores], images: ImageSource, tmp_path: Path
) -> None:
    copy = build_index(load_model("mini:clip", device="cpu"), images, LAYERS, tmp_path / "copy", k=K, workers=0)
    same = contrast(twins[0], copy, twins[1], scores=[scores[0], *scores], resamples=4, match=False)
    rows = same.frame[same.frame["model_b"] == str(copy.path)]
    assert (rows["difference"].dropna() == 0).all()
    assert rows.loc[rows["measure"] == "abstraction", "se"].max() < 1e-12  # the very same features, drawn together
    assert len(same.frame) == 2 * len(rows)
    assert set(same.models["model"]) == {str(index.path) for index in (twins[0], copy, twins[1])}


def test_vectors_of_features_correlate_as_their_activations(twins: list[Index]) -> None:
    layer = twins[0].layers[0]
    vectors = feature_vectors(twins[0], layer)
    values = twins[0].activations(layer)
    live = np.flatnonzero(values.std(0) > 1e-6)[:20]
    np.testing.assert_allclose(vectors[live] @ vectors[live].T, np.corrcoef(values[:, live].T), atol=1e-4)


def test_command_line(twins: list[Index], scores: list[FeatureScores], tmp_path: Path) -> None:
    paths = [str(index.path) for index in twins]
    score_options = []
    for number, score in enumerate(scores):
        score_options += ["--scores", str(score.save(tmp_path / str(number)))]
    options = ["--out", str(tmp_path / "out"), "--resamples", "3", "--no-match"]
    result = CliRunner().invoke(app, ["contrast", *paths, *score_options, *options])
    assert result.exit_code == 0, result.output
    assert "conceptual features" in result.output
    assert (tmp_path / "out" / "summary.txt").read_text().strip() in result.output
    result = CliRunner().invoke(app, ["contrast", *paths, *score_options, "--resamples", "3", "--no-match", "--json"])
    assert len(json.loads(result.stdout)["differences"]) == 15
    assert CliRunner().invoke(app, ["contrast", paths[0]]).exit_code == 2
    assert CliRunner().invoke(app, ["contrast", *paths, *score_options, "-k", "8"]).exit_code == 2


@pytest.mark.slow  # makes the scores itself, and holds features against looks
def test_command_line_with_concepts_of_ones_own(twins: list[Index], tmp_path: Path) -> None:
    themes = tmp_path / "themes.json"
    themes.write_text(json.dumps({"love": ["red heart", "broken heart"], "strings": ["violin", "guitar", "banjo"]}))
    options = ["--concepts", str(themes), "--out", str(tmp_path / "out"), "--resamples", "3", "--no-match"]
    result = CliRunner().invoke(app, ["contrast", *(str(index.path) for index in twins), *options])
    assert result.exit_code == 0, result.output
    assert {"love", "strings"} <= set(pd.read_parquet(tmp_path / "out" / "concepts.parquet")["concept"])


# Bad input.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": SourceEntry("folder:other", "0" * 64, "white")}, "differ in images"),
        ({"k": 7}, "differ in k: 30 and 7"),
        ({"pooling": ("cls",)}, "the indices share none"),
    ],
)
def test_indices_that_cannot_be_compared_are_refused(twins: list[Index], change: dict, message: str) -> None:
    other = Index(twins[1].path, dataclasses.replace(twins[1].manifest, **change))
    with pytest.raises(ContrastError, match=message):
        check_comparable([twins[0], other])


def test_layers_are_paired_by_name_by_depth_or_by_hand(twins: list[Index]) -> None:
    def renamed(layers: list[str]) -> Index:
        entry = next(iter(twins[1].manifest.layers.values()))
        return Index(twins[1].path, dataclasses.replace(twins[1].manifest, layers=dict.fromkeys(layers, entry)))

    a, b = twins[0], twins[1]
    first, last = a.layers
    assert pair_layers([a, b]) == ((first, first), (last, last))
    deep = [f"blocks.{i}.mlp.hidden" for i in (8, 9, 10, 11)]
    assert pair_layers([a, renamed(deep)]) == ((first, deep[1]), (last, deep[3]))
    assert pair_layers([renamed(deep), a]) == ((deep[1], first), (deep[3], last))
    with pytest.raises(ContrastError, match="do not pair"):
        pair_layers([a, renamed(["blocks.5.resid"])])
    assert pair_layers([a, renamed(["blocks.5.resid"])], [(last, "blocks.5.resid")]) == ((last, "blocks.5.resid"),)
    with pytest.raises(ContrastError, match=r"no layer 'blocks\.99\.resid'"):
        pair_layers([a, b], [(first, "blocks.99.resid")])
    with pytest.raises(ContrastError, match="1 layers for 2 indices"):
        pair_layers([a, b], [(first,)])


def test_scores_that_do_not_belong_are_refused(twins: list[Index], scores: list[FeatureScores]) -> None:
    few = ConceptSet.from_sets({"some": list(twins[0].images["id"][:9])}, twins[0].images["id"])
    other_k = score_features(twins[1], k=9, visual=None, draws=1000)
    with pytest.raises(ContrastError, match="give both in the same order"):
        contrast(*twins, scores=scores[::-1])
    with pytest.raises(ContrastError, match="by other concepts"):
        contrast(*twins, concepts=few, scores=scores)
    with pytest.raises(ContrastError, match="k of the scores differ: 8 and 9"):
        contrast(*twins, scores=[scores[0], other_k])
    with pytest.raises(ContrastError, match="1 scores for 2 indices"):
        contrast(*twins, scores=scores[:1])
    with pytest.raises(ContrastError, match="1 index was given"):
        check_comparable(twins[:1])
    with pytest.raises(ContrastError, match="is given twice: give indices of different models"):
        contrast(twins[0], twins[0].path, scores=[scores[0]] * 2)
    with pytest.raises(ContrastError, match="resamples is 1"):
        contrast(*twins, scores=scores, resamples=1)
