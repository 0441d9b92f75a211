import numpy as np
import pytest
import torch

from conceptprobe.probes import ProbeError, run_probe
from conceptprobe.probes.protocols.frequency import Filter, Wave, half_plane

NUMBERS = np.arange(2)


def waves(size: int, *cycles: tuple[int, int]) -> torch.Tensor:
    """Grey images of waves of so many cycles down and across, of contrast 0.1 each."""
    at = torch.arange(size) / size
    total = sum(torch.cos(2 * torch.pi * (down * at[:, None] + across * at[None])) for down, across in cycles)
    return (0.5 + 0.1 * total).expand(2, 3, size, size)


def test_a_filter_keeps_the_waves_on_its_side_and_the_mean() -> None:
    both = waves(48, (3, 0), (0, 12))
    torch.testing.assert_close(Filter(8, "low")(both, NUMBERS), waves(48, (3, 0)), rtol=0, atol=1e-5)
    torch.testing.assert_close(Filter(8, "high")(both, NUMBERS), waves(48, (0, 12)), rtol=0, atol=1e-5)


def test_the_circle_is_round_and_holds_its_rim() -> None:
    diagonal = waves(48, (3, 4))
    torch.testing.assert_close(Filter(5, "low")(diagonal, NUMBERS), diagonal, rtol=0, atol=1e-5)
    flat = torch.full_like(diagonal, 0.5)
    torch.testing.assert_close(Filter(4.9, "low")(diagonal, NUMBERS), flat, rtol=0, atol=1e-5)


def test_all_frequencies_are_the_image_and_none_its_mean() -> None:
    pixels = torch.rand(2, 3, 33, 40, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(Filter(100, "low")(pixels, NUMBERS), pixels, rtol=0, atol=1e-5)
    mean = pixels.mean((2, 3), keepdim=True).expand_as(pixels)
    torch.testing.assert_close(Filter(0, "low")(pixels, NUMBERS), mean, rtol=0, atol=1e-5)


def test_a_wave_has_one_frequency_its_length_and_a_sign_of_the_image() -> None:
    grey = torch.full((2, 3, 48, 48), 0.5)
    added = Wave(("a", "b"), (2, 5), 4.0, 0)(grey, NUMBERS) - grey
    assert torch.linalg.vector_norm(added, dim=(2, 3)).flatten().tolist() == pytest.approx(
        [4.0 * 48 / 224] * 6, rel=1e-3
    )
    spectrum = torch.fft.rfft2(added).abs()
    assert {tuple(place) for place in (spectrum > 1e-2).nonzero()[:, 2:].tolist()} == {(2, 5)}
    alone = Wave(("b",), (2, 5), 4.0, 0)(grey[:1], np.arange(1)) - grey[:1]
    assert alone[0].equal(added[1])


def test_every_wave_is_there_once() -> None:
    found = list(half_plane(2))
    assert len(found) == 2 * 2 * 3 == len({*found})
    assert not {*found} & {(-down, -across) for down, across in found}


@pytest.mark.slow
def test_the_heat_map_is_symmetric_and_its_middle_is_the_clean_error() -> None:
    result = run_probe("frequency", "mini:supervised", "mini:emoji", n=12, radii=(8.0,), heat_map=1)
    heat = result.artifacts["mini:supervised/error_by_wave"]
    clean = result.curves[(result.curves["series"] == "clean") & (result.curves["metric"] == "correct")]["value"]
    assert heat.shape == (3, 3)
    assert heat.tolist() == heat[::-1, ::-1].tolist()
    assert heat[1, 1] == pytest.approx(1 - float(clean.iloc[0]))
    assert {*result.curves["series"]} == {"clean", "low-pass", "high-pass"}


def test_settings_are_checked() -> None:
    with pytest.raises(ProbeError, match="below 24"):
        run_probe("frequency", "mini:supervised", "mini:emoji", n=4, heat_map=24)
