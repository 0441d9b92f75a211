import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes.framework.heads import native_head
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.protocols.adversarial import class_loss, feature_loss
from conceptprobe.probes.stimuli.attack import Attack, climb, pixel_range

EPSILON = 1 / 255


def linear() -> tuple[VisionModel, Tensor]:
    """Three scores that are products of the pixels with fixed weights [3,3*8*8]."""
    weights = torch.randn(3, 192, generator=torch.Generator().manual_seed(1))
    layer = nn.Linear(192, 3, bias=False)
    layer.weight.data = weights
    module = nn.Sequential(nn.Flatten(), layer)
    names = ("a", "b", "c")
    model = VisionModel.wrap(
        module, layers=["1"], image_size=8, mean=(0, 0, 0), std=(1, 1, 1), class_names=names, name="linear"
    )
    return model, weights


def levels(n: int, size: int = 8) -> Tensor:
    """Pixels as images have them, in whole levels, black and white among them."""
    drawn = torch.randint(0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(0))
    drawn[:, :, 0] = 0
    drawn[:, :, -1] = 255
    return drawn / 255


def by_hand(weights: Tensor, pixels: Tensor, targets: Tensor) -> Tensor:
    """The gradient of cross-entropy: (softmax - one-hot) times the weights, in float64."""
    scores = pixels.flatten(1).double() @ weights.double().T
    wanted = nn.functional.one_hot(targets, 3).double()
    return ((scores.softmax(1) - wanted) @ weights.double()).reshape(pixels.shape)


def test_fgsm_on_a_linear_model_goes_along_the_gradient_taken_by_hand() -> None:
    model, weights = linear()
    pixels, targets = levels(5), torch.tensor([0, 1, 2, 0, 1])
    loss = class_loss(model, native_head(model), targets)
    moved, losses = climb(loss, pixels, np.arange(5), EPSILON, 1)
    expected = (pixels.double() + EPSILON * by_hand(weights, pixels, targets).sign()).clamp(0, 1)
    np.testing.assert_allclose(moved.double(), expected, atol=1e-7)
    scores = moved.flatten(1) @ weights.T
    torch.testing.assert_close(losses[:, 1], nn.functional.cross_entropy(scores, targets, reduction="none"))


def test_pgd_on_a_linear_model_is_its_steps_by_hand() -> None:
    model, weights = linear()
    pixels, targets = levels(3), torch.tensor([2, 1, 0])
    moved, losses = climb(class_loss(model, native_head(model), targets), pixels, np.arange(3), 0.03, 4)
    x = start = pixels.double()
    for _ in range(4):
        x = x + 0.03 / 4 * by_hand(weights, x, targets).sign()
        x = x.clamp(start - 0.03, start + 0.03).clamp(0, 1)
    np.testing.assert_allclose(moved.double(), x, atol=1e-6)
    assert losses.shape == (3, 5)
    assert (losses.diff(dim=1) > 0).all()  # the loss is convex in the pixels


def test_an_images_attack_does_not_depend_on_the_others() -> None:
    model, _ = linear()
    pixels, targets = levels(4), torch.tensor([2, 1, 0, 1])
    loss = class_loss(model, native_head(model), targets)
    together, _ = climb(loss, pixels, np.arange(4), EPSILON, 3)
    alone, _ = climb(loss, pixels[2:3], np.array([2]), EPSILON, 3)
    assert together[2].equal(alone[0])


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 1), st.lists(st.floats(0, 1, width=32), min_size=1, max_size=8))
def test_no_pixel_may_move_further_than_epsilon_even_by_a_rounding(epsilon: float, values: list[float]) -> None:
    pixels = torch.tensor(values, dtype=torch.float32)
    low, high = pixel_range(pixels, epsilon)
    for bound in (low, high):
        assert ((bound >= 0) & (bound <= 1)).all()
        assert ((bound.double() - pixels.double()).abs() <= epsilon).all()
    assert ((low <= pixels) & (pixels <= high)).all()
    reach = (pixels.double() + epsilon).clamp_max(1) - high.double()
    assert (reach <= 2e-7).all()


@pytest.mark.parametrize("name", ["mini:clip", "mini:supervised"])
def test_changes_of_a_transformer_stay_within_epsilon_exactly(name: str) -> None:
    model, pixels = load_model(name), levels(4, 48)
    layer = "blocks.2.mlp.hidden"
    loss = feature_loss(ProbedModel(model), f"{layer}:7", "raise")
    attack = Attack(loss, 2 * EPSILON, 8, (8, 8), shown=2)
    with torch.inference_mode():
        moved = attack(pixels, np.arange(4))
    delta = moved.double() - pixels.double()
    assert delta.abs().max() <= 2 * EPSILON
    assert delta.abs().max() > 1.99 * EPSILON
    assert ((moved >= 0) & (moved <= 1)).all()
    with torch.no_grad():
        before, after = (model.capture(x, layer)[layer][:, 1:, 7].mean(1) for x in (pixels, moved))
    assert (after > before).all()
    pictures = attack.artifacts()
    assert pictures["delta"].shape == (2, 3, 48, 48)
    assert {int(pictures["delta"].min()), int(pictures["delta"].max())} == {0, 255}
    assert pictures["power"].shape == (48, 48)
