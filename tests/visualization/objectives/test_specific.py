"""Objectives that are specific for a feature: against a float64 loop, and on a model where two share a cause."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from conceptprobe.images import load_images
from conceptprobe.indexing import Index, build_index
from conceptprobe.models import VisionModel
from conceptprobe.visualization import VisualizeError, feature, load_visualizations, specific, visualize
from conceptprobe.visualization.objectives.binding import bind
from conceptprobe.visualization.objectives.specific import plain_feature

LAYER = "module:patches"
DEAD = 4


class Linear(nn.Module):
    """Features 0 and 1 look at red, 1 also at blue; 1 varies little. Feature 4 is always 0."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 5, 4, 4)
        colours = torch.tensor([[1.0, 0.1, 0], [0.3, 0, -0.35], [0, 1, 0], [0, -0.5, 1], [0, 0, 0]])
        self.patches.weight.data.copy_(colours[:, :, None, None].expand(5, 3, 4, 4) / 16)
        self.patches.bias.data.zero_()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.patches(pixels).mean((2, 3))


def wrapped() -> VisionModel:
    return VisionModel.wrap(Linear(), layers=["patches"], image_size=16, mean=(0, 0, 0), std=(1, 1, 1), name="linear")


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Over plain colours whose red and blue are nearly equal, so that feature 1 hardly varies."""
    root = tmp_path_factory.mktemp("rivals")
    rng = np.random.default_rng(0)
    (root / "images").mkdir()
    for i in range(40):
        red, green = rng.integers(20, 235, 2)
        colour = (int(red), int(green), int(red + rng.integers(-9, 10)))
        Image.new("RGB", (16, 16), colour).save(root / "images" / f"{i:02}.png")
    return build_index(wrapped(), load_images(f"folder:{root / 'images'}"), LAYER, root / "index", k=5, workers=0)


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_its_value_is_that_of_a_loop(index: Index, pooling: str) -> None:
    model = wrapped()
    pixels = torch.rand(6, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    numbers = [0, 2]
    bound = bind(model, [specific(f"{LAYER}:{number}", index, pooling) for number in numbers], 3)
    found = bound(model.capture(pixels, bound.layers)).detach().reshape(6)
    acts = model.capture(pixels, LAYER)[LAYER].detach().double().flatten(2)
    pooled = acts.mean(2) if pooling == "mean" else acts.amax(2)
    stats = index.stats(LAYER, pooling)
    for image in range(6):
        own = numbers[image // 3]
        z = [(float(pooled[image, f]) - stats["mean"][f]) / stats["std"][f] for f in range(DEAD)]
        rivals = math.log(sum(math.exp(z[f]) for f in range(DEAD) if f != own))
        behind = 2 * stats["std"][own] * math.log1p(math.exp(rivals - z[own]))
        expected = float(pooled[image, own]) - behind
        assert float(found[image]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_it_ranks_first_where_the_activation_alone_does_not(index: Index, tmp_path: Path) -> None:
    model, target = wrapped(), f"{LAYER}:0"
    plain, own = (
        visualize(model, objective, index=index, steps=60, views=1)[0].record
        for objective in (feature(target), specific(target, index))
    )
    assert plain.natural is not None
    assert own.natural is not None
    assert (plain.natural.rank, own.natural.rank) == (2, 1)
    assert (own.layer, own.feature, own.pooling) == (LAYER, 0, "mean")
    assert own.target.startswith(f"({LAYER}:0 - {LAYER}:0 mean rivals ")
    made = visualize(model, [specific(target, index), feature(target)], index=index, steps=2, views=1, out=tmp_path)
    assert [record.file for record in made.records] == ["module%3Apatches/0-specific.png", "module%3Apatches/0.png"]
    loaded = load_visualizations(tmp_path)
    assert loaded.records[0].activation == made.records[0].activation
    without = visualize(model, specific(target, index), steps=2, views=1)[0].record
    assert without.activation == pytest.approx(made.records[0].activation, abs=1e-3)  # the feature's alone in both


def test_what_it_is_specific_for(index: Index) -> None:
    own = specific(f"{LAYER}:3", index, "max")
    assert plain_feature(own) == feature(LAYER, 3, "max")
    assert plain_feature(feature(LAYER, 2)) == feature(LAYER, 2)
    other = specific(f"{LAYER}:2", index, "max")
    for composed in (own + 1, 2 * own, feature(LAYER, 2) - feature(LAYER, 1), feature(LAYER, 3) - other):
        assert plain_feature(composed) is None
    assert specific(f"{LAYER}:3", index).key != own.key


def test_mistakes(index: Index) -> None:
    with pytest.raises(VisualizeError, match="module:patches:4 never varies"):
        specific(f"{LAYER}:{DEAD}", index)
    with pytest.raises(Exception, match="has features 0 to 4"):
        specific(f"{LAYER}:5", index)
    with pytest.raises(Exception, match="has no pooling 'cls'"):
        specific(f"{LAYER}:0", index, "cls")
    changed = wrapped()
    with torch.no_grad():
        changed.module.patches.bias.add_(1)
    with pytest.raises(VisualizeError, match="its index is of another model than linear"):
        visualize(changed, specific(f"{LAYER}:0", index), steps=1, views=1)
