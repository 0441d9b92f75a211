from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.random import Generator

from conceptprobe.concepts.comparison import matching
from conceptprobe.concepts.comparison.clusters import redundancy_clusters
from conceptprobe.concepts.comparison.matching import Matches, best_pairs, load_matches, match_vectors, pooled_p
from conceptprobe.errors import OutputError
from conceptprobe.indexing.storage.faiss_files import unit

IMAGES = 512


def features(values_fn: np.ndarray) -> np.ndarray:
    return unit(values_fn - values_fn.mean(1, keepdims=True)).astype(np.float32)


def heavy(count: int, rng: Generator) -> np.ndarray:
    return rng.standard_normal((count, IMAGES)) ** 3


@pytest.fixture
def rng() -> Generator:
    return np.random.default_rng(0)


def test_a_permuted_copy_with_noise_is_matched(rng: Generator) -> None:
    first, order = heavy(300, rng), rng.permutation(300)
    noisy = first[order] + first.std() * rng.standard_normal(first.shape)  # correlation 0.7
    frame = match_vectors(features(first), features(noisy), rng)
    side = frame[frame["side"] == "a"]
    right = side["matched"] & (order[side["other_feature"]] == side["feature"])
    assert right.mean() >= 0.95
    assert (side["matched"] & ~right).mean() <= 0.05


@pytest.mark.parametrize("common", [0, 5], ids=["independent", "sharing what all features respond to"])
def test_unrelated_features_are_not_matched(common: int, rng: Generator) -> None:
    shared = rng.standard_normal((common, IMAGES))
    sides = [features(heavy(200, rng) + rng.standard_normal((200, common)) @ shared) for _ in range(2)]
    frame = match_vectors(*sides, rng)
    assert frame["matched"].mean() <= 0.05
    if common:  # shuffled images alone would have called most of them matched
        assert (frame["mutual"] & (frame["p_permuted"] <= 0.01)).mean() > 0.1


@pytest.mark.slow
def test_of_matched_features_few_are_wrong_where_half_have_no_counterpart(rng: Generator) -> None:
    false, total = 0, 0
    for _ in range(5):
        first, other = heavy(200, rng), heavy(200, rng)
        other[:100] = first[:100] + 0.7 * first.std() * rng.standard_normal((100, IMAGES))
        frame = match_vectors(features(first), features(other), rng, draws=30)
        matched = frame[frame["matched"] & (frame["side"] == "a")]
        right = (matched["feature"] == matched["other_feature"]) & (matched["feature"] < 100)
        false, total = false + int((~right).sum()), total + len(matched)
    assert total >= 0.95 * 500
    assert false / total <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / total)


def test_best_pairs_are_those_of_the_whole_matrix(rng: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "CHUNK", 7)
    a, b = features(heavy(30, rng)), features(heavy(20, rng))
    r_a, best_a, r_b, best_b = best_pairs(a, b)
    whole = a @ b.T
    np.testing.assert_array_equal(best_a, whole.argmax(1))
    np.testing.assert_array_equal(best_b, whole.argmax(0))
    np.testing.assert_allclose(r_a, whole.max(1), atol=1e-6)
    np.testing.assert_allclose(r_b, whole.max(0), atol=1e-6)


def test_p_values_of_null_correlations_are_uniform(rng: Generator) -> None:
    first, other = features(heavy(300, rng)), features(heavy(300, rng))
    null = np.stack([best_pairs(first, other[:, rng.permutation(IMAGES)])[0] for _ in range(30)])
    p = np.concatenate([
        pooled_p(best_pairs(first, other[:, rng.permutation(IMAGES)])[0], null) for _ in range(5)
    ])  # fmt: skip
    for level in (0.01, 0.05, 0.2):
        assert np.mean(p <= level) == pytest.approx(level, abs=3 * np.sqrt(level * (1 - level) / len(p)) + 0.005)


def test_features_that_do_not_vary_have_no_row(rng: Generator) -> None:
    first, other = features(heavy(20, rng)), features(heavy(20, rng))
    first[3] = 0
    frame = match_vectors(first, other, rng, draws=5)
    assert set(frame.loc[frame["side"] == "a", "feature"]) == set(range(20)) - {3}
    assert 3 not in set(frame.loc[frame["side"] == "b", "other_feature"])


def test_members_of_a_cluster_correlate_with_its_centre_and_do_not_chain() -> None:
    angles = np.radians([0, 30, 60, 90, 200])  # neighbours correlate at 0.87, the ends of the chain at 0
    vectors = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    np.testing.assert_array_equal(redundancy_clusters(vectors, 0.8), [0, 0, 0, 1, 2])


def test_clusters_of_planted_copies(rng: Generator) -> None:
    truth = rng.permutation(np.repeat(np.arange(60), rng.integers(1, 6, 60)))
    copies = heavy(60, rng)[truth]
    vectors = features(copies + 0.3 * copies.std() * rng.standard_normal(copies.shape))
    clusters = redundancy_clusters(vectors)
    np.testing.assert_array_equal(clusters[:, None] == clusters, truth[:, None] == truth)
    np.testing.assert_array_equal(
        np.unique(clusters, return_index=True)[1], np.sort(np.unique(clusters, return_index=True)[1])
    )


def test_dead_features_are_clusters_of_their_own() -> None:
    assert len(set(redundancy_clusters(np.zeros((4, 8), np.float32)))) == 4


def test_matches_are_counted_shown_and_saved(rng: Generator, tmp_path: Path) -> None:
    first, order = heavy(40, rng), rng.permutation(40)
    noisy = first[order] + first.std() * rng.standard_normal(first.shape)
    frame = match_vectors(features(first), features(noisy), rng, draws=10).assign(layer="deep", other_layer="<b>")
    matches = Matches(frame, {"models": ["mini:clip", "<i>other</i>"], "images": IMAGES, "draws": 10, "q": 0.05})
    summary = matches.summary().set_index("side")
    matched = frame[frame["matched"] & (frame["side"] == "a")]
    assert summary["count"].tolist() == [len(matched)] * 2
    assert summary.loc["a", "median_r"] == matched["r"].median()
    assert repr(matches) == f"Matches(deep: {len(matched)} of 40)"
    page = matches._repr_html_()
    assert f"<td>{len(matched)} of 40</td>" in page
    assert "<i>" not in page
    bars = matches.figure().axes[0].patches
    np.testing.assert_allclose([bar.get_height() for bar in bars], 100 * summary["share"])
    again = load_matches(matches.save(tmp_path / "matches"))
    pd.testing.assert_frame_equal(again.frame, frame)
    assert again.settings == matches.settings
    with pytest.raises(OutputError, match=r"holds no matches\.json: make it with `match_features"):
        load_matches(tmp_path)
