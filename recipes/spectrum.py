"""Make the mean magnitude spectrum of photographs, which visualizations that optimise only phases use.

    apt-get download gcompris-qt-data
    python recipes/spectrum.py gcompris-qt-data_*.deb   # conceptprobe/visualization/data/spectrum.{safetensors,json}

The photographs are those of the educational suite GCompris (Debian package `gcompris-qt-data`): animals of the wild and
of the farm, and monuments, under free licences. They are in Qt resource files, which this recipe reads. It takes random
squares of every photograph and scales each down to 256 px, at least by half, which removes compression artefacts in the
finest detail. Opposite borders of a square differ, which would show as a cross in the spectrum, so the square fades out
towards its borders (a Hann window, whose mean square is divided out). The result is averaged with its mirror image, so
one quadrant holds all values.

Prints the slope of log magnitude over log frequency; natural images have about -1 (Field 1987).
"""

import argparse
import hashlib
import io
import json
import math
import struct
import subprocess
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from conceptprobe.visualization.parametrizations.colour import BASIS, decorrelate
from conceptprobe.visualization.parametrizations.spectrum import GREY, radii, to_spectrum

OUT = Path(__file__).resolve().parents[1] / "conceptprobe" / "visualization" / "data"
ACTIVITIES = ("erase", "explore_farm_animals", "explore_monuments", "explore_world_animals")
LICENCES = "GPL-3.0-or-later; single photographs CC-BY, CC-BY-SA, GFDL-1.2 or public domain: see its copyright file"
SIDE = 256
CROPS = 64
CHANNELS = ("lightness", "blue-yellow", "green-magenta")
BANDS = ((1, 128), (1, 8), (8, 32), (32, 128))


@dataclass(frozen=True)
class Photograph:
    """A photograph of the package.

    Attributes:
        name: Its path in the resource file.
        image: Its pixels.
    """

    name: str
    image: Image.Image


@dataclass(frozen=True)
class Measured:
    """Statistics of random squares of photographs, with equal weight for each photograph.

    Attributes:
        magnitudes_chw: Mean magnitudes, [3, SIDE, SIDE // 2 + 1].
        colour: Mean RGB, [3], float64.
        covariance: Covariance of RGB over all pixels, [3, 3], float64.
    """

    magnitudes_chw: Tensor
    colour: Tensor
    covariance: Tensor


def read_photographs(package: Path) -> list[Photograph]:
    """The photographs of the package whose shorter side is at least twice `SIDE`, ordered by name."""
    unpacked = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(package)], check=True, capture_output=True).stdout
    found = []
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
        for activity in ACTIVITIES:
            resource = tar.extractfile(f"./usr/share/gcompris-qt/rcc/{activity}.rcc")
            assert resource is not None, activity
            for name, content in read_resources(resource.read()):
                if name.endswith((".webp", ".jpg")):
                    image = Image.open(io.BytesIO(content))
                    if min(image.size) >= 2 * SIDE:
                        found.append(Photograph(name, image.convert("RGB")))
    return sorted(found, key=lambda photograph: photograph.name)


def read_resources(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Paths and contents of a Qt resource file (`rcc --binary`), formats 1 to 3."""
    magic, version, tree, data, names = struct.unpack_from(">4s4I", content)
    if magic != b"qres":
        raise ValueError(f"not a Qt resource file: it begins with {magic!r}")
    width = 14 if version == 1 else 22  # from format 2 on with a time

    def walk(node: int, path: str) -> Iterator[tuple[str, bytes]]:
        at = tree + node * width
        name, flags = struct.unpack_from(">IH", content, at)
        if node:
            (length,) = struct.unpack_from(">H", content, names + name)
            path += "/" + content[names + name + 6 :][: 2 * length].decode("utf-16-be")
        if flags & 2:  # a folder
            count, first = struct.unpack_from(">II", content, at + 6)
            for child in range(first, first + count):
                yield from walk(child, path)
        else:
            (offset,) = struct.unpack_from(">I", content, at + 10)
            (length,) = struct.unpack_from(">I", content, data + offset)
            raw = content[data + offset + 4 :][:length]
            yield path, zlib.decompress(raw[4:]) if flags & 1 else raw

    return walk(0, "")


def random_squares(image: Image.Image, count: int, generator: np.random.Generator) -> Tensor:
    """Random squares of an image, scaled to `SIDE`, [count, 3, SIDE, SIDE] in [0, 1]."""
    shorter = min(image.size)
    squares = []
    for _ in range(count):
        side = round(2 * SIDE * math.exp(generator.uniform(0, math.log(shorter / (2 * SIDE)))))
        left, top = (int(generator.integers(0, length - side + 1)) for length in image.size)
        box = (left, top, left + side, top + side)
        squares.append(np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=box)))
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).float() / 255


def magnitudes(squares_nchw: Tensor) -> Tensor:
    """Mean magnitude of each frequency of decorrelated channels, [3, SIDE, SIDE // 2 + 1]."""
    window = torch.hann_window(SIDE, periodic=True)
    window = window[:, None] * window
    values = decorrelate(squares_nchw - GREY)
    mean = (values * window).sum((-2, -1), keepdim=True) / window.sum()
    return to_spectrum((values - mean) * window / window.square().mean().sqrt()).abs().mean(0)


def quadrant(magnitudes_chw: Tensor) -> Tensor:
    """Rows and columns of 0 to SIDE / 2 cycles, the mean with the mirror image, [c, SIDE // 2 + 1, SIDE // 2 + 1]."""
    rows = torch.arange(SIDE // 2 + 1)
    return (magnitudes_chw[:, rows] + magnitudes_chw[:, (-rows) % SIDE]) / 2


def slope(magnitudes_hw: Tensor, low: int, high: int) -> float:
    """Slope of log magnitude over log frequency, both averaged over rings of `low` to `high` cycles an image."""
    cycles = radii((SIDE, SIDE)) * SIDE
    at = [cycles.round() == ring for ring in range(low, high + 1)]
    logs = [(cycles[ring].log().mean(), magnitudes_hw[ring].log().mean()) for ring in at]
    return float(np.polyfit(*np.array(logs).T, 1)[0])


def measure(photographs: Sequence[Photograph], generator: np.random.Generator) -> Measured:
    """Takes `CROPS` random squares of each photograph and measures them."""
    total = torch.zeros(3, SIDE, SIDE // 2 + 1)
    colour, square = torch.zeros(3, dtype=torch.float64), torch.zeros(3, 3, dtype=torch.float64)
    for photograph in photographs:
        squares = random_squares(photograph.image, CROPS, generator)
        pixels = squares.permute(1, 0, 2, 3).flatten(1).double()
        total += magnitudes(squares) / len(photographs)
        colour += pixels.mean(1) / len(photographs)
        square += pixels @ pixels.T / pixels.shape[1] / len(photographs)
    return Measured(total, colour, square - torch.outer(colour, colour))


def package_field(package: Path, name: str) -> str:
    """A field of a Debian package's control file."""
    command = ["dpkg-deb", "--field", str(package), name]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main() -> None:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", type=Path, help="gcompris-qt-data_*.deb")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    photographs = read_photographs(args.package)
    measured = measure(photographs, np.random.default_rng(args.seed))
    table = quadrant(measured.magnitudes_chw)
    table[:, 0, 0] = 0
    mean = decorrelate((measured.colour - GREY)[None, :, None, None])[0, :, 0, 0]
    content = save({"magnitudes": table.half().contiguous(), "mean": mean.float().contiguous()})
    slopes = {
        name: {f"{low}-{high}": round(slope(channel, low, high), 3) for low, high in BANDS}
        for name, channel in zip(CHANNELS, measured.magnitudes_chw, strict=True)
    }
    provenance = {
        "recipe": "recipes/spectrum.py",
        "package": package_field(args.package, "Package"),
        "version": package_field(args.package, "Version"),
        "package_sha256": hashlib.sha256(args.package.read_bytes()).hexdigest(),
        "licences": LICENCES,
        "photographs": [photograph.name for photograph in photographs],
        "squares": CROPS * len(photographs),
        "side": SIDE,
        "seed": args.seed,
        "window": "hann",
        "colour_mean": measured.colour.numpy().round(4).tolist(),
        "colour_covariance": measured.covariance.numpy().round(4).tolist(),
        "slopes": slopes,
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "spectrum.safetensors").write_bytes(content)
    (args.out / "spectrum.json").write_text(json.dumps(provenance, indent=1) + "\n", encoding="utf-8")
    basis = np.array(BASIS)
    print(f"{len(photographs)} photographs, {CROPS * len(photographs)} squares, {len(content):,} bytes")
    print("mean colour", provenance["colour_mean"])
    print("covariance of colours", provenance["colour_covariance"])
    print("covariance by Lucid's basis", (basis @ basis.T).round(4).tolist())
    for name, bands in slopes.items():
        print(f"slope of {name}:", ", ".join(f"{band} cycles {value:+.2f}" for band, value in bands.items()))


if __name__ == "__main__":
    main()
