import numpy as np
import pytest
import torch

from conceptprobe.probes import ProbeError, run_probe
from conceptprobe.probes.protocols.shuffle import Shuffled, orders


@pytest.mark.parametrize("grid", [(2, 2), (2, 4), (4, 8), (16, 16)])
def test_a_shuffle_then_its_inverse_is_the_identity(grid: tuple[int, int]) -> None:
    pixels = torch.rand(3, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    order = orders(("a", "b", "c"), grid, 0, 0)
    shuffled = Shuffled(order, grid)(pixels, np.arange(3))
    assert not shuffled.equal(pixels)
    assert Shuffled(np.argsort(order, 1), grid)(shuffled, np.arange(3)).equal(pixels)


def test_parts_go_where_their_order_says() -> None:
    pixels = torch.arange(4.0).reshape(1, 1, 2, 2).expand(1, 3, 2, 2)
    moved = Shuffled(np.array([[3, 0, 2, 1]]), (2, 2))(pixels, np.arange(1))
    assert moved[0, 0].tolist() == [[3, 0], [2, 1]]


def test_pixels_are_kept_and_an_images_order_depends_on_its_id() -> None:
    pixels = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    both = Shuffled(orders(("a", "b"), (4, 4), 0, 1), (4, 4))(pixels, np.arange(2))
    alone = Shuffled(orders(("b",), (4, 4), 0, 1), (4, 4))(pixels[1:], np.arange(1))
    assert both[1].equal(alone[0])
    assert both.flatten(1).sort(1).values.equal(pixels.flatten(1).sort(1).values)


@pytest.mark.slow
def test_grids_that_do_not_divide_the_image_are_named_and_left_out() -> None:
    result = run_probe(
        "shuffle", "mini:clip", "mini:emoji", n=8, grids=((2, 2), (14, 14)), draws=1, classes=["skull", "pizza"]
    )
    assert {*result.curves["x"]} == {0, 4}
    assert "14 x 14" in result.caveats[0]
    with pytest.raises(ProbeError, match="none of the grids"):
        run_probe("shuffle", "mini:clip", "mini:emoji", n=8, grids=((5, 5),), classes=["skull", "pizza"])
