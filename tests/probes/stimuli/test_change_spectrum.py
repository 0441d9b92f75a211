import numpy as np
import pytest

from conceptprobe.probes.stimuli.change_spectrum import grid_contrast, grid_share, power_spectrum, radial_shares


def test_a_wave_has_all_its_power_at_its_radius() -> None:
    row, column = np.mgrid[0:48, 0:48]
    wave = np.cos(2 * np.pi * (3 * row + 4 * column) / 48)
    shares = radial_shares(power_spectrum(np.stack([wave] * 3)[None]))
    assert shares.shape == (1, 25)
    assert shares[0, 5] == pytest.approx(1)


def test_power_is_that_of_parseval_and_shares_add_up_to_one() -> None:
    delta = np.random.default_rng(0).standard_normal((4, 3, 32, 40))
    power = power_spectrum(delta)
    np.testing.assert_allclose(power.mean((1, 2)), (delta**2).sum((2, 3)).mean(1))
    np.testing.assert_allclose(radial_shares(power).sum(1), 1)
    assert np.isnan(radial_shares(np.zeros((1, 32, 40)))).all()


def test_what_repeats_in_every_patch_lies_on_the_lines_of_the_grid() -> None:
    rng = np.random.default_rng(0)
    same = np.tile(rng.standard_normal((1, 3, 8, 8)), (1, 1, 6, 6))
    noise = rng.standard_normal((64, 3, 48, 48))
    drawn = np.zeros((1, 3, 48, 48))
    drawn[..., ::8, :] -= 1
    drawn[..., :, ::8] -= 1
    off = np.roll(drawn, 3, -1) + 5  # neither the place of the grid nor the mean counts
    for delta in (same, drawn, off):
        assert grid_share(power_spectrum(delta), (6, 6))[0] == pytest.approx(1)
        assert grid_contrast(power_spectrum(delta), (6, 6))[0] == pytest.approx(5)
    power = power_spectrum(noise)
    assert grid_share(power, (6, 6)).mean() == pytest.approx(7 / 47, abs=2e-3)  # of 47 frequencies 7 are multiples of 6
    assert grid_contrast(power, (6, 6)).mean() == pytest.approx(1, abs=0.01)
    assert grid_contrast(power_spectrum(same), (5, 5))[0] < 2
    for measure in (grid_share, grid_contrast):
        assert np.isnan(measure(np.zeros((1, 48, 48)), (6, 6))).all()
    assert grid_share(power, (48, 48)).max() == 0
    assert np.isnan(grid_contrast(power, (4, 4))).all()


def test_a_slope_is_no_grid() -> None:
    slope = np.abs(np.fft.fftfreq(96)) * 96
    power = (200 - slope)[:, None] * (200 - slope)[None, :]
    assert grid_contrast(power[None], (10, 10))[0] == pytest.approx(1, abs=2e-3)
