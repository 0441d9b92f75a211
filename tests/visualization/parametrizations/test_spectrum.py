import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from conceptprobe.visualization.parametrizations.colour import decorrelate
from conceptprobe.visualization.parametrizations.spectrum import (
    DATA,
    counts,
    from_spectrum,
    mean_magnitudes,
    natural_magnitudes,
    natural_provenance,
    radii,
    resample,
    to_spectrum,
)

SIZES = st.tuples(st.integers(1, 17), st.integers(1, 17))


def normal(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def whole_plane(spectrum: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Every frequency of the plane, by the rule that from_spectrum states."""
    h, w = size
    plane = np.zeros(size, dtype=complex)
    for y in range(h):
        for x in range(w):
            mirror = (-y % h, -x % w)
            if x > w // 2 or (x == mirror[1] and y > mirror[0]):
                plane[y, x] = np.conj(spectrum[mirror])
            else:
                plane[y, x] = spectrum[y, x].real if (y, x) == mirror else spectrum[y, x]
    return plane


@settings(max_examples=60, deadline=None)
@given(SIZES)
def test_images_come_back_from_their_spectrum(size: tuple[int, int]) -> None:
    values = normal(2, 3, *size)
    torch.testing.assert_close(from_spectrum(to_spectrum(values), size), values, rtol=0, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(SIZES)
def test_any_spectrum_gives_the_image_of_the_entries_that_count(size: tuple[int, int]) -> None:
    spectrum = torch.complex(normal(size[0], size[1] // 2 + 1), normal(size[0] * 2, size[1] // 2 + 1)[size[0] :])
    image = np.fft.ifft2(whole_plane(spectrum.numpy(), size), norm="ortho")
    np.testing.assert_allclose(image.imag, 0, atol=1e-12)
    np.testing.assert_allclose(from_spectrum(spectrum[None, None], size)[0, 0].numpy(), image.real, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(SIZES)
def test_counts_make_the_energy_of_a_spectrum_that_of_its_image(size: tuple[int, int]) -> None:
    values = normal(1, 1, *size)
    assert counts(size).sum() == size[0] * size[1]
    energy = (counts(size) * to_spectrum(values).abs() ** 2).sum()
    torch.testing.assert_close(energy, (values**2).sum(), rtol=1e-12, atol=0)


@settings(max_examples=60, deadline=None)
@given(SIZES)
def test_radii_are_cycles_a_pixel(size: tuple[int, int]) -> None:
    rows, columns = np.fft.fftfreq(size[0]), np.fft.rfftfreq(size[1])
    np.testing.assert_allclose(radii(size).numpy(), np.hypot(rows[:, None], columns), atol=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (63, 64), (30, 201), (7, 5), (500, 130), (1, 1)])
def test_a_spectrum_of_one_over_f_is_resampled_to_one_over_f(size: tuple[int, int]) -> None:
    k = 32
    at = torch.arange(k + 1.0)
    quadrant = (2 * k / (at[:, None] ** 2 + at**2).sqrt()).expand(3, -1, -1).clone()
    quadrant[:, 0, 0] = 0
    given_mean = torch.tensor([0.1, -0.2, 0.3])
    magnitudes = resample(quadrant, given_mean, size)
    expected = (1 / radii(size)).expand(3, -1, -1).clone()
    expected[:, 0, 0] = given_mean * (size[0] * size[1]) ** 0.5
    torch.testing.assert_close(magnitudes, expected, rtol=1e-5, atol=0)


def test_resampling_at_the_size_of_the_table_changes_nothing() -> None:
    k = 8
    quadrant = torch.rand(3, k + 1, k + 1, generator=torch.Generator().manual_seed(0)) + 0.1
    magnitudes = resample(quadrant, torch.zeros(3), (2 * k, 2 * k))
    torch.testing.assert_close(magnitudes[:, : k + 1].flatten(1)[:, 1:], quadrant.flatten(1)[:, 1:])
    torch.testing.assert_close(magnitudes[:, k + 1 :], quadrant[:, 1:k].flip(1))


def test_mean_magnitudes_are_the_mean_over_images_with_a_signed_constant() -> None:
    images = torch.rand(4, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    found = mean_magnitudes(images).numpy()
    values = decorrelate(images.double() - 0.5).numpy()
    expected = np.abs(np.fft.rfft2(values, norm="ortho")).mean(0)
    expected[:, 0, 0] = values.sum((-2, -1)).mean(0) / np.sqrt(6 * 7)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_shipped_spectrum_is_the_one_described_and_small() -> None:
    content = (DATA / "spectrum.safetensors").read_bytes()
    provenance = natural_provenance()
    assert hashlib.sha256(content).hexdigest() == provenance["sha256"]
    assert len(content) < 300_000
    assert provenance["squares"] == 64 * len(provenance["photographs"])


def test_photographs_fall_off_like_one_over_f_in_lightness_and_have_little_colour() -> None:
    magnitudes = natural_magnitudes((256, 256))
    assert magnitudes.isfinite().all()
    assert (magnitudes.flatten(1)[:, 1:] > 0).all()
    at = (radii((256, 256)) * 256).round()
    rings = torch.stack([magnitudes[:, at == ring].mean(-1) for ring in range(1, 129)])
    slopes = np.polyfit(np.log(np.arange(1, 129)), rings.log().numpy(), 1)[0]
    assert -1.3 < slopes[0] < -1.1  # Field 1987: about -1
    energy = (counts((256, 256)) * magnitudes**2).flatten(1)[:, 1:].sum(1)
    assert energy[0] > energy[1] > energy[2]


@pytest.mark.parametrize("size", [(48, 48), (224, 224), (225, 100), (512, 512)])
def test_the_constant_is_the_mean_colour_at_any_size(size: tuple[int, int]) -> None:
    constant = natural_magnitudes(size)[:, 0, 0] / (size[0] * size[1]) ** 0.5
    expected = decorrelate(torch.tensor(natural_provenance()["colour_mean"])[None, :, None, None] - 0.5)
    torch.testing.assert_close(constant, expected[0, :, 0, 0], rtol=0, atol=2e-3)


def test_magnitudes_first_read_in_inference_mode_can_be_differentiated_through_later() -> None:
    size = (11, 13)
    with torch.inference_mode():
        natural_magnitudes(size)
    factor = torch.ones((), requires_grad=True)
    (gradient,) = torch.autograd.grad((natural_magnitudes(size) * factor).sum(), factor)
    assert gradient.isfinite()
