import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptprobe.probes import run_probe
from conceptprobe.probes.protocols.cutout import SquareHole


@settings(max_examples=50, deadline=None)
@given(st.integers(5, 40), st.integers(5, 40), st.floats(0, 1), st.integers(0, 5))
def test_the_hole_is_one_square_inside_the_image(height: int, width: int, share: float, draw: int) -> None:
    holed = SquareHole(("a", "b"), share, 0, draw)(torch.ones(2, 3, height, width), np.arange(2))
    side = min(round((share * height * width) ** 0.5), height, width)
    for image in holed:
        black = image == 0
        assert black.all(0).equal(black.any(0))
        assert black[0].any(1).sum() == black[0].any(0).sum() == side
        assert black[0].sum() == side**2


def test_places_depend_on_the_id_and_differ_between_draws() -> None:
    pixels = torch.ones(2, 3, 48, 48)
    both = SquareHole(("a", "b"), 0.1, 0, 0)(pixels, np.arange(2))
    assert both[1].equal(SquareHole(("b",), 0.1, 0, 0)(pixels[:1], np.arange(1))[0])
    assert not both.equal(SquareHole(("a", "b"), 0.1, 0, 1)(pixels, np.arange(2)))


@pytest.mark.slow
def test_no_hole_is_the_identity_and_a_hole_of_everything_leaves_black() -> None:
    result = run_probe("cutout", "mini:supervised", "mini:emoji", n=16, shares=(0.0, 1.0), draws=1)
    values = result.frame.pivot_table(index="image", columns=["metric", "series", "x"], values="value")
    assert values["correct", "square", 0.0].tolist() == values["correct", "clean", 0.0].tolist()
    assert (result.features[result.features["x"] == 1]["r"].dropna() == 0).all()
