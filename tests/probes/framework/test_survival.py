import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from conceptprobe.models import Layer
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.responses import Response
from conceptprobe.probes.framework.survival import SurvivalRecord, correlations, list_length, top_order, top_overlap


def overlap_by_hand(before_n: np.ndarray, after_n: np.ndarray, kept: list[int]) -> float:
    k = list_length(len(kept))
    first, second = (sorted(kept, key=lambda i: (-values[i], i))[:k] for values in (before_n, after_n))
    return len({*first} & {*second}) / k


values = arrays(np.float32, (24, 3), elements=st.integers(-4, 4).map(float))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(values, values, st.sets(st.integers(0, 23), max_size=8))
def test_overlap_is_that_of_sorted_lists(before: np.ndarray, after: np.ndarray, left_out: set[int]) -> None:
    kept_n = ~np.isin(np.arange(24), list(left_out))
    found = top_overlap(top_order(before), top_order(after), kept_n)
    kept = np.flatnonzero(kept_n).tolist()
    assert found.tolist() == [overlap_by_hand(before[:, f], after[:, f], kept) for f in range(3)]


def test_what_is_not_finite_is_listed_last() -> None:
    before = np.array([[np.nan, 1, 5, np.inf, 2, 0, -9, -np.inf]], np.float32).T
    assert top_order(before)[:, 0].tolist() == [2, 4, 1, 5, 6, 0, 3, 7]


def test_correlations_are_numpys_over_all_images_and_without_each_fold() -> None:
    rng = np.random.default_rng(0)
    before = (rng.standard_normal((60, 5)) + 100).astype(np.float32)
    after = before + rng.standard_normal((60, 5)).astype(np.float32)
    fold_n = np.arange(60) % 3
    found = correlations(before, after, fold_n, 3)
    for row, kept in zip(found, [fold_n >= 0, fold_n != 0, fold_n != 1, fold_n != 2], strict=True):
        expected = [np.corrcoef(before[kept, f].astype(float), after[kept, f].astype(float))[0, 1] for f in range(5)]
        np.testing.assert_allclose(row, expected, rtol=1e-9)


def test_a_feature_that_never_varied_has_no_correlation_and_one_that_stops_has_none_left() -> None:
    rng = np.random.default_rng(0)
    varying, constant = rng.standard_normal(40).astype(np.float32), np.full(40, 0.3, np.float32)
    before, after = np.stack([constant, varying], 1), np.stack([varying, constant], 1)
    found = correlations(before, after, np.arange(40) % 2, 2)
    assert np.isnan(found[:, 0]).all()
    assert (found[:, 1] == 0).all()


@pytest.fixture
def probed() -> ProbedModel:
    verdicts = np.array(["object"] * 20 + ["conceptual"] * 20, dtype=object)
    return ProbedModel(model=None, layers=(Layer("a", 40, "tokens"),), verdicts={"a": verdicts})  # type: ignore[arg-type]


def respond(values_nf: np.ndarray) -> Response:
    return Response(None, np.zeros((len(values_nf), 1)), {"a": values_nf.astype(np.float32)})


def test_an_unchanged_model_keeps_all_of_every_feature(probed: ProbedModel) -> None:
    values_nf = np.random.default_rng(0).standard_normal((64, 40))
    record = SurvivalRecord(probed, respond(values_nf), seed=0)
    record.add("same", 0.5, respond(values_nf))
    frame = record.features()
    assert len(frame) == 40
    assert (frame["overlap"] == 1).all()
    np.testing.assert_allclose(frame["r"], 1, atol=1e-12)


def test_the_summary_tells_verdicts_apart_and_its_interval_covers(probed: ProbedModel) -> None:
    """Object features lose half of their correlation more than conceptual ones, by construction; 95 % intervals of the
    difference of means over features and images hold the truth in most of 60 worlds."""
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        before = rng.standard_normal((80, 40))
        share_f = np.r_[np.full(20, 0.3), np.full(20, 0.8)]
        after = share_f * before + np.sqrt(1 - share_f**2) * rng.standard_normal((80, 40))
        record = SurvivalRecord(probed, respond(before), seed=0)
        record.add("mixed", 1, respond(after))
        summary = record.summary().set_index(["verdict", "measure"])
        difference = summary.loc[("conceptual - object", "r")]
        assert 0.35 < difference["value"] < 0.65
        covered += difference["low"] <= 0.5 <= difference["high"]
    assert covered >= 54


def test_draws_are_averaged(probed: ProbedModel) -> None:
    rng = np.random.default_rng(1)
    before, first, second = rng.standard_normal((3, 64, 40))
    one, two, both = (SurvivalRecord(probed, respond(before), seed=0) for _ in range(3))
    one.add("s", 1, respond(first))
    two.add("s", 1, respond(second))
    both.add("s", 1, respond(first))
    both.add("s", 1, respond(second))
    mean = (one.features()["r"] + two.features()["r"]) / 2
    pd.testing.assert_series_equal(both.features()["r"], mean)


@pytest.mark.parametrize("images", [4, 7])
def test_too_few_images_for_two_folds_have_means_without_intervals(probed: ProbedModel, images: int) -> None:
    before, after = np.random.default_rng(0).standard_normal((2, images, 40))
    record = SurvivalRecord(probed, respond(before), seed=0)
    record.add("s", 1, respond(after))
    summary = record.summary()
    assert np.isfinite(summary["value"]).all()
    assert summary[["low", "high"]].isna().all(axis=None)
