import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptprobe.probes import run_probe
from conceptprobe.probes.occlusion import RandomDrop, upsample


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.floats(0, 1), st.integers(0, 3))
def test_each_image_loses_that_share_of_whole_cells(rows: int, columns: int, share: float, draw: int) -> None:
    pixels = torch.ones(2, 3, 4 * rows, 4 * columns)
    dropped = RandomDrop(("a", "b"), (rows, columns), share, 0, draw)(pixels, np.arange(2))
    cells = dropped.unflatten(2, (rows, 4)).unflatten(4, (columns, 4))
    assert ((cells == 0).all((1, 3, 5)) | (cells == 1).all((1, 3, 5))).all()
    assert (cells[:, 0, :, 0, :, 0] == 0).flatten(1).sum(1).tolist() == [round(share * rows * columns)] * 2


def test_an_images_mask_depends_on_its_id_and_grows_with_the_share() -> None:
    pixels = torch.ones(3, 3, 12, 12)
    some = RandomDrop(("a", "b", "c"), (6, 6), 0.3, 0, 0)(pixels, np.arange(3))
    alone = RandomDrop(("b",), (6, 6), 0.3, 0, 0)(pixels[:1], np.arange(1))
    more = RandomDrop(("a", "b", "c"), (6, 6), 0.6, 0, 0)(pixels, np.arange(3))
    assert some[1].equal(alone[0])
    assert not some[0].equal(some[1])
    assert (more <= some).all()


def test_cells_cover_the_image_where_the_grid_does_not_divide_it() -> None:
    cells = torch.arange(9).reshape(1, 3, 3)
    pixels = upsample(cells, (7, 8))
    assert pixels[0, :, 0].tolist() == [0, 0, 0, 3, 3, 6, 6]
    assert pixels[0, 0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2]


@pytest.mark.parametrize("model", ["mini:clip", "mini:supervised"])
def test_dropping_nothing_is_the_identity_and_dropping_all_leaves_one_answer(model: str) -> None:
    result = run_probe("occlusion", model, "mini:emoji", n=16, shares=(0.0, 1.0), draws=1)
    values = result.rows.pivot_table(index="image", columns=["metric", "series", "x"], values="value")
    for metric in ("correct", "probability"):
        assert values[metric, "random", 0.0].tolist() == values[metric, "clean", 0.0].tolist()
    assert np.allclose(values["cosine", "random", 0.0], 1)
    survival = result.features[result.features["x"] == 0].dropna()
    assert (survival["overlap"] == 1).all()
    assert (result.features[result.features["x"] == 1].dropna()["r"] == 0).all()
