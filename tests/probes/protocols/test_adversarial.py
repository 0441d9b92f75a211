import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes import ProbeError, run_probe
from conceptprobe.probes.framework.heads import native_head
from conceptprobe.probes.framework.responses import Subject
from conceptprobe.probes.protocols.adversarial import Adversarial, Attack, bounds, class_loss, climb, feature_loss
from conceptprobe.probes.stimuli.change_spectrum import grid_contrast, grid_share, power_spectrum, radial_shares

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
    low, high = bounds(pixels, epsilon)
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
    loss = feature_loss(Subject(model), f"{layer}:7", "raise")
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


def test_a_wave_has_all_its_power_at_its_radius() -> None:
    row, column = np.mgrid[0:48, 0:48]
    wave = np.cos(2 * np.pi * (3 * row + 4 * column) / 48)
    shares = radial_shares(power_spectrum(np.stack([wave] * 3)[None]))
    assert shares.shape == (1, 25)
    assert shares[0, 5] == pytest.approx(1)


def test_power_is_that_of_parseval_and_shares_add_up_to_one() -> None:
    delta = np.random.default_rng(0).standard_normal((4, 3, 32, 40))
    power = power_spectrum(delta)
    np.testing.assert_allclose(power.mean((1, 2)), (delta**2).sum((2, 3)).mean(1))
    np.testing.assert_allclose(radial_shares(power).sum(1), 1)
    assert np.isnan(radial_shares(np.zeros((1, 32, 40)))).all()


def test_what_repeats_in_every_patch_lies_on_the_lines_of_the_grid() -> None:
    rng = np.random.default_rng(0)
    same = np.tile(rng.standard_normal((1, 3, 8, 8)), (1, 1, 6, 6))
    noise = rng.standard_normal((64, 3, 48, 48))
    drawn = np.zeros((1, 3, 48, 48))
    drawn[..., ::8, :] -= 1
    drawn[..., :, ::8] -= 1
    off = np.roll(drawn, 3, -1) + 5  # neither the place of the grid nor the mean counts
    for delta in (same, drawn, off):
        assert grid_share(power_spectrum(delta), (6, 6))[0] == pytest.approx(1)
        assert grid_contrast(power_spectrum(delta), (6, 6))[0] == pytest.approx(5)
    power = power_spectrum(noise)
    assert grid_share(power, (6, 6)).mean() == pytest.approx(7 / 47, abs=2e-3)  # of 47 frequencies 7 are multiples of 6
    assert grid_contrast(power, (6, 6)).mean() == pytest.approx(1, abs=0.01)
    assert grid_contrast(power_spectrum(same), (5, 5))[0] < 2
    for measure in (grid_share, grid_contrast):
        assert np.isnan(measure(np.zeros((1, 48, 48)), (6, 6))).all()
    assert grid_share(power, (48, 48)).max() == 0
    assert np.isnan(grid_contrast(power, (4, 4))).all()


def test_a_slope_is_no_grid() -> None:
    slope = np.abs(np.fft.fftfreq(96)) * 96
    power = (200 - slope)[:, None] * (200 - slope)[None, :]
    assert grid_contrast(power[None], (10, 10))[0] == pytest.approx(1, abs=2e-3)


@pytest.mark.slow
def test_accuracy_falls_and_curves_are_of_images_known_before() -> None:
    result = run_probe("adversarial", "mini:supervised", "mini:emoji", n=16, epsilons=(4.0,), steps=4, shown=3)
    values = result.rows.pivot_table(index="image", columns=["metric", "series", "x"], values="value")
    known = values["correct", "clean", 0] == 1
    curve = values["cross-entropy", "pgd, epsilon 4"]
    assert curve.columns.tolist() == [0, 1, 2, 3, 4]
    assert curve.notna().all(axis=1).tolist() == known.tolist()
    assert known.any()
    assert (curve[4] > curve[0])[known].all()
    assert values["probability", "pgd", 4].mean() < values["probability", "clean", 0].mean()
    probability = np.exp(-curve[0][known])
    np.testing.assert_allclose(probability, values["probability", "clean", 0][known], rtol=1e-3)
    assert set(result.artifacts) == {
        f"mini:supervised/{name}, epsilon 4/{what}" for name in ("fgsm", "pgd") for what in ("delta", "power")
    }


@pytest.mark.slow
def test_an_epsilon_of_zero_is_the_identity() -> None:
    result = run_probe("adversarial", "mini:clip", "mini:emoji", n=8, epsilons=(0.0,), steps=2)
    values = result.rows.pivot_table(index="image", columns=["metric", "series", "x"], values="value")
    assert values["probability", "pgd", 0].tolist() == values["probability", "clean", 0].tolist()
    assert np.allclose(values["cosine", "fgsm", 0], 1)


@pytest.mark.slow
def test_a_features_activation_is_driven_down_and_up() -> None:
    feature = "blocks.3.mlp.hidden:5"
    result = run_probe(
        "adversarial", "mini:supervised", "mini:emoji", n=8, attacks=(), features=(feature,), steps=3, shown=0
    )
    curves = result.curves[result.curves["metric"] == "activation"].set_index(["series", "x"])["value"]
    down, up = (curves[f"{goal} {feature}, epsilon 1"] for goal in ("lower", "raise"))
    assert down[0] == pytest.approx(up[0])
    assert down[3] < down[0] < up[3]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epsilons": (300.0,)}, "grey levels from 0 to 255"),
        ({"attacks": ("cw",)}, "attacks are a tuple of fgsm, pgd"),
        ({"goals": "lower"}, "goals are a tuple"),
        ({"features": "blocks.3.mlp.hidden:5"}, "features are a tuple"),
        ({"steps": 0}, "steps must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        Adversarial(**wrong)  # type: ignore[arg-type]


def test_a_feature_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("mini:supervised")
    monkeypatch.setattr(VisionModel, "capture", lambda *args: pytest.fail("it computed"))
    with pytest.raises(ProbeError, match="has features 0 to"):
        run_probe("adversarial", model, "mini:emoji", n=4, features=("blocks.3.mlp.hidden:99999",))
