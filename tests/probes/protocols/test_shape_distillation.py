import hashlib

import numpy as np
import pytest
import torch

from conceptprobe.images import ImageSource, load_images
from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes import ProbeError, ProbeResult, run_probe
from conceptprobe.probes.protocols.shape_distillation import LEAST, TEACHERS, split, teach

TOKENS = ("class token, texture-free teacher", "shape token, texture-free teacher")


def some(count: int, *groups: str) -> ImageSource:
    """As many images of each group."""
    source = load_images("mini:emoji/noto")
    names = np.asarray(source.table["group"].to_pylist())
    return source.subset(np.concatenate([np.flatnonzero(names == group)[:count] for group in groups]))


def weights(model: VisionModel) -> str:
    state = {name: value.numpy().tobytes() for name, value in model.module.state_dict().items()}
    return hashlib.sha256(b"".join(name.encode() + value for name, value in sorted(state.items()))).hexdigest()


@pytest.mark.slow
def test_the_model_stays_as_it_is() -> None:
    model = load_model("mini:supervised")
    before, random_state = weights(model), torch.get_rng_state()
    wanted = [weight.requires_grad for weight in model.module.parameters()]
    result = run_probe("shape_distillation", model, some(18, "food-drink", "animals-nature"), steps=2)
    assert weights(model) == before
    assert [weight.requires_grad for weight in model.module.parameters()] == wanted
    assert all(weight.grad is None for weight in model.module.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)
    assert len(result.frame["image"].unique()) == 12
    assert result.caveats[0].startswith("A toy: one block with two tokens, trained for 2 steps on 24 images")


@pytest.mark.slow
def test_it_finds_both_tokens_of_both_students_and_again_the_same() -> None:
    def ask() -> ProbeResult:
        return run_probe(
            "shape_distillation", "mini:clip", some(30, "food-drink", "animals-nature", "people-body"), steps=30
        )

    result, again = ask(), ask()
    assert result.frame.equals(again.frame)
    assert {*TOKENS, *TEACHERS} < {*result.frame["series"]}
    found = result.curves.set_index(["metric", "series"])["value"]
    assert found["correct, toy", TOKENS[0]] > 0.6  # of three classes
    assert found["correct", TEACHERS[1]] > 0.6
    assert -1 <= found["cosine of the two tokens", TEACHERS[0]] < 0.999
    shape, own = (found["shape over texture, toy", token] for token in TOKENS)
    assert found["shape over texture, second - class token, toy", TEACHERS[0]] == pytest.approx(own - shape)
    assert result.artifacts[f"mini:clip/loss by step, {TEACHERS[0]}"].shape == (30,)


def test_a_teacher_has_not_seen_what_it_speaks_of() -> None:
    rng = np.random.default_rng(0)
    shown = rng.standard_normal((120, 200))  # nothing to learn, and room to learn it by rote
    targets = np.arange(120) % 2
    logits, teacher = teach(shown, targets, 0)
    assert (teacher.predict(shown) == targets).mean() > 0.9
    assert (logits.argmax(1) == targets).mean() < 0.65
    np.testing.assert_allclose(np.exp(logits).sum(1), 1, atol=1e-4)


def test_a_third_of_each_class_is_tested_by_the_images_ids() -> None:
    ids, targets = tuple(f"image {i}" for i in range(90)), np.arange(90) // 30
    found = split(ids, targets, 0)
    assert [found[targets == i].sum() for i in range(3)] == [10, 10, 10]
    order = np.random.default_rng(0).permutation(90)
    assert np.array_equal(split(tuple(ids[i] for i in order), targets[order], 0), found[order])
    assert not np.array_equal(split(ids, targets, 1), found)


def test_what_cannot_be_learned_is_refused_before_any_image_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VisionModel, "capture", lambda *args: pytest.fail("it computed"))
    source = some(LEAST, "food-drink", "animals-nature")
    with pytest.raises(ProbeError, match="classes of 'label' have 12 images among the 24"):
        run_probe("shape_distillation", "mini:clip", source, column="label")
    with pytest.raises(ProbeError, match="has no column 'species'"):
        run_probe("shape_distillation", "mini:clip", source, column="species")
    with pytest.raises(ProbeError, match="timm:resnet10t@random has no tokens"):
        run_probe("shape_distillation", "timm:resnet10t@random", source)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "own"),
    [
        ("timm:vit_tiny_patch16_224@random", False),
        ("timm:deit_tiny_distilled_patch16_224@random", True),
        ("timm:vit_small_patch14_reg4_dinov2@random#112", False),
        ("open_clip:ViT-B-32@random", False),
    ],
)
def test_every_kind_of_vit_can_be_asked(spec: str, own: bool) -> None:
    result = run_probe("shape_distillation", spec, some(LEAST, "food-drink", "animals-nature"), steps=1)
    assert ("the model's own" in {*result.frame["series"]}) == own
    cosines = result.frame[result.frame["metric"] == "cosine of the two tokens"]["value"]
    assert cosines.between(-1, 1).all()
    assert len(result.frame["image"].unique()) == 8
