"""The mini images as arrays, their split, and the views on which the models are trained."""

import io
import tarfile
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image

from conceptprobe.mini.architecture import IMAGE_SIZE, data_path

HELD_OUT_STYLES = ("emojione-v1", "noto-v1")
MIN_STYLES = 5  # emoji with fewer styles are not in the training set


@dataclass(frozen=True)
class Emoji:
    """Rows of `emoji.parquet` and their pixels, RGBA with premultiplied alpha, uint8 [n,4,64,64]."""

    table: pd.DataFrame
    rgba_nchw: torch.Tensor

    def __len__(self) -> int:
        return len(self.table)

    def where(self, mask: pd.Series) -> "Emoji":
        """The rows for which the mask is true."""
        rows = np.flatnonzero(mask.to_numpy())
        return Emoji(self.table.iloc[rows].reset_index(drop=True), self.rgba_nchw[rows])


def load_emoji() -> Emoji:
    """All images in the order of their ids, with the columns `seen_style` and `seen_emoji`, which define the split."""
    table = pd.read_parquet(data_path("emoji.parquet")).sort_values("id").reset_index(drop=True)
    table["hexcode"] = table["id"].str.split("/").str[1]
    table["seen_style"] = ~table["style"].isin(HELD_OUT_STYLES)
    table["seen_emoji"] = table.groupby("hexcode")["id"].transform("size") >= MIN_STYLES
    pixels = {}
    for style in table["style"].unique():
        with tarfile.open(data_path(f"emoji-{style}.tar")) as tar:
            for member in tar:
                image = Image.open(io.BytesIO(tar.extractfile(member).read())).convert("RGBA").convert("RGBa")
                pixels[member.name.removesuffix(".webp")] = np.array(image)
    stacked = np.stack([pixels[id_] for id_ in table["id"]])
    return Emoji(table, torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous())


def class_names(emoji: Emoji) -> list[str]:
    """The names of the classes, in alphabetical order."""
    return sorted(emoji.table.loc[emoji.table["seen_emoji"], "name"].unique())


def clean_views(rgba_bchw: torch.Tensor) -> torch.Tensor:
    """Images on white, reduced to the models' size: [b,3,48,48] in [0,1]."""
    rgba = rgba_bchw.float() / 255
    on_white = rgba[:, :3] + 1 - rgba[:, 3:]
    return F.interpolate(on_white, size=IMAGE_SIZE, mode="bicubic", antialias=True).clamp(0, 1)


def backgrounds(n: int, size: int, generator: torch.Generator) -> torch.Tensor:
    """Random backgrounds [n,3,size,size] in [0,1]: a fifth white, else a colour, a gradient or soft noise."""
    kind = torch.rand(n, 1, 1, 1, generator=generator)
    cells = torch.rand(n, 3, 5, 5, generator=generator)
    noise = F.interpolate(cells, size=size, mode="bilinear", align_corners=True)
    gradient = F.interpolate(cells[:, :, :2, :2], size=size, mode="bilinear", align_corners=True)
    plain = cells[:, :, :1, :1].expand(-1, -1, size, size)
    out = torch.where(kind < 0.6, plain, torch.where(kind < 0.8, gradient, noise))
    return torch.where(kind < 0.2, torch.ones_like(out), out)


def random_views(rgba_bchw: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """One training view of each image, [b,3,size,size] in [0,1].

    A view is shifted, scaled, rotated and blended on a random background, and its colours change; one in six is grey.
    Views are not mirrored because arrows and letters would change their meaning.
    """
    n = len(rgba_bchw)

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    angle, zoom = uniform(-0.35, 0.35), uniform(0.72, 1.12)
    stretch = uniform(0.92, 1.08)
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1], theta[:, 0, 2] = cos * stretch, -sin, uniform(-0.18, 0.18)
    theta[:, 1, 0], theta[:, 1, 1], theta[:, 1, 2] = sin, cos / stretch, uniform(-0.18, 0.18)
    grid = F.affine_grid(theta, [n, 4, size, size], align_corners=False)
    rgba = F.grid_sample(rgba_bchw.float() / 255, grid, mode="bilinear", align_corners=False)
    image = rgba[:, :3] + backgrounds(n, size, generator) * (1 - rgba[:, 3:])
    grey = image.mean(1, keepdim=True)
    saturation = torch.where(uniform(0, 1, 1, 1, 1) < 1 / 6, torch.zeros(1), uniform(0.6, 1.4, 1, 1, 1))
    image = grey + (image - grey) * saturation
    image = (image - 0.5) * uniform(0.7, 1.3, 1, 1, 1) + 0.5 + uniform(-0.15, 0.15, 1, 1, 1)
    image = image + uniform(-0.06, 0.06, 3, 1, 1)
    return image.clamp(0, 1)


def caption(name: str, tags: list[str], rng: np.random.Generator) -> str:
    """A caption for the CLIP twin: the name, the name and some tags, or (one in six) only tags."""
    some = [str(tag) for tag in rng.permutation(tags)[: rng.integers(1, 5)]] if len(tags) else []
    kind = rng.random()
    if kind < 1 / 6 and some:
        return ", ".join(some)
    return ", ".join([name, *some]) if kind < 2 / 3 else name
