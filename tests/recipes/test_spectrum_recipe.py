import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import spectrum
from conceptprobe.visualization.parametrizations.spectrum import radii


def test_a_qt_resource_file_is_read_with_its_folders_and_compressed_files() -> None:
    def named(text: str) -> bytes:
        return struct.pack(">HI", len(text), 0) + text.encode("utf-16-be")

    plain, long = b"plain", b"again and again " * 20
    packed = struct.pack(">I", len(long)) + zlib.compress(long)
    data = struct.pack(">I", len(plain)) + plain + struct.pack(">I", len(packed)) + packed
    names = named("animals") + named("cat.webp") + named("dog.webp")
    cat, dog = len(named("animals")), len(named("animals") + named("cat.webp"))
    tree = struct.pack(">IHII", 0, 2, 1, 1)  # the root: one child, the folder, which is node 1
    tree += struct.pack(">IHII", 0, 2, 2, 2)
    tree += struct.pack(">IHHHI", cat, 0, 0, 0, 0)
    tree += struct.pack(">IHHHI", dog, 1, 0, 0, 4 + len(plain))
    head = struct.pack(">4s4I", b"qres", 1, 20, 20 + len(tree), 20 + len(tree) + len(data))
    files = list(spectrum.read_resources(head + tree + data + names))
    assert files == [("/animals/cat.webp", plain), ("/animals/dog.webp", long)]


def test_another_file_is_refused() -> None:
    with pytest.raises(ValueError, match="not a Qt resource file"):
        spectrum.read_resources(b"\x89PNG" + bytes(40))


@pytest.mark.parametrize("power", [-1.0, -1.5])
def test_the_slope_of_a_power_law_is_its_power(power: float) -> None:
    law = radii((spectrum.SIDE, spectrum.SIDE)).clamp_min(1 / spectrum.SIDE) ** power
    for low, high in spectrum.BANDS:
        assert spectrum.slope(law, low, high) == pytest.approx(power, abs=1e-4)


def test_squares_are_within_the_photograph_and_as_the_generator_says() -> None:
    ramp = Image.fromarray(np.tile(np.linspace(50, 200, 700, dtype=np.uint8)[:, None, None], (1, 600, 3)))
    squares = spectrum.random_squares(ramp, 3, np.random.default_rng(0))
    assert squares.shape == (3, 3, spectrum.SIDE, spectrum.SIDE)
    assert squares.min() >= 49 / 255
    assert squares.max() <= 201 / 255
    assert not torch.equal(squares[0], squares[1])
    assert torch.equal(squares, spectrum.random_squares(ramp, 3, np.random.default_rng(0)))


def test_white_noise_has_one_magnitude_at_every_frequency_despite_the_window() -> None:
    noise = torch.randn(60, 3, spectrum.SIDE, spectrum.SIDE, generator=torch.Generator().manual_seed(0)) * 0.26
    found = spectrum.magnitudes(noise)[0]  # lightness
    inner = found[8:-8, 8:-8]
    assert (inner.std() / inner.mean()).item() < 0.1
    expected = (torch.linalg.inv(torch.tensor(spectrum.BASIS))[0].norm() * 0.26 * (np.pi / 4) ** 0.5).item()
    assert inner.mean().item() == pytest.approx(expected, rel=0.01)  # of a complex normal number, sqrt(pi) / 2


def test_the_quadrant_joins_a_frequency_and_its_mirror_image() -> None:
    half = spectrum.SIDE // 2
    plane = torch.zeros(1, spectrum.SIDE, half + 1)
    plane[0, 3, 5], plane[0, -3, 5], plane[0, 0, 7], plane[0, half, 1] = 1, 3, 5, 7
    joined = spectrum.quadrant(plane)[0]
    assert joined.shape == (half + 1, half + 1)
    assert (joined[3, 5], joined[0, 7], joined[half, 1]) == (2, 5, 7)
    assert joined.count_nonzero() == 3
