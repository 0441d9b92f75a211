import numpy as np
import pytest
import torch

from conceptprobe.probes import ProbeError, run_probe
from conceptprobe.probes.protocols.attention_distance import distances


def test_uniform_attention_of_a_vit_b_16_is_116_4922_pixels() -> None:
    uniform = torch.full((1, 1, 196, 196), 1 / 196, dtype=torch.float64)
    assert float(distances(uniform, (14, 14), (16.0, 16.0))) == pytest.approx(116.4922, abs=5e-5)


def test_a_head_that_looks_at_itself_looks_nowhere_and_at_its_neighbour_one_patch() -> None:
    eye = torch.eye(9)[None, None]
    assert distances(eye, (3, 3), (8.0, 8.0)).item() == 0
    right = torch.zeros(9, 9)
    for row in range(3):
        for column in range(3):
            right[3 * row + column, 3 * row + (column + 1 if column < 2 else column - 1)] = 1
    assert distances(right[None, None], (3, 3), (8.0, 16.0)).item() == 16


def test_what_is_paid_to_prefix_tokens_counts_only_where_it_is_not_renormalised() -> None:
    half = torch.full((1, 1, 4, 4), 1 / 8)
    whole = torch.full((1, 1, 4, 4), 1 / 4)
    patch = (1.0, 1.0)
    assert distances(half, (2, 2), patch).item() == pytest.approx(distances(whole, (2, 2), patch).item())
    assert distances(half, (2, 2), patch, renormalise=False).item() == pytest.approx(
        distances(whole, (2, 2), patch).item() / 2
    )


@pytest.mark.slow
def test_it_runs_on_the_twins_with_a_value_for_every_head_block_and_image() -> None:
    result = run_probe("attention_distance", ["mini:clip", "mini:supervised"], "mini:emoji", n=8)
    heads = result.frame[result.frame["series"].str.startswith("head ")]
    assert len(heads) == 2 * 6 * 3 * 8
    assert heads["value"].between(0, np.hypot(40, 40)).all()
    mean = result.frame[result.frame["series"] == "mean of heads"].set_index(["model", "x", "image"])["value"]
    by_hand = heads.groupby(["model", "x", "image"])["value"].mean()
    np.testing.assert_allclose(mean.sort_index(), by_hand.sort_index(), rtol=1e-5)


@pytest.mark.slow
def test_a_cnn_is_refused_before_work() -> None:
    with pytest.raises(ProbeError, match="looks at attention"):
        run_probe("attention_distance", "timm:resnet18@random", "mini:emoji", n=4)
