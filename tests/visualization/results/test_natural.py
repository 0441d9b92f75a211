"""Where finished images lie among natural ones, against a small linear model that is computed again in float64."""

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import nn

from conceptprobe.images import load_images
from conceptprobe.indexing import Index, build_index
from conceptprobe.models import VisionModel
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.objectives import objectives
from conceptprobe.visualization.results import natural
from conceptprobe.visualization.results.natural import (
    check_index,
    clean_pixels,
    compare,
    pooled_values,
    rank_features,
    shares_below,
)

SIZE, PATCH, FEATURES, IMAGES, K = 16, 4, 6, 60, 5
DEAD = 5
LAYER = "module:patches"


class Linear(nn.Module):
    """Patches seen by linear filters; the last of them sees nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, FEATURES, PATCH, PATCH)
        weights = torch.randn(FEATURES, 3, PATCH, PATCH, generator=torch.Generator().manual_seed(0))
        weights[DEAD] = 0
        self.patches.weight.data.copy_(weights)
        self.patches.bias.data.zero_()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.patches(pixels).mean((2, 3))


def wrapped() -> VisionModel:
    return VisionModel.wrap(Linear(), layers=["patches"], image_size=SIZE, mean=(0, 0, 0), std=(1, 1, 1), name="linear")


def by_hand(images_nhwc: np.ndarray, pooling: str) -> np.ndarray:
    """Activations [n,f] in float64."""
    weights = Linear().patches.weight.detach().double().numpy()
    pixels = images_nhwc.astype(np.float64) / 255
    values = np.zeros((len(pixels), FEATURES, SIZE // PATCH, SIZE // PATCH))
    for row in range(SIZE // PATCH):
        for column in range(SIZE // PATCH):
            patch = pixels[:, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
            values[:, :, row, column] = np.einsum("nhwc,fchw->nf", patch, weights)
    return values.mean((2, 3)) if pooling == "mean" else values.max((2, 3))


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, pictures: np.ndarray) -> Index:
    root = tmp_path_factory.mktemp("natural")
    (root / "images").mkdir()
    for i, pixels in enumerate(pictures):
        Image.fromarray(pixels).save(root / "images" / f"{i:02}.png")
    return build_index(
        wrapped(), load_images(f"folder:{root / 'images'}"), LAYER, root / "index", k=K, pooling=("mean", "max"),
        workers=0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def made() -> np.ndarray:
    """Images of all sorts: noise, and each feature's own best and worst patches all over."""
    rng = np.random.default_rng(1)
    weights = Linear().patches.weight.detach().numpy()[:DEAD]
    best = np.tile((weights > 0).transpose(0, 2, 3, 1), (1, SIZE // PATCH, SIZE // PATCH, 1)) * 255
    noise = rng.integers(0, 256, (DEAD, SIZE, SIZE, 3))
    return np.concatenate([noise, best, 255 - best]).astype(np.uint8)


FEATURE_OF = [*range(DEAD)] * 3


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_activations_are_those_of_the_clean_image(made: np.ndarray, pooling: str) -> None:
    np.testing.assert_allclose(pooled_values(wrapped(), made, LAYER, pooling), by_hand(made, pooling), atol=1e-4)


def test_another_size_is_resized_as_a_whole() -> None:
    image = np.zeros((1, 32, 48, 3), np.uint8)
    image[:, :, 24:] = 255  # right half white
    (pixels,) = clean_pixels(image, (16, 16))
    assert pixels.shape == (3, 16, 16)
    assert pixels[:, :, 0].max() < 1e-6 < 1 - 1e-6 < pixels[:, :, -1].min()  # both ends are still there
    assert float(pixels.mean()) == pytest.approx(0.5, abs=1e-3)
    checker = np.indices((32, 32)).sum(0) % 2 * 255
    grey = clean_pixels(np.repeat(checker[None, :, :, None], 3, 3).astype(np.uint8), (16, 16))
    assert (
        float((grey[:, :, 2:-2, 2:-2] - 0.5).abs().max()) < 0.02
    )  # what is finer than a pixel is averaged, not picked
    same = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    assert np.array_equal(clean_pixels(same, (16, 16)).permute(0, 2, 3, 1).numpy(), same.astype(np.float32) / 255)


def test_natural_numbers_are_those_of_a_loop(index: Index, pictures: np.ndarray, made: np.ndarray) -> None:
    activations, found = compare(wrapped(), made, LAYER, "mean", FEATURE_OF, index)
    values, natural_values = by_hand(made, "mean"), by_hand(pictures, "mean")
    mean, std = natural_values.mean(0), natural_values.std(0)
    for i, (feature, record) in enumerate(zip(FEATURE_OF, found, strict=True)):
        below = sum(float(value) < values[i, feature] for value in natural_values[:, feature])
        z = [(values[i, f] - mean[f]) / std[f] for f in range(DEAD)]
        assert activations[i] == pytest.approx(values[i, feature], abs=1e-4)
        assert record.quantile == pytest.approx(below / IMAGES)
        assert record.maximum == pytest.approx(natural_values[:, feature].max(), abs=1e-4)
        assert record.z == pytest.approx(z[feature], abs=1e-3)
        assert record.rank == 1 + sum(other > z[feature] for other in z)
        assert (record.images, record.of, record.index) == (IMAGES, DEAD, "index")
    best = found[DEAD : 2 * DEAD]
    assert [record.quantile for record in best] == [1.0] * DEAD
    assert {record.how for record in best} == {"top list"}
    assert {record.how for record in found[2 * DEAD :]} == {"vectors"}
    assert [record.quantile for record in found[2 * DEAD :]] == [0.0] * DEAD


def test_other_poolings_are_exact_in_the_list_and_near_below_it(index: Index, pictures: np.ndarray) -> None:
    natural_values = by_hand(pictures, "max")
    for feature in range(DEAD):
        column = np.sort(natural_values[:, feature])
        values = np.concatenate([(column[1:] + column[:-1]) / 2, [column[0] - 1, column[-1] + 1]])
        features = np.full(len(values), feature)
        shares, how = shares_below(index, LAYER, "max", features, values.astype(np.float32))
        expected = np.array([(column < value).mean() for value in values])
        in_list = values > column[-K]
        assert (how[in_list] == "top list").all()
        assert (how[~in_list] == "quantiles").all()
        np.testing.assert_allclose(shares[in_list], expected[in_list])
        np.testing.assert_allclose(shares, expected, atol=0.15)
        assert (np.diff(shares[:-2]) >= 0).all()


def test_quantiles_do_where_faiss_is_missing(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    median = index.stats(LAYER, "mean")["q50"].to_numpy()
    shares, how = shares_below(index, LAYER, "mean", np.arange(DEAD), median[:DEAD])
    np.testing.assert_allclose(shares, 0.5)
    assert set(how) == {"quantiles"}


def test_ties_count_as_asked(index: Index) -> None:
    maximum = index.stats(LAYER, "mean")["max"].to_numpy()[:1]
    shares = [shares_below(index, LAYER, "mean", np.array([0]), maximum, ties=ties)[0][0] for ties in (0.0, 0.5)]
    np.testing.assert_allclose(shares, [1 - 1 / IMAGES, 1 - 0.5 / IMAGES])
    dead = np.zeros(1, np.float32)  # every image has just this value of the dead feature
    below, _ = shares_below(index, LAYER, "mean", np.array([DEAD]), dead)
    half, how = shares_below(index, LAYER, "mean", np.array([DEAD]), dead, ties=0.5)
    assert (below[0], half[0], how[0]) == (0.0, 0.5, "vectors")
    assert shares_below(index, LAYER, "max", np.array([DEAD]), dead)[0][0] == 0.0
    unknown = np.array([np.nan], np.float32)
    assert np.isnan(shares_below(index, LAYER, "mean", np.array([0]), unknown)[0][0])


def test_places_are_among_live_features() -> None:
    stats = pd.DataFrame({"mean": [0.0, 1, 0, 5], "std": [1.0, 2, 0.1, 0], "dead": [False, False, True, True]})
    values = np.array([[1.0, 5, 9, 5], [3, 5, 0.05, 5], [np.nan, 5, 0, 5]])
    own = rank_features(stats, values, np.array([0, 0, 0]))  # z of the live ones: (1, 2), (3, 2), (nan, 2)
    np.testing.assert_allclose(own.z_n, [1, 3, np.nan])
    assert own.rank_n.tolist() == [2, 1, 0]
    assert own.of_n.tolist() == [2, 2, 2]
    dead = rank_features(stats, values, np.array([2, 2, 3]))  # z 90 and 0.5 among live 1, 2 and 3, 2
    assert (dead.rank_n.tolist(), dead.of_n.tolist()) == ([1, 3, 0], [3, 3, 3])


def test_refuses_what_cannot_be_compared(index: Index, made: np.ndarray) -> None:
    other = wrapped()
    with torch.no_grad():
        other.module.patches.bias.add_(1)
    with pytest.raises(VisualizeError, match="linear is not the model that"):
        compare(other, made, LAYER, "mean", FEATURE_OF, index)
    with pytest.raises(VisualizeError, match=f"has no layer blocks.1.mlp.hidden.*its layers are {LAYER}"):
        check_index(index, wrapped(), "blocks.1.mlp.hidden", "mean")
    with pytest.raises(VisualizeError, match="has no pooling cls of module:patches; it has mean, max"):
        check_index(index, wrapped(), LAYER, "cls")


def test_measures_an_objective_of_each_image(made: np.ndarray) -> None:
    targets = [objectives.feature(LAYER, number) for number in FEATURE_OF]
    values = natural.measure(wrapped(), made, targets)
    expected = by_hand(made, "mean")[np.arange(len(made)), FEATURE_OF]
    np.testing.assert_allclose(values, expected, atol=1e-4)
    difference = [objectives.feature(LAYER, 1) - objectives.feature(LAYER, 2, "max")]
    value = natural.measure(wrapped(), made[:1], difference)
    assert value[0] == pytest.approx(by_hand(made, "mean")[0, 1] - by_hand(made, "max")[0, 2], abs=1e-4)


def test_what_is_not_kept_as_it_is_is_not_counted(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "manifest", replace(index.manifest, faiss="SQfp16"))
    _, how = shares_below(index, LAYER, "mean", np.array([0]), np.zeros(1, np.float32))
    assert how[0] == "quantiles"
