import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.transforms.transforms import (
    ColourShift,
    Crop,
    Jitter,
    Noise,
    Pad,
    Roll,
    Rotate,
    Scale,
    ShrinkingCrop,
    Transform,
)
from conceptprobe.visualization.transforms.views import make_views

ALL: tuple[Transform, ...] = (
    Pad(3, shown=False),
    Jitter(4),
    Scale(0.9, 1.1),
    Rotate(10),
    ColourShift(),
    Noise(0.5, end=0.0, even=0.1),
    Roll(5),
    Crop(0.5, 0.9),
    ShrinkingCrop(0.5, 0.05, 0.05, 0.15, 0.05),
)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def images(n: int, h: int, w: int) -> Tensor:
    return torch.rand(n, 3, h, w, generator=torch.Generator().manual_seed(7))


def ramp(h: int, w: int) -> Tensor:
    """Channel 0 is a pixel's column, channel 1 its row, counted from its middle; channel 2 is one."""
    y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    return torch.stack([x, y, torch.ones(h, w)])[None]


def test_nothing_asked_passes_the_image_on() -> None:
    pixels = images(2, 6, 7)
    views = make_views((), pixels, generators(0, 1), 3, (6, 7), 0.0)
    assert views.shape == (2, 3, 3, 6, 7)
    assert all(views[:, e].equal(pixels) for e in range(3))
    assert views.data_ptr() == pixels.data_ptr()


@pytest.mark.parametrize(
    "idle", [Jitter(0), Roll(0), Scale(1, 1), Rotate(0), Crop(1, 1), Noise(0.0), Pad(2, shown=False)]
)
def test_transforms_that_do_nothing_leave_the_image(idle: Transform) -> None:
    pixels = images(2, 9, 12)
    views = make_views((idle,), pixels, generators(0, 1), 2, (9, 12), 0.0)
    assert torch.allclose(views, pixels[:, None].expand_as(views), atol=3e-6)


@pytest.mark.parametrize("size", [(9, 12), (48, 48), (224, 224)])
def test_jitter_moves_pixels_exactly(size: tuple[int, int]) -> None:
    h, w = size
    pixels = images(2, h, w)
    views = make_views((Jitter(4),), pixels, generators(0, 1), 16, size, 0.0)
    shifts = set()
    for i, e in np.ndindex(2, 16):
        padded = np.pad(pixels[i].numpy(), ((0, 0), (4, 4), (4, 4)), mode="edge")
        fits = [
            (dy, dx)
            for dy, dx in np.ndindex(9, 9)
            if np.array_equal(padded[:, dy : dy + h, dx : dx + w], views[i, e].numpy())
        ]
        assert len(fits) == 1
        shifts.update(fits)
    assert len(shifts) > 20
    assert {0, 8} <= {dy for dy, _ in shifts}
    assert {0, 8} <= {dx for _, dx in shifts}


@pytest.mark.parametrize("size", [(9, 12), (224, 224)])
def test_roll_moves_pixels_exactly(size: tuple[int, int]) -> None:
    h, w = size
    pixels = images(2, h, w)
    views = make_views((Roll(4),), pixels, generators(0, 1), 8, size, 0.0)
    rolls = [(dy, dx) for dy in range(-4, 5) for dx in range(-4, 5)]
    for i, e in np.ndindex(2, 8):
        assert sum(torch.roll(pixels[i], by, (1, 2)).equal(views[i, e]) for by in rolls) == 1


def test_amounts_for_another_size_grow_with_the_image() -> None:
    pixels = torch.zeros(1, 3, 48, 48)
    pixels[..., 24, 24] = 1.0
    found = make_views((Roll(32, of=224),), pixels, generators(0), 400, (48, 48), 0.0)[0, :, 0].nonzero()[:, 1:] - 24
    assert found.min() == -7  # 32 * 48 / 224 = 6.86
    assert found.max() == 7


def test_pad_is_shown_or_only_brought_in() -> None:
    pixels = images(1, 8, 8)
    shown = make_views((Pad(2, value=0.25),), pixels, generators(0), 1, (12, 12), 0.0)[0, 0]
    assert shown.equal(torch.nn.functional.pad(pixels[0], [2] * 4, value=0.25))
    hidden = make_views((Pad(2, value=0.25, shown=False),), pixels, generators(0), 1, (8, 8), 0.0)[0, 0]
    assert hidden.equal(pixels[0])
    views = make_views((Pad(2, value=0.25, shown=False), Jitter(2)), pixels, generators(0), 9, (8, 8), 0.0)[0]
    padded = torch.nn.functional.pad(pixels[0], [2] * 4, value=0.25)
    for view in views:
        assert sum(padded[:, y : y + 8, x : x + 8].equal(view) for y in range(5) for x in range(5)) == 1


def test_composition_equals_matrices_multiplied_by_hand() -> None:
    """On an image whose values are coordinates, a view shows where it looks."""
    h, w = 40, 30
    transforms = (Jitter(3), Scale(1.3, 1.6), Rotate(20), Jitter(2))
    views = make_views(transforms, ramp(h, w), generators(5), 4, (h, w), 0.0)[0]
    u = torch.empty(4, 6).uniform_(generator=generators(5)[0]).numpy().astype(np.float64)
    for view, (jx, jy, scale, turn, kx, ky) in zip(views.numpy(), u, strict=True):
        c, s = math.cos(math.radians(20 * (2 * turn - 1))), math.sin(math.radians(20 * (2 * turn - 1)))
        factor = 1.3 + 0.3 * scale
        middle, back = shift(w / 2, h / 2), shift(-w / 2, -h / 2)
        matrix = (
            shift(math.floor(7 * jx) - 3, math.floor(7 * jy) - 3)
            @ (middle @ np.diag([1 / factor, 1 / factor, 1.0]) @ back)
            @ (middle @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ back)
            @ shift(math.floor(5 * kx) - 2, math.floor(5 * ky) - 2)
        )
        expected = np.einsum("ij,jhw->ihw", matrix, ramp(h, w)[0].numpy().astype(np.float64))
        inside = (expected[:2] > 0.5).all(0) & (expected[0] < w - 0.5) & (expected[1] < h - 0.5)
        assert inside.mean() > 0.5
        assert np.abs(view - expected)[:, inside].max() < 1e-4


def shift(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def test_a_crop_shows_its_box_and_a_view_of_another_size_the_whole() -> None:
    u = torch.empty(5, 3).uniform_(generator=generators(2)[0]).numpy()
    views = make_views((Crop(0.3, 0.6),), ramp(40, 40), generators(2), 5, (20, 20), 0.0)[0]
    for view, (side, x, y) in zip(views.numpy(), u, strict=True):
        share = 0.3 + 0.3 * side
        at = (np.arange(20) + 0.5) / 20 * share * 40
        inside = slice(1, -1)
        assert np.abs(view[0, :, inside] - (at + (1 - share) * 40 * x)[None, inside]).max() < 1e-4
        assert np.abs(view[1, inside] - (at + (1 - share) * 40 * y)[inside, None]).max() < 1e-4


def test_a_shrinking_crop_shrinks() -> None:
    crop = ShrinkingCrop(start=0.5, end=0.05, sd=0.02, center_sd=0.05, smallest=0.05)

    def sides(progress: float) -> Tensor:
        views = make_views((crop,), ramp(200, 200), generators(0), 300, (10, 10), progress)[0]
        return (views[:, 0, 5, -1] - views[:, 0, 5, 0]) / 200 * 10 / 9

    assert sides(0.0).mean() == pytest.approx(0.5, abs=0.005)
    assert sides(0.0).std() == pytest.approx(0.02, rel=0.15)
    assert sides(0.5).mean() == pytest.approx(0.275, abs=0.005)
    assert sides(0.0).min() > 0.4
    assert sides(1.0).min() == pytest.approx(0.05, abs=1e-3)


def checkerboard(side: int, square: int) -> Tensor:
    places = torch.arange(side) // square
    return ((places[:, None] + places) % 2).float().expand(1, 3, side, side)


@pytest.mark.parametrize(("transforms", "view"), [((), 16), ((Rotate(5),), 16), ((Scale(0.5, 0.5),), 32)])
def test_a_checkerboard_of_twice_the_resolution_turns_grey(transforms: tuple[Transform, ...], view: int) -> None:
    board = checkerboard(32, 1)
    views = make_views(transforms, board, generators(0), 4, (view, view), 0.0)[0]
    middle = views[..., view // 2 - 4 : view // 2 + 4, view // 2 - 4 : view // 2 + 4]
    assert (middle - 0.5).abs().max() < 0.05
    aliased = torch.nn.functional.interpolate(board, (16, 16), mode="nearest")
    assert (aliased - 0.5).abs().min() == 0.5


def test_views_that_show_more_than_the_smallest_are_averaged() -> None:
    """Squares of two pixels, in crops of 30 to 100 % of a canvas three times the view: a crop of nearly all shows them
    finer than its pixels, one of 30 % shows them as they are."""
    views = make_views((Crop(0.3, 1.0),), checkerboard(96, 2), generators(0), 64, (32, 32), 0.0)[0]
    share = 0.3 + 0.7 * torch.empty(64, 3).uniform_(generator=generators(0)[0])[:, 0]
    contrast = views[:, 0, 2:-2, 2:-2].std((1, 2))
    assert contrast[share > 0.9].max() < 0.1
    assert contrast[share < 0.34].min() > 0.2


def test_rotation_agrees_with_scipy() -> None:
    pixels = ndimage.gaussian_filter(np.random.default_rng(0).random((31, 31)), 2).astype(np.float32)
    view = make_views((Rotate(30),), torch.tensor(pixels).expand(1, 3, -1, -1), generators(3), 1, (31, 31), 0.0)[
        0, 0, 0
    ]
    angle = 30 * (2 * torch.empty(1, 1).uniform_(generator=generators(3)[0]).item() - 1)
    expected = ndimage.rotate(pixels, angle, reshape=False, order=1)
    assert np.abs(view.numpy() - expected)[6:-6, 6:-6].max() < 1e-4


def test_colours_shift_and_noise_fades() -> None:
    flat = torch.full((1, 3, 24, 24), 0.3)
    shifted = make_views((ColourShift(1.0, 1.0),), flat, generators(0), 500, (24, 24), 0.0)[0]
    assert shifted.std((2, 3)).max() < 1e-5
    u = torch.empty(500, 6).uniform_(generator=generators(0)[0]) * 2 - 1
    assert torch.allclose(shifted[..., 0, 0], (0.3 - u[:, :3]) / u[:, 3:].exp(), atol=1e-5)
    noise = Noise(0.5, end=0.0)
    for progress, sd in ((0.0, 0.5), (0.5, 0.25), (1.0, 0.0)):
        view = make_views((noise,), flat, generators(0), 4, (24, 24), progress)
        assert view.std().item() == pytest.approx(sd, rel=0.03, abs=1e-6)
    even = make_views((Noise(0.0, even=0.08),), flat, generators(0), 4, (24, 24), 0.0) - 0.3
    assert even.abs().max().item() == pytest.approx(0.04, rel=0.01)
    assert even.std().item() == pytest.approx(0.08 / 12**0.5, rel=0.03)


@settings(max_examples=12, deadline=None)
@given(place=st.integers(0, 4), more=st.integers(0, 4), progress=st.floats(0, 0.99))
def test_a_view_depends_on_its_own_image_and_generator_only(place: int, more: int, progress: float) -> None:
    mine = images(1, 20, 24)
    alone = make_views(ALL, mine, generators(42), 3, (16, 16), progress)
    others = torch.rand(place + more, 3, 20, 24, generator=torch.Generator().manual_seed(more))
    seeds = [*range(place), 42, *range(100, 100 + more)]
    together = torch.cat([others[:place], mine, others[place:]])
    among = make_views(ALL, together, generators(*seeds), 3, (16, 16), progress)
    assert among[place].equal(alone[0])


def test_global_randomness_is_left_alone_and_the_same_seed_gives_the_same_views() -> None:
    before = torch.get_rng_state()
    first, second = (make_views(ALL, images(2, 16, 16), generators(0, 1), 2, (16, 16), 0.3) for _ in range(2))
    assert first.equal(second)
    assert torch.get_rng_state().equal(before)
    assert not first[0].equal(first[1])
    assert not first[0, 0].equal(first[0, 1])


@pytest.mark.parametrize("transforms", [(), (Jitter(3),), (Roll(3),), ALL])
@pytest.mark.parametrize("size", [(12, 12), (8, 8)])
def test_gradients_are_exact(transforms: tuple[Transform, ...], size: tuple[int, int]) -> None:
    """Views are linear in the image but for a constant, so a functional's gradient tells its change exactly."""
    pixels = images(2, 12, 12).requires_grad_()
    pull = torch.randn(2, 3, 3, *size, generator=torch.Generator().manual_seed(1))

    def value(of: Tensor) -> Tensor:
        return (make_views(transforms, of, generators(0, 1), 3, size, 0.5) * pull).sum()

    (gradient,) = torch.autograd.grad(value(pixels), pixels)
    step = torch.randn(pixels.shape, generator=torch.Generator().manual_seed(2))
    change = (value(pixels.detach() + step) - value(pixels.detach())).item()
    assert (gradient * step).sum().item() == pytest.approx(change, rel=1e-4, abs=1e-3)
    assert gradient.abs().sum() > 0


def test_nothing_is_made_on_the_default_device() -> None:
    pixels, streams = images(2, 20, 20), generators(0, 1)
    expected = make_views(ALL, pixels, generators(0, 1), 2, (16, 16), 0.3)
    torch.set_default_device("meta")
    try:
        views = make_views(ALL, pixels, streams, 2, (16, 16), 0.3)
    finally:
        torch.set_default_device(None)
    assert views.device.type == "cpu"
    assert views.equal(expected)


def test_every_transform_describes_itself_in_json() -> None:
    for transform in ALL:
        told = json.loads(json.dumps(transform.describe()))
        assert told.pop("name") == type(transform).__name__
        assert type(transform)(**told) == transform


def test_impossible_amounts_are_refused() -> None:
    with pytest.raises(VisualizeError, match="0 < low <= high"):
        Scale(1.2, 0.8)
    with pytest.raises(VisualizeError, match="0 < low <= high <= 1"):
        Crop(0.5, 1.5)
