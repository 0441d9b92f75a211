import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptprobe.probes.stimuli.drops import guided_drop, random_drop
from conceptprobe.probes.stimuli.saliency import rank_cells


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.floats(0, 1), st.integers(0, 3))
def test_each_image_loses_that_share_of_whole_cells(rows: int, columns: int, share: float, draw: int) -> None:
    pixels = torch.ones(2, 3, 4 * rows, 4 * columns)
    dropped = random_drop(("a", "b"), (rows, columns), share, 0, draw)(pixels, np.arange(2))
    cells = dropped.unflatten(2, (rows, 4)).unflatten(4, (columns, 4))
    assert ((cells == 0).all((1, 3, 5)) | (cells == 1).all((1, 3, 5))).all()
    assert (cells[:, 0, :, 0, :, 0] == 0).flatten(1).sum(1).tolist() == [round(share * rows * columns)] * 2


def test_an_images_mask_depends_on_its_id_and_grows_with_the_share() -> None:
    pixels = torch.ones(3, 3, 12, 12)
    some = random_drop(("a", "b", "c"), (6, 6), 0.3, 0, 0)(pixels, np.arange(3))
    alone = random_drop(("b",), (6, 6), 0.3, 0, 0)(pixels[:1], np.arange(1))
    more = random_drop(("a", "b", "c"), (6, 6), 0.6, 0, 0)(pixels, np.arange(3))
    assert some[1].equal(alone[0])
    assert not some[0].equal(some[1])
    assert (more <= some).all()


SALIENCY = np.array([[0.0, 4, 1, 3], [0, 0, 2, 0]])


@pytest.mark.parametrize(
    ("kind", "share", "mass", "first", "second"),
    [
        ("salient", 0.25, False, [1], [2]),
        ("salient", 0.5, False, [1, 3], None),
        ("non-salient", 0.5, False, [0, 2], None),
        ("non-salient", 0.25, False, [0], None),
        ("salient", 0.5, True, [1], [2]),  # 4 of 8 are in cell 1
        ("salient", 0.6, True, [1, 3], [2]),
        ("salient", 1.0, True, [1, 2, 3], [2]),
        ("non-salient", 0.5, True, [0, 2, 3], [0, 1, 3]),  # all but those that hold half
        ("non-salient", 0.2, True, [0, 2], [0, 1, 3]),
        ("non-salient", 0.0, True, [], []),
        ("non-salient", 1.0, True, [0, 1, 2, 3], [0, 1, 2, 3]),
    ],
)
def test_guided_drops_by_hand(kind: str, share: float, mass: bool, first: list[int], second: list[int] | None) -> None:
    order_nc = rank_cells(SALIENCY, ("a", "b"), 0)
    kept = guided_drop(SALIENCY, order_nc, kind, share, mass, (2, 2))(torch.ones(2, 3, 2, 2), np.arange(2))
    found = [torch.nonzero(image[0].flatten() == 0).flatten().tolist() for image in kept]
    assert found[0] == first
    if second is not None:
        assert found[1] == second


def test_salient_and_non_salient_cells_are_all_cells_and_none_twice() -> None:
    saliency_nc = np.random.default_rng(0).random((5, 16)).round(1)
    order_nc = rank_cells(saliency_nc, tuple("abcde"), 0)
    pixels = torch.ones(5, 3, 4, 4)
    drops = [guided_drop(saliency_nc, order_nc, kind, 0.5, False, (4, 4)) for kind in ("salient", "non-salient")]
    first, second = (drop(pixels, np.arange(5)) for drop in drops)
    assert (first + second).equal(pixels)
