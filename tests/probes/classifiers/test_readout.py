import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import nn

from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes.classifiers.readout import (
    depth_layers,
    fit_linear_probe,
    frozen_features,
    most_frequent,
    nearest_neighbours,
)
from conceptprobe.probes.classifiers.tasks import Split
from conceptprobe.probes.framework.probed_model import ProbedModel


def split_of(train: int, validation: int, test: int) -> Split:
    side_n = np.repeat([0, 1, 2], [train, validation, test])
    return Split(side_n == 0, side_n == 1, side_n == 2)


def test_logistic_regression_is_scikit_learns_on_standardised_features() -> None:
    rng, split = np.random.default_rng(0), split_of(60, 20, 40)
    features_nd, targets_n = rng.normal(3, 50, (120, 5)), rng.integers(0, 3, 120)
    found = fit_linear_probe(features_nd, targets_n, split, (0.1,))
    learnt_nd = features_nd[split.learnt_n]
    scale = lambda values_nd: (values_nd - learnt_nd.mean(0)) / learnt_nd.std(0)  # noqa: E731
    expected = LogisticRegression(C=0.1).fit(scale(learnt_nd), targets_n[split.learnt_n])
    assert found.answers_n.tolist() == expected.predict(scale(features_nd[split.test_n])).tolist()
    assert found.c == 0.1


def test_c_is_the_best_on_the_validation_side_whatever_the_test_side_says() -> None:
    rng, split = np.random.default_rng(1), split_of(40, 300, 50)
    targets_n = rng.integers(0, 2, 390)
    features_nd = rng.normal(size=(390, 30)) + 0.4 * (2 * targets_n[:, None] - 1)
    c_values = (1e-4, 1e-2, 1.0, 100.0)
    train_nd = features_nd[split.train_n]
    scaled_nd = (features_nd - train_nd.mean(0)) / train_nd.std(0)
    scores = [
        LogisticRegression(C=c, max_iter=1000)
        .fit(scaled_nd[split.train_n], targets_n[split.train_n])
        .score(scaled_nd[split.validation_n], targets_n[split.validation_n])
        for c in c_values
    ]
    assert len({*scores}) == len(c_values)
    turned_n = np.where(split.test_n, 1 - targets_n, targets_n)
    for answers_n in (targets_n, turned_n):
        assert fit_linear_probe(features_nd, answers_n, split, c_values).c == c_values[int(np.argmax(scores))]


def test_of_equally_good_values_the_strongest_penalty_is_taken() -> None:
    features_nd = np.repeat([[-1.0], [1.0]], 30, 0)[np.arange(60) % 2 * 30]
    found = fit_linear_probe(features_nd, np.arange(60) % 2, split_of(20, 20, 20), (10.0, 0.1, 1.0))
    assert found.c == 0.1
    assert found.answers_n.tolist() == (np.arange(60) % 2)[40:].tolist()


def test_an_image_of_a_class_that_was_never_learnt_is_answered_wrongly() -> None:
    targets_n = np.array([0, 1] * 5 + [2] * 4)
    found = fit_linear_probe(np.arange(14.0)[:, None], targets_n, split_of(6, 4, 4), (1.0,))
    assert not (found.answers_n == 2).any()


def test_neighbours_vote_with_the_exponential_of_their_cosine() -> None:
    angles = np.radians([10.0, 30.0, -31.0, 180.0])
    known_md = np.stack([np.cos(angles), np.sin(angles)], 1) * [[1.0], [9.0], [0.1], [5.0]]  # lengths do not count
    features_nd, targets_n = np.vstack([known_md, [[4.0, 0.0]]]), np.array([0, 1, 1, 2, 0])
    split = Split(np.array([1, 1, 1, 0, 0], bool), np.array([0, 0, 0, 1, 0], bool), np.array([0, 0, 0, 0, 1], bool))
    weights = np.exp(np.cos(angles) / 0.07)
    assert weights[0] > weights[1] + weights[2]
    assert nearest_neighbours(features_nd, targets_n, split, 3, 0.07).tolist() == [0]
    weights = np.exp(np.cos(angles) / 0.5)
    assert weights[0] < weights[1] + weights[2]
    assert nearest_neighbours(features_nd, targets_n, split, 3, 0.5).tolist() == [1]
    assert nearest_neighbours(features_nd, targets_n, split, 1, 0.5).tolist() == [0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40))
def test_neighbours_are_those_of_a_loop(seed: int, k: int) -> None:
    rng, split = np.random.default_rng(seed), split_of(12, 5, 6)
    features_nd, targets_n = rng.normal(size=(23, 4)), rng.integers(0, 4, 23)
    unit_nd = features_nd / np.linalg.norm(features_nd, axis=1, keepdims=True)
    expected = []
    for row in np.flatnonzero(split.test_n):
        near = sorted(np.flatnonzero(split.learnt_n), key=lambda other: -unit_nd[row] @ unit_nd[other])[:k]
        votes = [sum(np.exp(unit_nd[row] @ unit_nd[i] / 0.1) for i in near if targets_n[i] == c) for c in range(4)]
        expected.append(int(np.argmax(votes)))
    assert nearest_neighbours(features_nd, targets_n, split, k, 0.1).tolist() == expected


def test_the_most_frequent_class_is_that_of_the_images_to_learn_from() -> None:
    assert most_frequent(np.array([1, 1, 0, 2, 2, 2, 2]), split_of(2, 1, 4)) == 1


def test_features_are_what_the_layers_hold_under_a_change() -> None:
    model = load_model("mini:clip")
    levels = torch.randint(0, 256, (3, 3, 48, 48), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    layers = model.resolve(["blocks.2.resid", "embedding"])
    flip = lambda pixels_bchw, numbers: pixels_bchw.flip(3)  # noqa: E731
    found = frozen_features(ProbedModel(model), levels, layers, "cls", flip)
    with torch.no_grad():
        expected = model.capture((levels.float() / 255).flip(3), ["blocks.2.resid", "embedding"])
    np.testing.assert_allclose(found["blocks.2.resid"], expected["blocks.2.resid"][:, 0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["embedding"], expected["embedding"], rtol=1e-4, atol=1e-4)


def test_depth_is_blocks_or_the_outermost_modules() -> None:
    assert depth_layers(load_model("mini:clip")) == tuple(f"blocks.{i}.resid" for i in range(6))
    cnn = load_model("timm:resnet18@random#64")
    assert depth_layers(cnn) == ("module:act1", *(f"module:layer{i}" for i in range(1, 5)), "embedding")
    plain = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 3)), nn.Sequential(nn.Conv2d(4, 5, 3)))
    wrapped = VisionModel.wrap(plain, layers=("0", "0.0", "1"), image_size=8, mean=(0.0,) * 3, std=(1.0,) * 3)
    assert depth_layers(wrapped) == ("module:0", "module:1")
