"""Values of objectives against loops in float64, and that no unit's value or gradient depends on another unit."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from conceptprobe.models import load_model
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.objectives.binding import bind
from conceptprobe.visualization.objectives.objectives import (
    SAE,
    caricature,
    cls,
    direction,
    distance,
    diversity,
    feature,
    latent,
    logit,
    text,
    token,
)
from conceptprobe.visualization.objectives.similarity import inner_products
from tests.visualization.objective_models import cnn, mixer, random_pixels

HIDDEN = "module:hidden"
CONV = "module:conv"
VECTOR = [0.5, -1.0, 2.0, 0.25, -0.5, 1.5, -2.0]


@pytest.fixture(scope="module")
def clip():
    return load_model("mini:clip", "cpu")


@pytest.fixture(scope="module")
def picture():
    levels = np.random.default_rng(5).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(levels)


def values_of(model, objectives, pixels, views=1, early=False):
    evaluator = bind(model, objectives, views)
    with torch.no_grad():
        acts = model.capture(pixels, evaluator.early_layers if early else evaluator.layers)
        return evaluator(acts, early)


def captured(model, pixels, layer):
    """Activations as float64 arrays: [b][position][feature]."""
    with torch.no_grad():
        acts = model.capture(pixels, [layer])[layer].double()
    return acts.flatten(2).transpose(1, 2).numpy() if acts.ndim == 4 else acts.numpy()


def dot(a, b):
    return math.fsum(float(x) * float(y) for x, y in zip(np.ravel(a), np.ravel(b), strict=True))


def cosine(a, b):
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def make_sae(threshold=0.0):
    generator = torch.Generator().manual_seed(4)
    weight = torch.randn(7, 9, generator=generator, device="cpu")
    bias, centre = (torch.randn(n, generator=generator, device="cpu") for n in (9, 7))
    return SAE(HIDDEN, weight, bias.abs() + 2, weight.T.contiguous(), centre, torch.full((9,), threshold, device="cpu"))


def latent_by_hand(sae, index, patch):
    before = dot(patch - sae.centre_d.double().numpy(), sae.encoder_df[:, index].double().numpy())
    before += float(sae.bias_f[index])
    return before if before > max(0.0, float(sae.threshold_f[index])) else 0.0


HAND = {
    "mean": (feature(HIDDEN, 3), lambda x: math.fsum(x[1:, 3]) / 4),
    "max": (feature(HIDDEN, 3, "max"), lambda x: max(x[1:, 3])),
    "cls": (cls(HIDDEN, 3), lambda x: x[0, 3]),
    "patch": (feature(HIDDEN, 3, 2), lambda x: x[3, 3]),
    "token": (token(HIDDEN, 3, 2), lambda x: x[2, 3]),
    "direction": (direction(HIDDEN, VECTOR), lambda x: math.fsum(dot(p, VECTOR) for p in x[1:]) / 4),
    "direction max": (direction(HIDDEN, VECTOR, "max"), lambda x: max(dot(p, VECTOR) for p in x[1:])),
    "cosine": (direction(HIDDEN, VECTOR, cosine=True), lambda x: math.fsum(cosine(p, VECTOR) for p in x[1:]) / 4),
    "cosine cls": (direction(HIDDEN, VECTOR, "cls", cosine=True), lambda x: cosine(x[0], VECTOR)),
    "latent": (
        latent(make_sae(), 5),
        lambda x: math.fsum(latent_by_hand(make_sae(), 5, p) for p in x[1:]) / 4,
    ),
    "jump": (
        latent(make_sae(1.5), 5, "max"),
        lambda x: max(latent_by_hand(make_sae(1.5), 5, p) for p in x[1:]),
    ),
    "sum": (feature(HIDDEN, 3) + cls(HIDDEN, 0), lambda x: math.fsum(x[1:, 3]) / 4 + x[0, 0]),
    "difference": (
        2 - feature(HIDDEN, 3, "max") * 0.5 - feature(HIDDEN, 2, 1) * cls(HIDDEN, 1),
        lambda x: 2 - 0.5 * max(x[1:, 3]) - x[2, 2] * x[0, 1],
    ),
}


@pytest.mark.parametrize("name", HAND)
def test_a_value_is_what_a_loop_in_float64_gives(name):
    model = mixer()
    objective, by_hand = HAND[name]
    pixels = random_pixels(model, 6)
    values = values_of(model, [objective, objective], pixels, views=3)
    assert (values.shape, values.dtype) == ((2, 1, 3), torch.float32)
    expected = [by_hand(image) for image in captured(model, pixels, HIDDEN)]
    assert values.flatten().tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_all_of_them_at_once_are_what_they_are_alone():
    model = mixer()
    pixels = random_pixels(model, 2 * len(HAND))
    together = values_of(model, [objective for objective, _ in HAND.values()], pixels, views=2)
    for value, part, (objective, _) in zip(together, pixels.split(2), HAND.values(), strict=True):
        assert torch.allclose(value, values_of(model, [objective], part, views=2)[0], rtol=1e-5)


def test_each_unit_has_its_own_feature_and_its_own_place():
    model = mixer()
    pixels = random_pixels(model, 4)
    acts = captured(model, pixels, HIDDEN)
    values = values_of(model, [token(HIDDEN, index, at) for index, at in ((0, 4), (6, 0), (0, 4), (2, 1))], pixels)
    expected = [acts[0, 4, 0], acts[1, 0, 6], acts[2, 4, 0], acts[3, 1, 2]]
    assert values.flatten().tolist() == pytest.approx(expected)


def test_a_map_is_read_in_reading_order():
    model = cnn()
    pixels = random_pixels(model, 5)
    with torch.no_grad():
        acts = model.capture(pixels, [CONV])[CONV]
    objectives = [
        feature(CONV, 1),
        feature(CONV, 2, "max"),
        feature(CONV, 3, 6),
        token(CONV, 4, 6),
        direction(CONV, [1, 2, 3, 4, 5], 9),
    ]
    expected = [
        acts[0, 1].mean(),
        acts[1, 2].max(),
        acts[2, 3, 1, 2],
        acts[3, 4, 1, 2],
        acts[4, :, 2, 1] @ torch.arange(1.0, 6),
    ]
    assert torch.allclose(values_of(model, objectives, pixels).flatten(), torch.stack(expected), rtol=1e-5)


def test_a_class_is_one_logit():
    model = mixer()
    pixels = random_pixels(model, 2)
    values = values_of(model, [logit("red fox"), logit(1)], pixels)
    logits = model.logits(pixels)
    assert values.flatten().tolist() == pytest.approx([float(logits[0, 3]), float(logits[1, 1])])


def test_text_is_the_cosine_of_embeddings(clip):
    pixels = random_pixels(clip, 2)
    values = values_of(clip, [text("a red apple"), text("a red apple", against="a photo")], pixels)
    with torch.no_grad():
        image = clip.encode_image(pixels, normalize=False).double().numpy()
        words = clip.encode_text(["a red apple", "a photo"]).double().numpy()
    expected = [cosine(image[0], words[0]), cosine(image[1], words[0]) - cosine(image[1], words[1])]
    assert values.flatten().tolist() == pytest.approx(expected, abs=1e-6)


def test_contrast_is_the_arithmetic_difference(clip):
    a, b = feature("blocks.4.mlp.hidden", 7), feature("blocks.5.resid", 100, "max")
    pixels = random_pixels(clip, 3)
    alone = [values_of(clip, [objective], pixels, views=3) for objective in (a, b)]
    assert torch.equal(values_of(clip, [a - b], pixels, views=3), alone[0] - alone[1])
    assert torch.equal(values_of(clip, [b - a], pixels, views=3), alone[1] - alone[0])


@pytest.mark.parametrize("name", ["mean", "max", "cls", "patch", "token", "cosine", "latent", "difference"])
def test_both_layouts_agree_where_there_are_as_many_images_as_tokens(name):
    batch_first, time_first = mixer(), mixer(time_first=True)
    objectives = [HAND[name][0]] * 3 + [feature(HIDDEN, 4), cls(HIDDEN, 1)]  # five units of five tokens
    pixels = random_pixels(batch_first, 5)
    expected = values_of(batch_first, objectives, pixels)
    assert torch.allclose(values_of(time_first, objectives, pixels), expected, atol=1e-6)
    assert len(set(expected.flatten().tolist())) == 5


def test_a_difference_of_layers_captures_both_in_model_order(clip):
    evaluator = bind(clip, [text("dog"), feature("blocks.5.mlp.hidden", 0) + feature("blocks.1.resid", 3)], 1)
    assert evaluator.layers == ("blocks.1.resid", "blocks.5.mlp.hidden", "embedding")
    assert evaluator.early_layers == ("blocks.1.resid", "blocks.5.mlp.pre", "embedding")


def test_the_warm_up_looks_before_the_activation(clip):
    objectives = [feature("blocks.3.mlp.hidden", 9), direction("blocks.3.mlp.hidden", np.arange(768)), cls("final", 2)]
    pixels = random_pixels(clip, 3)
    before = [feature("blocks.3.mlp.pre", 9), direction("blocks.3.mlp.pre", np.arange(768)), cls("final", 2)]
    assert torch.equal(values_of(clip, objectives, pixels, early=True), values_of(clip, before, pixels))
    assert not torch.equal(values_of(clip, objectives, pixels), values_of(clip, before, pixels))


def test_a_latent_that_is_off_has_a_gradient_in_the_warm_up():
    model = mixer()
    sae = make_sae(threshold=1e6)
    pixels = random_pixels(model, 1).requires_grad_()
    evaluator = bind(model, [latent(sae, 5)], 1)
    value = evaluator(model.capture(pixels, evaluator.layers))
    assert value.item() == 0
    assert not torch.autograd.grad(value.sum(), pixels)[0].any()
    early = evaluator(model.capture(pixels, evaluator.early_layers), early=True)
    acts = captured(model, pixels, HIDDEN)[0, 1:]
    by_hand = [dot(p - sae.centre_d.numpy(), sae.encoder_df[:, 5].numpy()) + float(sae.bias_f[5]) for p in acts]
    assert early.item() == pytest.approx(math.fsum(by_hand) / 4, rel=1e-4)
    assert torch.autograd.grad(early.sum(), pixels)[0].any()


ALL_KINDS = [
    feature(HIDDEN, 0),
    feature(HIDDEN, 6),
    feature(HIDDEN, 2, "max"),
    direction(HIDDEN, VECTOR, cosine=True),
    latent(make_sae(), 1),
    logit(2) - feature(HIDDEN, 5),
]


@pytest.mark.parametrize("early", [False, True])
def test_a_units_gradient_stays_within_the_unit(early, picture):
    model = mixer()
    objectives = [*ALL_KINDS, caricature(picture, HIDDEN), distance(picture, HIDDEN)]
    pixels = random_pixels(model, 2 * len(objectives)).requires_grad_()
    evaluator = bind(model, objectives, views=2)
    values = evaluator(model.capture(pixels, evaluator.early_layers if early else evaluator.layers), early)
    for unit, value in enumerate(values):
        (gradient,) = torch.autograd.grad(value.sum(), pixels, retain_graph=True)
        touched = gradient.flatten(1).any(1)
        assert touched.tolist() == [image // 2 == unit for image in range(len(pixels))]


def test_a_view_has_no_part_in_another_views_gradient():
    model = mixer()
    pixels = random_pixels(model, 4 * 3).requires_grad_()
    evaluator = bind(model, [diversity(feature(HIDDEN, 1), images=2), diversity(feature(HIDDEN, 2), images=2)], views=3)
    values = evaluator(model.capture(pixels, evaluator.layers))
    (gradient,) = torch.autograd.grad(values[1, 0, 2], pixels)
    touched = gradient.flatten(1).abs().sum(1).unflatten(0, (2, 2, 3)) > 0
    expected = torch.zeros(2, 2, 3, dtype=torch.bool)
    expected[1, :, 2] = True
    assert torch.equal(touched, expected)


def test_a_set_is_kept_apart_by_the_cosine_of_its_covariances():
    model = mixer()
    pixels = random_pixels(model, 2 * 3 * 2)
    values = values_of(model, [diversity(f"{HIDDEN}:{i}", images=3, weight=5) for i in (1, 2)], pixels, views=2)
    acts = captured(model, pixels, HIDDEN)[:, 1:].reshape(2, 3, 2, 4, 7)
    for n in range(2):
        for g in range(3):
            for e in range(2):
                grams = [np.cov(acts[n, h, e].T) for h in range(3)]
                others = [cosine(grams[g], grams[h]) for h in range(3) if h != g]
                expected = math.fsum(acts[n, g, e, :, n + 1]) / 4 - 5 * math.fsum(others) / 2
                assert float(values[n, g, e]) == pytest.approx(expected, rel=1e-4)


def test_vectors_of_a_set_are_kept_apart_by_their_cosine():
    model = mixer()
    pixels = random_pixels(model, 2)
    values = values_of(model, [diversity("logits", images=2, weight=3)], pixels)
    logits = model.logits(pixels).double().numpy()
    assert values.flatten().tolist() == pytest.approx([-3 * cosine(*logits)] * 2, rel=1e-5)


def test_images_that_are_all_the_same_are_as_alike_as_can_be_and_flat_ones_do_no_harm():
    model = mixer()
    same = random_pixels(model, 1).expand(3, -1, -1, -1)
    assert torch.allclose(values_of(model, [diversity(HIDDEN, images=3)], same), torch.tensor(-1.0))
    flat = torch.full((3, 3, 8, 8), 0.5, requires_grad=True)
    evaluator = bind(model, [diversity(HIDDEN, images=3)], 1)
    (gradient,) = torch.autograd.grad(evaluator(model.capture(flat, evaluator.layers)).sum(), flat)
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("patches", "features"), [(3, 40), (40, 3)])
def test_both_ways_to_compare_covariances_agree(patches, features):
    acts = torch.randn(2, 2, 3, patches, features, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gram = acts.transpose(3, 4) @ acts
    expected = (gram[:, :, None] * gram[:, None]).sum((4, 5))
    assert torch.allclose(inner_products(acts), expected)


def test_a_caricature_of_several_layers_is_the_sum(picture):
    model = mixer()
    target = model.preprocess(picture)[None]
    pixels = torch.cat([target, random_pixels(model, 3)])
    values = values_of(model, [caricature(picture, [HIDDEN, "logits"], power=2.5)], pixels, views=4)
    expected = []
    for b in range(4):
        value = 0.0
        for layer in (HIDDEN, "logits"):
            own, wanted = captured(model, pixels, layer)[b], captured(model, target, layer)[0]
            if layer == HIDDEN:
                own, wanted = own[1:], wanted[1:]
            value += dot(own, wanted) / dot(wanted, wanted) * max(cosine(own, wanted), 0.1) ** 2.5
        expected.append(value)
    assert values.flatten().tolist() == pytest.approx(expected, rel=1e-4)
    assert expected[0] == pytest.approx(2)


def test_a_distance_is_relative_to_the_image(picture):
    model = cnn()
    target = model.preprocess(picture)[None]
    pixels = torch.cat([target, random_pixels(model, 1)])
    values = values_of(model, [distance(picture, CONV), distance(target[0], CONV)], pixels[[0, 1]])
    own, wanted = captured(model, pixels, CONV), captured(model, target, CONV)[0]
    assert float(values[0]) == pytest.approx(0, abs=1e-10)
    expected = dot(own[1] - wanted, own[1] - wanted) / dot(wanted, wanted)
    assert float(values[1]) == pytest.approx(expected, rel=1e-5)


def test_views_of_another_size_are_refused_where_places_are_compared(picture):
    model = cnn()
    evaluator = bind(model, [distance(picture, CONV)], 1)
    with pytest.raises(VisualizeError, match="has 16 patches, a view has 64"):
        evaluator(model.capture(torch.rand(1, 3, 16, 16), evaluator.layers))


def test_the_largest_patch_gets_the_gradient():
    model = cnn()
    pixels = random_pixels(model, 1)
    acts = model.capture(pixels, [CONV])[CONV].requires_grad_()
    value = bind(model, [feature(CONV, 2, "max")], 1)({CONV: acts})
    (gradient,) = torch.autograd.grad(value.sum(), acts)
    expected = torch.zeros_like(gradient)
    expected[0, 2].view(-1)[acts[0, 2].argmax()] = 1
    assert torch.equal(gradient, expected)


def test_units_are_evaluated_in_their_order_and_together(monkeypatch):
    model = mixer()
    evaluator = bind(model, [feature(HIDDEN, i % 7) if i % 3 else cls(HIDDEN, i % 7) for i in range(30)], 1)
    assert len(evaluator._groups) == 2
    acts = torch.arange(30 * 5 * 7.0).reshape(30, 5, 7)
    expected = [acts[i, 1:, i % 7].mean() if i % 3 else acts[i, 0, i % 7] for i in range(30)]
    assert torch.allclose(evaluator({HIDDEN: acts}).flatten(), torch.stack(expected))


def test_objectives_that_cannot_be_evaluated_together_are_refused():
    model = mixer()
    with pytest.raises(VisualizeError, match=r"\[1, 4\] images a unit"):
        bind(model, [feature(HIDDEN, 0), diversity(feature(HIDDEN, 0))], 1)
    with pytest.raises(VisualizeError, match="there are 0 objectives and 1 views"):
        bind(model, [], 1)


@pytest.mark.parametrize("early", [False, True])
def test_everything_is_made_on_the_models_device(clip, picture, early):
    model = mixer()
    pixels, clip_pixels = random_pixels(model, 8), random_pixels(clip, 2)
    plain = [(HAND[name][0] - 0.5 * feature(HIDDEN, 0)).key for name in HAND]
    torch.set_default_device("meta")
    try:
        objectives = [
            *ALL_KINDS,
            caricature(picture, HIDDEN),
            distance(picture, HIDDEN) + direction(HIDDEN, VECTOR) + token(HIDDEN, 1, 1),
        ]
        values = values_of(model, objectives, pixels, early=early)
        sets = values_of(model, [diversity(f"{HIDDEN}:1", images=4)] * 2, pixels, early=early)
        words = values_of(clip, [text("dog"), text("cat")], clip_pixels, early=early)
        assert [(HAND[name][0] - 0.5 * feature(HIDDEN, 0)).key for name in HAND] == plain
    finally:
        torch.set_default_device(None)
    for value in (values, sets, words):
        assert value.device.type == "cpu"
        assert value.isfinite().all()


def test_half_precision_activations_are_added_up_in_float32():
    model = mixer()
    acts = torch.full((1, 5, 7), 0.1, dtype=torch.bfloat16)
    value = bind(model, [direction(HIDDEN, [1.0] * 7)], 1)({HIDDEN: acts})
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(7 * float(torch.tensor(0.1, dtype=torch.bfloat16)), rel=1e-6)
