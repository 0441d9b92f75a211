"""Which spatial frequencies does a model need, and which disturb it?

Sources: low- and high-pass images after Ghiasi et al., arXiv 2212.06727; the heat map after Yin et al., arXiv
1906.08988.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from pydantic import NonNegativeInt
from pydantic.dataclasses import dataclass
from torch import Tensor

from conceptprobe.probes.errors import ProbeError
from conceptprobe.probes.framework.images import ProbeImages
from conceptprobe.probes.framework.probe import Findings, Probe, run_conditions
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.randomness import image_generators
from conceptprobe.probes.framework.responses import Condition
from conceptprobe.probes.framework.settings import NonNegativeNumber, PositiveNumber, Several
from conceptprobe.validation import CONFIG

RADII = (2.0, 4.0, 8.0, 16.0, 24.0, 32.0, 48.0, 64.0, 112.0)


@dataclass(frozen=True, config=CONFIG)
class Frequency:
    """Settings.

    Attributes:
        radii: Radii of the circle that is passed or stopped, in cycles per image; None takes those of `RADII` that the
            image can hold.
        heat_map: The highest number of cycles per image of single waves that are added to the images; 0 adds none. A
            heat map of h has 2 h (h + 1) conditions.
        norm: The norm of an added wave for images in [0,1] of 224 x 224 pixels, as in Yin et al.; scaled to other sizes
            so that the change per pixel is the same.
    """

    radii: Several[NonNegativeNumber] | None = None
    heat_map: NonNegativeInt = 0
    norm: PositiveNumber = 15.7


def check(probed: ProbedModel, images: ProbeImages, settings: Frequency) -> None:
    """Refuse waves that are too fine for the model's pixels."""
    size = probed.model.image_size
    if settings.heat_map >= min(size) / 2:
        raise ProbeError(f"heat_map is {settings.heat_map}: images of {size} hold waves below {min(size) / 2} cycles")


def run(probed: ProbedModel, images: ProbeImages, settings: Frequency, seed: int) -> Findings:
    """Keep only the frequencies within a radius (low-pass) or outside of it (high-pass), and clip to [0,1]."""
    size = probed.model.image_size
    radii = settings.radii or tuple(radius for radius in RADII if radius < min(size) / 2)
    conditions = [
        Condition(f"{band}-pass", radius, change=Filter(radius, band)) for band in ("low", "high") for radius in radii
    ]
    waves = list(half_plane(settings.heat_map))
    conditions += [
        Condition("wave", number, change=Wave(images.ids, wave, settings.norm, seed))
        for number, wave in enumerate(waves)
    ]
    findings = run_conditions(probed, images, conditions, seed)
    if not waves:
        return findings
    rows = findings.rows
    heat = {} if probed.head is None else {"error_by_wave": heat_map(rows, waves, settings.heat_map)}
    return replace(findings, rows=rows[rows["series"] != "wave"], artifacts=heat)


class Filter:
    """Keeps the frequencies within a circle around 0 ("low"), or those outside of it and the mean ("high").

    Args:
        radius: The radius of the circle, in cycles per image.
        band: "low" or "high".
    """

    def __init__(self, radius: float, band: str) -> None:
        self._radius, self._band = radius, band

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        """Filter a batch of images."""
        spectrum = torch.fft.rfft2(pixels_bchw)
        distance_hw = distances(pixels_bchw.shape[2:], pixels_bchw.device)
        inside = distance_hw <= self._radius
        kept = inside if self._band == "low" else ~inside | (distance_hw == 0)
        filtered_bchw: Tensor = torch.fft.irfft2(spectrum * kept, s=pixels_bchw.shape[2:])
        return filtered_bchw.clamp(0, 1)


def distances(size: tuple[int, ...], device: torch.device) -> Tensor:
    """Cycles per image of each entry of `rfft2` [h,w//2+1]."""
    height, width = size
    down = torch.fft.fftfreq(height, 1 / height, device=device)
    across = torch.fft.rfftfreq(width, 1 / width, device=device)
    return torch.hypot(down[:, None], across[None])


def half_plane(limit: int) -> Iterator[tuple[int, int]]:
    """Every wave with up to `limit` cycles down and across, once: its mirror image through 0 is the same wave."""
    for down in range(-limit, limit + 1):
        for across in range(limit + 1):
            if across > 0 or down > 0:
                yield down, across


class Wave:
    """Adds one real wave to each channel with a random sign and phase 0, and clips to [0,1].

    Args:
        ids: Ids of the images.
        wave: Cycles down and across.
        norm: As in `Frequency`.
        seed: Seed of the signs.
    """

    def __init__(self, ids: tuple[str, ...], wave: tuple[int, int], norm: float, seed: int) -> None:
        self._wave, self._norm = wave, norm
        streams = image_generators(seed, ids, f"wave {wave}", 0)
        self._sign_n3 = torch.from_numpy(np.stack([stream.choice([-1.0, 1.0], 3) for stream in streams])).float()

    def __call__(self, pixels_bchw: Tensor, numbers: np.ndarray) -> Tensor:
        """Add the wave to a batch of images."""
        height, width = pixels_bchw.shape[2:]
        device = pixels_bchw.device
        down = torch.arange(height, device=device)[:, None] * (self._wave[0] / height)
        across = torch.arange(width, device=device)[None] * (self._wave[1] / width)
        wave_hw = torch.cos(2 * torch.pi * (down + across))
        length = self._norm * (height * width) ** 0.5 / 224
        wave_hw = wave_hw * (length / torch.linalg.vector_norm(wave_hw))
        sign_bc = self._sign_n3[numbers].to(device)
        changed_bchw: Tensor = pixels_bchw + sign_bc[:, :, None, None] * wave_hw
        return changed_bchw.clamp(0, 1)


def heat_map(rows: pd.DataFrame, waves: list[tuple[int, int]], limit: int) -> np.ndarray:
    """Share of errors with each wave, float [2 limit + 1, 2 limit + 1]; the middle is for the clean images."""
    correct = rows[rows["metric"] == "correct"]
    error = 1 - correct[correct["series"] == "wave"].groupby("x")["value"].mean()
    heat = np.full((2 * limit + 1, 2 * limit + 1), 1 - correct[correct["series"] == "clean"]["value"].mean())
    for number, (down, across) in enumerate(waves):
        heat[limit + down, limit + across] = heat[limit - down, limit - across] = error[float(number)]
    return heat


PROBE = Probe(
    name="frequency",
    question="Which spatial frequencies does the model need, and which disturb it?",
    source="Ghiasi et al. 2022, arXiv 2212.06727 (their radii are not published; these are ours); Yin et al. 2019, "
    "arXiv 1906.08988",
    settings=Frequency,
    run=run,
    axes={"wave": "wave", "": "radius in cycles per image"},
    check=check,
    needs=frozenset({"answers"}),
    follows=True,
)
