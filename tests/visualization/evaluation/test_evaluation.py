"""Scores of visualizations, against loops in float64 over a small linear model."""

import functools
import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.stats import binomtest
from torch import nn

from conceptprobe.errors import OutputError
from conceptprobe.images import load_images
from conceptprobe.indexing import Index, build_index
from conceptprobe.models import VisionModel, load_model
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.evaluation import evaluation
from conceptprobe.visualization.evaluation.evaluation import MEANINGS, Evaluation, evaluate, load_evaluation
from conceptprobe.visualization.evaluation.metrics import (
    difference,
    diversity,
    exemplar_choice,
    forced_choice,
)
from conceptprobe.visualization.results.record import VisualizationRecord
from conceptprobe.visualization.results.visualizations import Visualizations, join_visualizations

SIZE, FEATURES, IMAGES, K = 16, 4, 50, 8
LAYER = "module:patches"


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, FEATURES, 4, 4)
        self.patches.weight.data.copy_(torch.randn(FEATURES, 3, 4, 4, generator=torch.Generator().manual_seed(0)))
        self.patches.bias.data.zero_()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.patches(pixels).mean((2, 3))


def by_hand(images_nhwc: np.ndarray) -> np.ndarray:
    """The mean of every filter's values, float64 [n,f]."""
    weights = Linear().patches.weight.detach().double().numpy()
    patches = (images_nhwc.astype(np.float64) / 255).reshape(-1, 4, 4, 4, 4, 3).mean((1, 3))  # mean patch [n,4,4,3]
    return np.einsum("nhwc,fchw->nf", patches, weights)


@pytest.fixture(autouse=True)
def keep_no_embeddings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "embed_images", functools.partial(evaluation.embed_images, workers=0, cache=None))


@dataclass
class Case:
    model: VisionModel
    index: Index
    natural: np.ndarray
    made: Visualizations


def record(feature: int, seed: int = 0) -> VisualizationRecord:
    return VisualizationRecord(
        target=f"{LAYER}:{feature}", layer=LAYER, feature=feature, pooling="mean", seed=seed, restart=0, member=0,
        preset={"name": "pixels"}, steps=1, views=1, size=(SIZE, SIZE), model={"spec": "linear", "fingerprint": ""},
        activation=0.0, natural=None, curve=(), stopped=None, versions={},
    )  # fmt: skip


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    root = tmp_path_factory.mktemp("evaluation")
    natural = np.random.default_rng(0).integers(0, 256, (IMAGES, SIZE, SIZE, 3), dtype=np.uint8)
    (root / "images").mkdir()
    for i, pixels in enumerate(natural):
        Image.fromarray(pixels).save(root / "images" / f"{i:02}.png")
    model = VisionModel.wrap(
        Linear(), layers=["patches"], image_size=SIZE, mean=(0, 0, 0), std=(1, 1, 1), name="linear"
    )
    index = build_index(
        model, load_images(f"folder:{root / 'images'}"), LAYER, root / "index", k=K, pooling=("mean",), workers=0
    )
    weights = Linear().patches.weight.detach().numpy()
    best = np.tile((weights > 0).transpose(0, 2, 3, 1), (1, 4, 4, 1)).astype(np.uint8) * 255
    best[3] = natural[7]  # nearly a natural image, so no better than all of them
    best[3, 0, 0, 0] ^= 64
    return Case(model, index, natural, Visualizations(best, tuple(record(feature) for feature in range(FEATURES))))


def test_scores_are_those_of_loops(case: Case) -> None:
    found = evaluate(case.made, case.index, model=case.model)
    values, natural = by_hand(case.made.images_nhwc), by_hand(case.natural)
    mean, std = natural.mean(0), natural.std(0)

    def exceeds(image: int, feature: int) -> float:
        return float(values[image, feature] > natural[:, feature].max())

    def auc(image: int, feature: int) -> float:
        return sum(values[image, feature] > other for other in natural[:, feature]) / IMAGES

    def rank(image: int, feature: int) -> int:
        z = (values[image] - mean) / std
        return 1 + sum(other > z[feature] for other in z)

    frame = found.frame
    for i in range(FEATURES):
        others = [f for f in range(FEATURES) if f != i]
        assert frame["activation"][i] == pytest.approx(values[i, i], abs=1e-5)
        assert frame["exceeds"][i] == exceeds(i, i)
        assert frame["auc"][i] == pytest.approx(auc(i, i))
        assert frame["mad"][i] == pytest.approx((values[i, i] - mean[i]) / std[i], abs=1e-4)
        assert frame["rank"][i] == rank(i, i)
        assert frame["shuffled_exceeds"][i] == pytest.approx(np.mean([exceeds(i, f) for f in others]))
        assert frame["shuffled_auc"][i] == pytest.approx(np.mean([auc(i, f) for f in others]))
        assert frame["shuffled_first"][i] == pytest.approx(np.mean([rank(i, f) == 1 for f in others]))
    assert frame["exceeds"].tolist() == [1, 1, 1, 0]
    assert found["exceeds"] == 0.75
    assert found["rank"] == np.median(frame["rank"])
    low, high = binomtest(3, 4).proportion_ci(method="wilson")
    row = found.summary().set_index("measure").loc["exceeds"]
    assert (row.low, row.high, row.n) == (pytest.approx(low), pytest.approx(high), FEATURES)
    assert "choice" not in set(found.summary()["measure"])  # no encoder, and no target has several images
    assert "diversity" not in set(found.summary()["measure"])


@pytest.mark.slow
def test_the_encoder_chooses_as_a_loop_does(case: Case) -> None:
    encoder = load_model("mini:clip@random", "cpu")
    found = evaluate(case.made, case.index, encoder, model=case.model, tops=3, controls=IMAGES)

    def embed(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return np.concatenate(
                [encoder.encode_image(encoder.preprocess(Image.fromarray(image))[None]).double() for image in images]
            )

    natural, seen = embed(case.natural), embed(case.made.images_nhwc)
    for feature in range(FEATURES):
        ordered = np.argsort(-by_hand(case.natural)[:, feature], kind="stable")
        top, controls = ordered[:3], ordered[K:]

        def chosen(query: np.ndarray, targets: np.ndarray, controls: np.ndarray = controls) -> float:
            pairs = list(itertools.product(targets, controls))
            return float(np.mean([query @ natural[t] > query @ natural[c] for t, c in pairs]))

        given_others = [chosen(natural[q], np.array([t for t in top if t != q])) for q in top]
        shuffled = [chosen(seen[other], top) for other in range(FEATURES) if other != feature]
        row = found.frame.loc[feature]
        assert row["choice"] == pytest.approx(chosen(seen[feature], top), abs=0.02)
        assert row["natural_choice"] == pytest.approx(np.mean(given_others), abs=0.02)
        assert row["shuffled_choice"] == pytest.approx(np.mean(shuffled), abs=0.02)
    assert found.settings["encoder"] == "mini:clip@random"


@pytest.mark.slow
def test_the_same_seed_gives_the_same_evaluation(case: Case) -> None:
    encoder = load_model("mini:clip@random", "cpu")
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    one, same, other = (
        evaluate(case.made, case.index, encoder, model=case.model, controls=10, seed=seed) for seed in (0, 0, 1)
    )
    assert one.summary().equals(same.summary())
    assert not one.frame["choice"].equals(other.frame["choice"])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_seeds_of_a_target_are_compared_at_matched_activation(case: Case) -> None:
    best = case.made.images_nhwc[0]
    near = best.copy()
    near[0, 0] = 255 - near[0, 0]  # hardly lowers the activation
    images = np.stack([best, near, 255 - best, case.made.images_nhwc[1]])
    made = Visualizations(images, (record(0), record(0, 1), record(0, 2), record(1)))
    found = evaluate(made, case.index, model=case.model)
    expected = difference(best, near)  # the third activates the feature otherwise, so it makes no pair
    assert 0 < expected < 0.5
    assert found.frame["diversity"].tolist()[:3] == [pytest.approx(expected)] * 3
    assert found.frame["pairs"].tolist() == [1, 1, 1, 0]
    row = found.summary().set_index("measure").loc["exceeds"]
    assert (row.value, row.n) == (pytest.approx(np.mean([2 / 3, 1])), 2)  # the images of a target are one draw


def test_mistakes(case: Case, tmp_path: Path) -> None:
    composed = Visualizations(
        case.made.images_nhwc[:1],
        (VisualizationRecord(**{**vars(record(0)), "layer": None, "feature": None, "pooling": None}),),
    )
    with pytest.raises(VisualizeError, match="none of the visualizations has one feature"):
        evaluate(composed, case.index, model=case.model)
    with pytest.raises(VisualizeError, match="the encoder is linear itself"):
        evaluate(case.made, case.index, case.model, model=case.model)
    with pytest.raises(VisualizeError, match="mini:clip@random is not the model that"):
        evaluate(case.made, case.index, model=load_model("mini:clip@random", "cpu"))
    with pytest.raises(VisualizeError, match="tops is 1"):
        evaluate(case.made, case.index, model=case.model, tops=1)
    other = VisualizationRecord(**{**vars(record(0)), "model": {"spec": "mini:clip", "fingerprint": ""}})
    both = join_visualizations([case.made, Visualizations(case.made.images_nhwc[:1], (other,))])
    with pytest.raises(VisualizeError, match="of several models, linear, mini:clip"):
        evaluate(both, case.index)
    left = evaluate(join_visualizations([case.made, composed]), case.index, model=case.model)
    assert (len(left), left.settings["left_out"]) == (FEATURES, 1)


def test_shows_a_table(case: Case) -> None:
    found: Evaluation = evaluate(case.made, case.index, model=case.model)
    assert repr(found).splitlines()[0] == "Evaluation(linear against index, 4 images)"
    assert "exceeds              0.750  [0.301, 0.954]  n 4  share above every natural image" in repr(found)
    assert set(found.summary()["measure"]) <= set(MEANINGS)


def test_an_evaluation_is_saved_shown_and_drawn(case: Case, tmp_path: Path) -> None:
    found = evaluate(case.made, case.index, model=case.model)
    assert found.save(tmp_path / "evaluation") == tmp_path / "evaluation"
    loaded = load_evaluation(tmp_path / "evaluation")
    pd.testing.assert_frame_equal(loaded.frame, found.frame)
    pd.testing.assert_frame_equal(loaded.summary(), found.summary())
    assert loaded.settings == found.settings
    assert repr(loaded) == repr(found)
    with pytest.raises(OutputError, match=r"holds no evaluation\.json"):
        load_evaluation(tmp_path)
    for words in ("linear against index, 4 images", "share above every natural image", "0.301 to 0.954"):
        assert words in found._repr_html_()
    figure = found.figure()
    assert [axes.get_xlabel() for axes in figure.axes] == ["from 0 to 1", "mad", "rank"]
    drawn = {
        label.get_text(): float(dot[0])
        for axes in figure.axes
        for label, dot in zip(axes.get_yticklabels(), axes.collections[1].get_offsets(), strict=True)
    }
    assert drawn == pytest.approx(dict(zip(found.summary()["measure"], found.summary()["value"], strict=True)))


def test_forced_choice() -> None:
    targets, controls = np.array([[1.0, 0], [0, 1]]), np.array([[0.6, 0.8], [1, 0], [-1, 0]])
    # Cosines with (1, 0): targets 1, 0; controls 0.6, 1, -1: wins 1 and 0.5 and 1; 0, 0 and 1.
    assert forced_choice(np.array([1.0, 0]), targets, controls) == pytest.approx(3.5 / 6)
    # (1, 0) for (0, 1): 0 against 0.6, 1, -1; (0, 1) for (1, 0): 0 against 0.8, 0, 0.
    assert exemplar_choice(targets, controls) == pytest.approx((1 / 3 + (0 + 0.5 + 0.5) / 3) / 2)
    assert math.isnan(exemplar_choice(targets[:1], controls))


def test_difference_is_one_minus_ssim() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 256, (2, 11, 11, 3), dtype=np.uint8)
    assert difference(one, one) == pytest.approx(0)
    assert math.isnan(difference(one[:10], other[:10]))
    # At 11 x 11 pixels only the middle one has a whole window, so SSIM is of one Gaussian window, in float64 here.
    axis = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    weights = np.outer(axis, axis) / axis.sum() ** 2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    channels = []
    for c in range(3):
        x, y = one[..., c].astype(np.float64), other[..., c].astype(np.float64)
        mx, my = (weights * x).sum(), (weights * y).sum()
        vx, vy, vxy = (
            (weights * a * b).sum() - ma * mb for a, b, ma, mb in ((x, x, mx, mx), (y, y, my, my), (x, y, mx, my))
        )
        channels.append((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    assert difference(one, other) == pytest.approx(1 - np.mean(channels), abs=1e-9)


def test_diversity_takes_pairs_alike() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    value, pairs = diversity(images, np.array([10.0, 9.1, 5.0]), 0.1)
    assert pairs == 1
    assert value == pytest.approx(difference(images[0], images[1]))
    value, pairs = diversity(images, np.array([10.0, 9.1, 8.3]), 0.2)
    assert pairs == 3
    assert value == pytest.approx(np.mean([difference(images[i], images[j]) for i, j in ((0, 1), (0, 2), (1, 2))]))
    assert math.isnan(diversity(images, np.array([10.0, 1, 0.1]), 0.1)[0])
