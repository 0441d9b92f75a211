import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptprobe.indexing.reducers.moments import Moments


def reduce(batches: dict[int, np.ndarray], features: int) -> Moments:
    moments = Moments(features)
    for number, values in batches.items():
        moments.add(torch.from_numpy(values), number)
    return moments


def same_bits(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(a[name].numpy().tobytes() == b[name].numpy().tobytes() for name in a)


@pytest.mark.slow
@given(n=st.integers(1, 40), shards=st.integers(1, 7), seed=st.integers(0, 2**20), data=st.data())
@settings(max_examples=60, deadline=None)
def test_same_bits_for_any_shards_in_any_order(n: int, shards: int, seed: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    scales = 10.0 ** rng.integers(-6, 6, (n, 1, 3))
    batches = {i: (rng.standard_normal((5, 3)) * scales[i]).astype(np.float32) for i in range(n)}
    order = data.draw(st.permutations(range(n)))
    parts = [reduce({i: batches[i] for i in part}, 3) for part in (order[i::shards] for i in range(shards))]
    merged = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
    for part in parts:
        merged.merge(part)
    assert same_bits(merged.result(), reduce(batches, 3).result())


def test_against_numpy_in_float64() -> None:
    rng = np.random.default_rng(0)
    values = (rng.standard_normal((1000, 8)) * 3 + np.linspace(-1e4, 1e4, 8)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    values[0, 0], values[1, 1] = np.inf, -np.inf
    result = reduce(dict(enumerate(np.array_split(values, 17))), 8).result()
    finite = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    np.testing.assert_array_equal(result["count"], np.isfinite(values).sum(0))
    np.testing.assert_array_equal(result["nonfinite"], (~np.isfinite(values)).sum(0))
    np.testing.assert_allclose(result["mean"], np.nanmean(finite, 0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(result["std"], np.nanstd(finite, 0), rtol=1e-9)
    np.testing.assert_array_equal(result["min"], np.nanmin(finite, 0))
    np.testing.assert_array_equal(result["max"], np.nanmax(finite, 0))
    np.testing.assert_allclose(result["firing_rate"], np.nansum(finite > 0, 0) / np.isfinite(values).sum(0))


def test_a_feature_without_a_finite_value() -> None:
    result = reduce({0: np.full((4, 1), np.nan, np.float32), 1: np.full((2, 1), np.inf, np.float32)}, 1).result()
    assert result["count"].item() == 0
    assert result["nonfinite"].item() == 6
    assert all(torch.isnan(result[name]).all() for name in ("mean", "std", "min", "max", "firing_rate"))


def test_state_stays_small_over_a_run_of_batches() -> None:
    moments = reduce({i: np.zeros((1, 1), np.float32) for i in range(100, 1000)}, 1)
    assert len(moments.nodes) <= 2 * 10


def test_batches_without_an_image_change_nothing_and_take_no_memory() -> None:
    rng = np.random.default_rng(0)
    batches = {i: rng.standard_normal((1, 2)).astype(np.float32) for i in range(1000) if i % 7}
    order = rng.permutation(1000).tolist()

    def reduced(numbers: list[int]) -> Moments:
        moments = Moments(2)
        for number in numbers:
            if number in batches:
                moments.add(torch.from_numpy(batches[number]), number)
            else:
                moments.skip_batch(number)
        return moments

    whole, left, right = reduced(list(range(1000))), reduced(order[:400]), reduced(order[400:])
    left.merge(right)
    assert same_bits(whole.result(), left.result())
    assert len(whole.nodes) <= 10
    values = np.concatenate(list(batches.values())).astype(np.float64)
    np.testing.assert_array_equal(whole.result()["count"], len(values))
    np.testing.assert_allclose(whole.result()["mean"], values.mean(0), rtol=1e-12)
    np.testing.assert_allclose(whole.result()["std"], values.std(0), rtol=1e-12)
