import numpy as np
import pytest
import torch

from conceptprobe.indexing import IndexingError
from conceptprobe.indexing.reducers.pooling import check_pooling, pool
from conceptprobe.models import Layer

TOKENS = Layer("t", width=5, kind="tokens", prefix=3, cls=0, grid=(2, 4))
MAP = Layer("m", width=5, kind="map", grid=(2, 4))
VECTOR = Layer("v", width=5, kind="vector")


def test_mean_and_max_leave_out_every_prefix_token() -> None:
    acts = torch.randn(7, 11, 5)
    acts[:, :3] = 1e6
    torch.testing.assert_close(pool(acts, TOKENS, "mean").values_bf, acts[:, 3:].mean(1), rtol=0, atol=0)
    pooled = pool(acts, TOKENS, "max")
    best = acts[:, 3:].max(1)
    assert torch.equal(pooled.values_bf, best.values)
    assert torch.equal(pooled.positions_bf, best.indices.int())


def test_cls_is_the_token_that_the_layer_names() -> None:
    acts = torch.randn(2, 11, 5)
    assert torch.equal(pool(acts, TOKENS, "cls").values_bf, acts[:, 0])


def test_a_map_is_pooled_over_its_cells_in_reading_order() -> None:
    acts = torch.randn(3, 5, 2, 4)
    torch.testing.assert_close(pool(acts, MAP, "mean").values_bf, acts.mean((2, 3)))
    pooled = pool(acts, MAP, "max")
    assert torch.equal(pooled.positions_bf, acts.flatten(2).argmax(2).int())


def test_of_equal_patches_the_first_is_named() -> None:
    acts = torch.zeros(1, 11, 5)
    acts[0, [6, 9], 2] = 1
    assert pool(acts, TOKENS, "max").positions_bf[0].tolist() == [0, 0, 3, 0, 0]


@pytest.mark.parametrize("patches", [1, 2, 3, 5, 9, 16, 17, 37, 49, 196, 1000])
def test_the_first_of_equal_patches_is_found_for_any_number(patches: int) -> None:
    acts = torch.from_numpy(np.random.default_rng(patches).integers(0, 3, (4, patches, 6)).astype(np.float32))
    pooled = pool(acts, Layer("t", width=6, kind="tokens"), "max")
    np.testing.assert_array_equal(pooled.values_bf, acts.numpy().max(1))
    np.testing.assert_array_equal(pooled.positions_bf, acts.numpy().argmax(1))  # numpy's is the first


def test_nan_reaches_the_value() -> None:
    acts = torch.zeros(1, 11, 5)
    acts[0, 4, 1] = torch.nan
    assert torch.isnan(pool(acts, TOKENS, "max").values_bf[0, 1])
    assert torch.isnan(pool(acts, TOKENS, "mean").values_bf[0, 1])


def test_a_vector_is_taken_as_it_is_and_half_precision_becomes_single() -> None:
    acts = torch.randn(4, 5, dtype=torch.bfloat16)
    assert torch.equal(pool(acts, VECTOR, "mean").values_bf, acts.float())


@pytest.mark.parametrize(
    ("layer", "pooling", "message"),
    [
        (TOKENS, "median", "choose from mean, max, cls"),
        (MAP, "cls", "no CLS token"),
        (VECTOR, "max", "one vector"),
        (Layer("a", width=3, kind="attention", prefix=1, cls=0), "mean", "attention maps"),
    ],
)
def test_what_a_layer_cannot_give_is_refused(layer: Layer, pooling: str, message: str) -> None:
    with pytest.raises(IndexingError, match=message):
        check_pooling(layer, pooling)
