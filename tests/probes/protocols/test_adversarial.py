import numpy as np
import pytest

from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes import ProbeError, run_probe


@pytest.mark.slow
def test_accuracy_falls_and_curves_are_of_images_known_before() -> None:
    result = run_probe("adversarial", "mini:supervised", "mini:emoji", n=16, epsilons=(4.0,), steps=4, shown=3)
    values = result.frame.pivot_table(index="image", columns=["metric", "series", "x"], values="value")
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
    values = result.frame.pivot_table(index="image", columns=["metric", "series", "x"], values="value")
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


def test_a_feature_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model("mini:supervised")
    monkeypatch.setattr(VisionModel, "capture", lambda *args: pytest.fail("it computed"))
    with pytest.raises(ProbeError, match="has features 0 to"):
        run_probe("adversarial", model, "mini:emoji", n=4, features=("blocks.3.mlp.hidden:99999",))
