import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from conceptprobe.indexing.reducers.topk import EMPTY, TopK, pack, unpack


def oracle(values_nf: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """A full sort in float64: value descending, then row ascending; NaN and infinities left out."""
    f = values_nf.shape[1]
    rows, values = np.full((f, k), -1), np.full((f, k), np.nan, np.float32)
    for feature in range(f):
        column = values_nf[:, feature].astype(np.float64)
        finite = np.flatnonzero(np.isfinite(column))
        best = finite[np.lexsort((finite, -column[finite]))][:k]
        rows[feature, : len(best)] = best
        values[feature, : len(best)] = values_nf[best, feature]
    return rows, values


def assert_equal(top: TopK, values_nf: np.ndarray, k: int) -> None:
    rows, values = oracle(values_nf, k)
    result = top.result()
    np.testing.assert_array_equal(result.rows_fk.numpy(), rows)
    np.testing.assert_array_equal(result.values_fk.numpy(), values + np.float32(0))


def stream(values_nf: np.ndarray, k: int, rows: np.ndarray, sizes: list[int]) -> TopK:
    top = TopK(values_nf.shape[1], k)
    for part in np.split(rows, np.cumsum(sizes)[:-1]):
        if len(part):
            top.add(torch.from_numpy(values_nf[part]), torch.from_numpy(part))
    return top


floats = st.one_of(
    st.sampled_from([0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e-45, -1e-45, 3.4e38, -3.4e38]),
    st.floats(width=32, allow_nan=True),
)
matrices = hnp.arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 4)), elements=floats)


@pytest.mark.slow
@given(values=matrices, k=st.integers(1, 12), data=st.data())
@settings(max_examples=200, deadline=None)
def test_equals_a_full_sort_for_any_cut_and_order(values: np.ndarray, k: int, data: st.DataObject) -> None:
    rows = np.array(data.draw(st.permutations(range(len(values)))), dtype=np.int64)
    shards = data.draw(st.integers(1, 4))
    reducers = [stream(values, k, part, [1] * len(part)) for part in np.array_split(rows, shards)]
    first = reducers.pop(data.draw(st.integers(0, len(reducers) - 1)))
    for other in reducers:
        first.merge(other)
    assert_equal(first, values, k)


@pytest.mark.parametrize("n", [1, 5, 99, 100, 101, 1000])
@pytest.mark.parametrize("shift", [-100.0, 0.0])
def test_all_negative_features_and_short_lists(n: int, shift: float) -> None:
    values = (np.random.default_rng(n).standard_normal((n, 16)) + shift).astype(np.float32)
    assert_equal(stream(values, 100, np.arange(n), [64] * (n // 64) + [n % 64]), values, 100)


def test_ties_go_to_the_smaller_row_even_when_it_comes_later() -> None:
    values = np.zeros((50, 3), np.float32)
    values[::7, 1] = 2
    assert_equal(stream(values, 8, np.arange(50)[::-1].copy(), [9] * 5 + [5]), values, 8)


def test_positions_stay_with_their_values() -> None:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((300, 5)).astype(np.float32)
    places = rng.integers(0, 49, (300, 5)).astype(np.int32)
    top = TopK(5, 20, positions=True)
    for part in np.array_split(rng.permutation(300), 7):
        top.add(torch.from_numpy(values[part]), torch.from_numpy(part), torch.from_numpy(places[part]))
    rows = oracle(values, 20)[0]
    expected = np.take_along_axis(places.T, rows, 1)
    np.testing.assert_array_equal(top.result().positions_fk.numpy(), expected)


def test_state_resumes() -> None:
    values = np.random.default_rng(1).standard_normal((80, 6)).astype(np.float32)
    half = stream(values, 9, np.arange(40), [40])
    resumed = TopK(6, 9)
    resumed.load_state_dict({name: tensor.clone() for name, tensor in half.state_dict().items()})
    resumed.add(torch.from_numpy(values[40:]), torch.arange(40, 80))
    assert_equal(resumed, values, 9)


@given(value=st.floats(width=32, allow_nan=False, allow_infinity=False), row=st.integers(0, 2**32 - 1))
def test_a_key_holds_the_value_and_the_row(value: float, row: int) -> None:
    values, rows = unpack(pack(torch.tensor([value]), torch.tensor([row])))
    assert values.item() == value
    assert rows.item() == row


def test_what_is_not_finite_has_no_key() -> None:
    keys = pack(torch.tensor([torch.nan, torch.inf, -torch.inf]), torch.arange(3))
    assert (keys == EMPTY).all()
