import functools
import math

import numpy as np
import pytest
import torch

from conceptprobe.images import load_images
from conceptprobe.models import load_model
from conceptprobe.models.preprocessing import as_floats
from conceptprobe.probes.framework.images import choose_images
from conceptprobe.probes.framework.run_settings import RunSettings
from conceptprobe.probes.stimuli.distillation_token import (
    TwoTokens,
    distillation_loss,
    distilled_tokens,
    read_tokens,
    train,
)

CPU = torch.device("cpu")
DEIT = "timm:deit_tiny_distilled_patch16_224"


def test_the_loss_by_hand() -> None:
    # Cross-entropy ln 2. The token says 1/4 and 3/4, the teacher 1/2 and 1/2: KL = ln(4/3) / 2.
    class_logits, teacher = torch.zeros(1, 2), torch.zeros(1, 2)
    token = torch.tensor([[0.0, math.log(3)]])
    loss = distillation_loss(class_logits, token, torch.tensor([0]), teacher)
    assert float(loss) == pytest.approx(0.5 * math.log(2) + 0.5 * math.log(4 / 3) / 2, rel=1e-6)
    assert float(loss) == pytest.approx(0.418494, abs=1e-6)


def test_a_temperature_by_hand() -> None:
    # At tau = 2 a token of 2 ln 3 says what one of ln 3 says at 1; its part is four times as large.
    zeros, token = torch.zeros(1, 2), torch.tensor([[0.0, 2 * math.log(3)]])
    loss = distillation_loss(zeros, token, torch.tensor([0]), zeros, alpha=1, tau=2)
    assert float(loss) == pytest.approx(4 * math.log(4 / 3) / 2, rel=1e-6)


def test_the_loss_is_the_mean_over_images_and_not_over_classes() -> None:
    rng = np.random.default_rng(0)
    class_logits, token, teacher = (torch.from_numpy(rng.standard_normal((5, 7))) for _ in range(3))
    targets = torch.tensor([0, 6, 2, 2, 1])
    each = [
        distillation_loss(*(x[i : i + 1] for x in (class_logits, token, targets, teacher)), alpha=0.3)  # type: ignore[arg-type]
        for i in range(5)
    ]
    whole = distillation_loss(class_logits, token, targets, teacher, alpha=0.3)
    assert float(whole) == pytest.approx(float(torch.stack(each).mean()), rel=1e-12)


def test_each_token_learns_its_own_lesson() -> None:
    """The teacher says the opposite of the labels: the second token follows it, the class token does not."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(64) % 2
    frozen = torch.randn(64, 5, 8, generator=generator)
    frozen[:, :, 0] += (4.0 * targets - 2)[:, None]
    teacher = torch.nn.functional.one_hot(1 - targets, 2) * 8.0
    settings = {"loss": distillation_loss, "steps": 60, "rate": 1e-2, "seed": 0, "device": CPU}
    before = torch.get_rng_state()
    student, losses = train(frozen, targets, teacher, **settings)  # type: ignore[arg-type]
    assert torch.equal(torch.get_rng_state(), before)
    tokens, logits = read_tokens(student, frozen)
    assert (tokens.shape, logits.shape, losses.shape) == ((64, 2, 8), (64, 2, 2), (60,))
    assert (logits[:, 0].argmax(1) == targets.numpy()).mean() > 0.95
    assert (logits[:, 1].argmax(1) == 1 - targets.numpy()).mean() > 0.95
    assert losses[-1] < losses[0] / 4
    again, same = train(frozen, targets, teacher, **settings)  # type: ignore[arg-type]
    assert np.array_equal(losses, same)
    assert all(torch.equal(a, b) for a, b in zip(student.parameters(), again.parameters(), strict=True))


def test_without_weight_the_second_token_is_not_taught() -> None:
    generator = torch.Generator().manual_seed(0)
    frozen, targets = torch.randn(16, 3, 8, generator=generator), torch.arange(16) % 2
    loss = functools.partial(distillation_loss, alpha=0)
    student, _ = train(frozen, targets, torch.zeros(16, 2), loss=loss, steps=3, rate=1e-2, seed=1, device=CPU)
    fresh = TwoTokens(8, 2, 1)
    decay = (1 - 1e-2 * 1e-2) ** 3  # AdamW shrinks weights that have no gradient too
    assert torch.allclose(student.heads[1].weight, fresh.heads[1].weight * decay)
    assert not torch.allclose(student.heads[0].weight, fresh.heads[0].weight * decay, atol=1e-4)


@pytest.mark.slow
def test_own_tokens_of_a_distilled_checkpoint_add_up_to_its_logits(tmp_path) -> None:  # type: ignore[no-untyped-def]
    state = load_model(f"{DEIT}@random").module.state_dict()
    path = tmp_path / "deit.pth"
    torch.save({"model": {name: 1.1 * value for name, value in state.items()}}, path)  # as authors save them
    model = load_model(f"{DEIT}@{path}")
    levels = choose_images(load_images("mini:emoji/noto"), RunSettings(n=2)).pixels(model)
    first, second = distilled_tokens(model, levels)
    assert (first.name, second.name) == ("class token", "distillation token")
    assert not torch.allclose(first.value_nc, second.value_nc, atol=1e-3)
    with torch.inference_mode():
        logits = model.logits(as_floats(levels))
    torch.testing.assert_close((first.logits_nc + second.logits_nc) / 2, logits)


def test_other_models_have_no_such_tokens() -> None:
    model = load_model("mini:supervised")
    assert distilled_tokens(model, torch.zeros(1, 3, 48, 48, dtype=torch.uint8)) == ()
