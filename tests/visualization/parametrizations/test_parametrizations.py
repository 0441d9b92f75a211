import dataclasses
import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.parametrizations.colour import BASIS, mix
from conceptprobe.visualization.parametrizations.parametrizations import Fourier, Parametrization, Phase, Pixels
from conceptprobe.visualization.parametrizations.spectrum import (
    _natural_magnitudes,
    counts,
    mean_magnitudes,
    natural_magnitudes,
    to_spectrum,
)

ALL = {
    "fourier": Fourier(),
    "fourier-rgb": Fourier(decorrelate=False, sd=0.5, decay=1.5),
    "pixels": Pixels(),
    "pixels-grey": Pixels(init="grey", sd=0.05),
    "pixels-sigmoid": Pixels(squash="sigmoid"),
    "pixels-grey-sigmoid": Pixels(init="grey", squash="sigmoid"),
    "phase": Phase(),
    "phase-linear": Phase(squash="none"),
}
EXACT = {name: way for name, way in ALL.items() if not name.startswith("phase")}
SIZES = st.tuples(st.integers(1, 20), st.integers(1, 20))
each = pytest.mark.parametrize("way", ALL.values(), ids=ALL)


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


@each
@settings(max_examples=25, deadline=None)
@given(size=SIZES)
def test_any_size_gives_images_in_float32_with_finite_gradients(way: Parametrization, size: tuple[int, int]) -> None:
    params = way.start(size, generators(0, 1))
    assert params.dtype == torch.float32
    assert not params.requires_grad
    params.requires_grad_()
    images = way.images(params, size)
    assert images.shape == (2, 3, *size)
    assert images.dtype == torch.float32
    weights = torch.randn(images.shape, generator=torch.Generator().manual_seed(2))
    (gradient,) = torch.autograd.grad((images * weights).sum(), params)
    assert gradient.isfinite().all()
    if not (isinstance(way, Phase) and size[0] <= 2 and size[1] <= 2):  # there each frequency is its own mirror image
        assert gradient.abs().max() > 0
    if way != Phase(squash="none"):
        assert images.min() >= 0
        assert images.max() <= 1


@each
def test_a_row_depends_on_its_generator_alone_and_the_same_seed_gives_the_same_bits(way: Parametrization) -> None:
    size = (24, 33)
    params = way.start(size, generators(3, 4, 5))
    images = way.images(params, size)
    assert not torch.equal(params[0], params[1])
    for i, seed in enumerate((3, 4, 5)):
        alone = way.start(size, generators(seed))
        assert torch.equal(alone[0], params[i])
        one = way.images(alone, size)
        assert torch.equal(way.images(alone, size), one)
        torch.testing.assert_close(one[0], images[i], rtol=0, atol=2e-7)  # ends of vectors round on their own


@each
def test_the_gradient_of_a_row_does_not_see_the_others(way: Parametrization) -> None:
    size = (16, 15)
    params = way.start(size, generators(0, 1, 2)).requires_grad_()
    (gradient,) = torch.autograd.grad(way.images(params, size)[1].square().sum(), params)
    assert gradient[1].abs().max() > 0
    assert gradient[0].abs().max() == gradient[2].abs().max() == 0


@each
def test_randomness_comes_from_the_generators_alone(way: Parametrization) -> None:
    state = torch.get_rng_state()
    way.images(way.start((8, 8), generators(0)), (8, 8))
    assert torch.equal(torch.get_rng_state(), state)


@each
def test_nothing_is_made_on_a_default_device_or_in_a_default_type(way: Parametrization) -> None:
    _natural_magnitudes.cache_clear()
    images = torch.rand(1, 3, 10, 13)
    torch.set_default_device("meta")
    torch.set_default_dtype(torch.float64)
    try:
        params = way.start((10, 13), generators(0))
        result = way.images(params, (10, 13))
        back = way.start_from(images)
        way.project(params)
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert [(x.device.type, x.dtype) for x in (params, result, back)] == [("cpu", torch.float32)] * 3


@pytest.mark.parametrize("way", EXACT.values(), ids=EXACT)
@settings(max_examples=25, deadline=None)
@given(size=SIZES, seed=st.integers(0, 99))
def test_images_come_back_from_what_they_start(way: Parametrization, size: tuple[int, int], seed: int) -> None:
    levels = torch.randint(0, 256, (2, 3, *size), generator=torch.Generator().manual_seed(seed))
    images = levels / 255
    params = way.start_from(images)
    assert params.shape == way.start(size, generators(0, 1)).shape
    back = way.images(params, size)
    assert back.sub(images).abs().max() < 1 / 255
    assert torch.equal((back * 255).round().long(), levels)


def test_phase_comes_back_whole_where_the_spectrum_is_the_images_own() -> None:
    images = torch.rand(1, 3, 20, 15, generator=torch.Generator().manual_seed(0))
    way = Phase(mean_magnitudes(images), squash="none")
    torch.testing.assert_close(way.images(way.start_from(images), (20, 15)), images, rtol=0, atol=1e-5)


def test_phase_keeps_the_edges_of_a_start_image_and_takes_the_spectrum() -> None:
    image = torch.full((1, 3, 32, 32), 0.2)
    image[..., 10:20, 8:24] = 0.8
    way = Phase()
    back = way.images(way.start_from(image), (32, 32))
    pair = torch.stack([image.flatten(), back.flatten()])
    assert torch.corrcoef(pair)[0, 1] > 0.7
    noise = way.images(way.start((32, 32), generators(0)), (32, 32))
    assert torch.corrcoef(torch.stack([image.flatten(), noise.flatten()]))[0, 1].abs() < 0.3


@settings(max_examples=25, deadline=None)
@given(size=SIZES, seed=st.integers(0, 99))
def test_phases_never_change_a_magnitude(size: tuple[int, int], seed: int) -> None:
    way = Phase(squash="none")
    images = way.images(way.start(size, generators(seed)), size)
    found = mean_magnitudes(images)
    expected = way.magnitudes(size)
    twice = (counts(size) == 2).expand_as(found)
    torch.testing.assert_close(found[twice], expected[twice], rtol=1e-3, atol=1e-4)
    assert (found.abs() <= expected.abs() + 1e-4).all()
    torch.testing.assert_close(found[:, 0, 0], expected[:, 0, 0], rtol=1e-4, atol=1e-4)


def test_the_squash_of_phase_leaves_values_about_grey_as_they_are() -> None:
    small = natural_magnitudes((16, 16)) * 0.05
    params = Phase(small).start((16, 16), generators(0))
    linear = Phase(small, squash="none").images(params, (16, 16))
    torch.testing.assert_close(Phase(small).images(params, (16, 16)), linear, rtol=0, atol=1e-4)


def test_fourier_is_what_lucent_computes() -> None:
    size = (12, 18)
    params = Fourier().start(size, generators(0))
    rows, columns = torch.fft.fftfreq(12)[:, None], torch.fft.fftfreq(18)[:10]
    scale = 1 / (rows**2 + columns**2).sqrt().clamp_min(1 / 18)
    spectrum = torch.view_as_complex(params * scale[..., None])
    for column in (0, 9):  # Lucent's two entries of one frequency: ours is the first, here given to both
        spectrum[..., 7:, column] = spectrum[..., 1:6, column].flip(-1).conj()
    pixels = torch.fft.irfftn(spectrum, s=size, norm="ortho") / 4
    matrix = torch.tensor(BASIS) / torch.tensor(BASIS).norm(dim=0).max()
    expected = torch.sigmoid(torch.einsum("oc,nchw->nohw", matrix, pixels))
    torch.testing.assert_close(Fourier().images(params, size), expected, rtol=0, atol=1e-6)


def test_starts_are_as_said() -> None:
    size = (64, 64)
    uniform = Pixels().start(size, generators(0))
    assert 0 <= uniform.min() < 0.01
    assert 0.99 < uniform.max() <= 1
    assert abs(uniform.std().item() - 12**-0.5) < 0.01
    grey = Pixels(init="grey", sd=0.02, squash="sigmoid")
    images = grey.images(grey.start(size, generators(0)), size)
    assert abs(images.mean().item() - 0.5) < 0.001
    assert abs(images.std().item() - 0.02) < 0.001
    assert abs(Fourier().start(size, generators(0)).std().item() - 0.01) < 0.001
    phases = Phase().start(size, generators(0))
    assert phases.abs().max() <= math.pi
    assert abs(torch.polar(torch.ones_like(phases), phases).mean().abs().item()) < 0.03


def test_pixels_are_clamped_in_place_and_others_left_alone() -> None:
    params = torch.tensor([-0.5, 0.25, 1.5])
    Pixels().project(params)
    assert params.tolist() == [0, 0.25, 1]
    for way in (Fourier(), Pixels(squash="sigmoid"), Phase()):
        params = torch.tensor([-9.0, 9.0])
        way.project(params)
        assert params.tolist() == [-9, 9]


@each
def test_a_description_names_every_setting_in_json(way: Parametrization) -> None:
    description = json.loads(json.dumps(way.describe()))
    assert description.pop("name") in ("fourier", "pixels", "phase")
    settings = {field.name for field in dataclasses.fields(way) if field.name != "digest"}
    assert set(description) == settings


def test_phase_is_equal_and_described_by_its_spectrum() -> None:
    one, two = natural_magnitudes((8, 8)), natural_magnitudes((8, 8)) * 2
    assert Phase(one) == Phase(one.clone()) != Phase(two)
    assert Phase() == Phase() != Phase(one)
    assert len({Phase(one), Phase(one.clone()), Phase(two)}) == 2
    assert Phase(one).describe()["spectrum"] != Phase(two).describe()["spectrum"]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Fourier(sd=0), "sd is 0"),
        (lambda: Fourier(decay=-1), "decay is -1"),
        (lambda: Pixels(init="noise"), '"uniform" or "grey"'),
        (lambda: Pixels(squash="tanh"), '"clamp" or "sigmoid"'),
        (lambda: Phase(squash="clamp"), '"sigmoid" or "none"'),
        (lambda: Phase(torch.ones(4, 4)), r"\[3, h, w // 2 \+ 1\]"),
        (lambda: Phase(torch.full((3, 4, 3), math.nan)), "finite"),
        (lambda: Phase(torch.ones(3, 4, 3)).images(torch.zeros(1, 3, 8, 5), (8, 8)), "4 x 4 or 4 x 5.*8 x 8"),
    ],
)
def test_wrong_settings_are_refused(make, words: str) -> None:
    with pytest.raises(VisualizeError, match=words):
        make()


class Planted:
    """Eight linear filters of 16 x 16 pixels; unit i is the mean of filter i over the patches of image i, 64 x 64."""

    size = (64, 64)

    def __init__(self) -> None:
        filters = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        self.weights = filters.repeat(1, 1, 4, 4) / 16
        self.most = self.weights.clamp_min(0).sum((1, 2, 3))
        self.least = self.weights.clamp_max(0).sum((1, 2, 3))

    def values(self, images: Tensor) -> Tensor:
        return (images * self.weights).sum((1, 2, 3))

    def climb(self, way: Parametrization, steps: int, rate: float) -> Tensor:
        """Values reached, with Adam."""
        params = way.start(self.size, generators(*range(8))).requires_grad_()
        adam = torch.optim.Adam([params], lr=rate)
        for _ in range(steps):
            (params.grad,) = torch.autograd.grad(-self.values(way.images(params, self.size)).sum(), params)
            adam.step()
            with torch.no_grad():
                way.project(params)
        return self.values(way.images(params, self.size)).detach()

    def share(self, values: Tensor) -> Tensor:
        """Where values lie between the least and the most that an image in [0, 1] can have."""
        return (values - self.least) / (self.most - self.least)


@pytest.mark.parametrize(
    ("way", "steps", "rate", "share"),
    [
        (Pixels(), 100, 0.05, 0.99),
        (Pixels(squash="sigmoid"), 400, 0.1, 0.99),
        (Fourier(), 400, 0.1, 0.85),
        (Fourier(decorrelate=False), 400, 0.05, 0.88),
    ],
    ids=["pixels", "pixels-sigmoid", "fourier", "fourier-rgb"],
)
def test_every_planted_unit_is_driven_to_its_optimum(
    way: Parametrization, steps: int, rate: float, share: float
) -> None:
    planted = Planted()
    noise = planted.share(planted.values(torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(1))))
    assert noise.max() < 0.52
    assert planted.share(planted.climb(way, steps, rate)).min() >= share


@pytest.mark.slow
def test_phases_reach_the_analytic_optimum_of_a_linear_unit() -> None:
    planted, way = Planted(), Phase(squash="none")
    magnitudes = way.magnitudes(planted.size).double()
    weights = to_spectrum(mix(torch.tensor(BASIS).T, planted.weights).double())
    constant = planted.weights.double().sum((1, 2, 3)) / 2 + (weights.real * magnitudes)[:, :, 0, 0].sum(1)
    often = counts(planted.size).double()
    often[0, 0] = 0
    optimum = (often * magnitudes * weights.abs()).sum((1, 2, 3))
    at_angle = planted.values(way.images(weights.angle().float(), planted.size))
    torch.testing.assert_close((at_angle - constant) / optimum, torch.ones(8, dtype=torch.float64), rtol=0, atol=1e-4)
    share = (planted.climb(way, 400, 0.05) - constant) / optimum
    assert share.min() >= 0.98
    assert share.max() <= 1.0001
