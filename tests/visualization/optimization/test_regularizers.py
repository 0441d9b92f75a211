import json
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from conceptprobe.visualization import L1, L2, Spectral, TotalVariation
from conceptprobe.visualization.optimization.regularizers import Regularizer

ALL: tuple[Regularizer, ...] = (TotalVariation(0.5), TotalVariation(0.5, on="images"), L1(2.0), L2(3.0), Spectral(4.0))


def images(n: int, h: int, w: int) -> Tensor:
    return torch.rand(n, 3, h, w, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


def test_total_variation_is_the_length_of_four_kinds_of_differences() -> None:
    pixels = images(2, 5, 6)
    views = torch.stack([pixels, 2 * pixels], 1)
    expected = []
    for image in pixels.numpy():
        lengths = []
        for plane in image:
            for dy, dx in ((0, 1), (1, 0), (1, 1), (1, -1)):
                pairs = [
                    plane[y + dy, x + dx] - plane[y, x] for y in range(5 - dy) for x in range(6) if 0 <= x + dx < 6
                ]
                lengths.append(math.sqrt(sum(d * d for d in pairs)))
        expected.append(sum(lengths) / 3)
    assert TotalVariation(0.5, on="images")(pixels, views).tolist() == pytest.approx([0.5 * v for v in expected])
    assert TotalVariation(0.5)(pixels, views).tolist() == pytest.approx([0.75 * v for v in expected])


def test_total_variation_barely_changes_with_the_scale_of_a_smooth_image() -> None:
    def wave(side: int) -> Tensor:
        x = (torch.arange(side, dtype=torch.float64) + 0.5) / side
        return (torch.sin(2 * math.pi * x)[:, None] * torch.cos(2 * math.pi * x)).expand(1, 3, side, side)

    small, large = (TotalVariation(1.0, on="images")(wave(side), wave(side)[:, None]).item() for side in (48, 224))
    assert small == pytest.approx(large, rel=0.04)


def test_distances_from_grey() -> None:
    pixels = images(2, 4, 5)
    away = pixels.numpy() - 0.5
    assert L1(2.0)(pixels, pixels[:, None]).tolist() == pytest.approx(2 * np.abs(away).mean((1, 2, 3)))
    assert L2(3.0)(pixels, pixels[:, None]).tolist() == pytest.approx(3 * np.sqrt((away**2).mean((1, 2, 3))))


@pytest.mark.parametrize(("h", "w"), [(6, 8), (7, 5)])
def test_spectral_equals_the_full_transform(h: int, w: int) -> None:
    pixels = images(2, h, w)
    power = np.abs(np.fft.fft2(pixels.numpy(), norm="ortho")) ** 2
    radius = np.hypot(np.fft.fftfreq(h)[:, None], np.fft.fftfreq(w)[None])
    for exponent in (0.0, 1.0, 2.0):
        expected = (power * (radius / 0.5) ** exponent).sum((2, 3)).mean(1) / (h * w)
        assert Spectral(4.0, exponent)(pixels, pixels[:, None]).tolist() == pytest.approx(4 * expected)
    squares = (pixels**2).mean((1, 2, 3))
    assert Spectral(1.0, 0.0)(pixels, pixels[:, None]).tolist() == pytest.approx(squares.tolist())


def test_spectral_of_a_wave_is_its_power_at_its_frequency() -> None:
    x = torch.arange(32, dtype=torch.float64)
    wave = torch.cos(2 * math.pi * 4 / 32 * x).expand(1, 3, 32, 32)
    assert Spectral(1.0)(wave, wave[:, None]).item() == pytest.approx(0.5 * (4 / 32 / 0.5) ** 2)


@pytest.mark.parametrize("regularizer", ALL)
def test_each_image_is_penalised_alone_and_gradients_are_finite(regularizer: Regularizer) -> None:
    pixels = images(3, 6, 6).float()
    pixels[1] = 0.5
    pixels.requires_grad_()
    penalty = regularizer(pixels, pixels[:, None].expand(-1, 2, -1, -1, -1))
    assert penalty.shape == (3,)
    (gradient,) = torch.autograd.grad(penalty[0], pixels, retain_graph=True)
    assert gradient[0].abs().sum() > 0
    assert gradient[1:].abs().sum() == 0
    (gradient,) = torch.autograd.grad(penalty.sum(), pixels)
    assert gradient.isfinite().all()
    for i in range(3):
        alone = regularizer(pixels[i : i + 1], pixels[i : i + 1, None].expand(-1, 2, -1, -1, -1))
        assert alone.item() == pytest.approx(penalty[i].item(), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("regularizer", ALL)
def test_it_describes_itself_in_json(regularizer: Regularizer) -> None:
    told = json.loads(json.dumps(regularizer.describe()))
    assert told.pop("name") == type(regularizer).__name__
    assert type(regularizer)(**told) == regularizer


@pytest.mark.parametrize("regularizer", ALL)
def test_nothing_is_made_on_the_default_device(regularizer: Regularizer) -> None:
    pixels = images(2, 6, 6)
    expected = regularizer(pixels, pixels[:, None])
    torch.set_default_device("meta")
    try:
        penalty = regularizer(pixels, pixels[:, None])
    finally:
        torch.set_default_device(None)
    assert penalty.equal(expected)
