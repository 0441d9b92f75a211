"""Objectives: their arithmetic, their keys, and what is refused before any work."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from conceptprobe.errors import ConceptProbeError
from conceptprobe.feature import FeatureId
from conceptprobe.models import UnknownLayerError, VisionModel, load_model
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
    negative,
    text,
    token,
)
from tests.visualization.objective_models import CLASSES, cnn, mixer

HIDDEN = "module:hidden"
IMAGE = Image.new("RGB", (8, 8), (200, 30, 60))


@pytest.fixture(scope="module")
def clip():
    return load_model("mini:clip", "cpu")


@pytest.fixture(scope="module")
def model():
    return mixer()


def make_sae(inputs=7, latents=3, layer=HIDDEN):
    weight = torch.ones(inputs, latents, device="cpu")
    return SAE(layer, weight, weight[0], weight.T.contiguous(), weight[:, 0], torch.zeros(latents, device="cpu"))


@pytest.mark.parametrize(
    ("objective", "key"),
    [
        (feature("blocks.5.mlp.hidden", 12), "blocks.5.mlp.hidden:12"),
        (feature("blocks.5.mlp.hidden:12"), "blocks.5.mlp.hidden:12"),
        (feature(FeatureId("final", 3), pooling="max"), "final:3 max"),
        (feature("module:a.0", 3, 7), "module:a.0:3 patch 7"),
        (feature("final", np.int64(3), "patch 7"), "final:3 patch 7"),
        (cls("final", 3), "final:3 cls"),
        (token("final", 3, 0), "final:3 token 0"),
        (logit("red fox"), "logit 'red fox'"),
        (logit(3), "logits:3"),
        (text("a dog"), "text 'a dog'"),
        (text("a dog", against="a photo"), "(text 'a dog' - text 'a photo')"),
        (negative(feature("a", 0)), "-1 * a:0"),
        (feature("a", 0) - 0.5 * feature("b", 1), "(a:0 - 0.5 * b:1)"),
        (2 * (feature("a", 0) + feature("b", 1)) * 3, "2 * (a:0 + b:1) * 3"),
        (1 - feature("a", 0), "(1 - a:0)"),
        (sum([feature("a", 0), feature("b", 1)]), "(a:0 + b:1)"),
        (diversity("a:1", images=3, weight=2), "(a:1 - 2 * a similarity in 3)"),
        (diversity(feature("a", 1), layer="b"), "(a:1 - 1 * b similarity in 4)"),
        (diversity("module:4", images=2), "-1 * module:4 similarity in 2"),
        (diversity("module:4:5", images=2), "(module:4:5 - 1 * module:4 similarity in 2)"),
    ],
)
def test_a_key_says_what_is_maximised(objective, key):
    assert objective.key == key
    assert repr(objective) == f"Objective({key})"
    assert pickle.loads(pickle.dumps(objective)) == objective


def test_vectors_and_images_enter_a_key_by_what_they_hold():
    vector = np.arange(1, 4)
    keys = {
        direction("a", vector).key,
        direction("a", vector.tolist()).key,
        direction("a", torch.tensor(vector, device="cpu", dtype=torch.float64)).key,
    }
    assert len(keys) == 1
    assert direction("a", vector, cosine=True).key not in keys
    assert direction("a", vector + 1).key not in keys
    other = Image.new("RGB", (8, 8), (200, 30, 61))
    assert distance(IMAGE, "a").key == distance(IMAGE.copy(), "a").key != distance(other, "a").key
    assert distance(IMAGE.resize((4, 16)), "a").key != distance(IMAGE, "a").key
    assert caricature(IMAGE, ["a", "b"], 2).key.count(" + ") == 1
    assert latent(make_sae(), 1).key != latent(make_sae(inputs=6), 1).key


def test_keys_are_the_same_in_every_process():
    """The digits were printed by another process."""
    assert direction("a", [1, 2, 3]).key == "a direction c33cb3990fc5"
    assert distance(IMAGE, "b").key == "b distance bfdafef1d9a1"
    assert latent(make_sae(), 1).key == "module:hidden sae 3455491fe992:1"


def test_operands_stay_as_they_are():
    a, b = feature("a", 0), feature("b", 1, "max")
    vector = torch.ones(3, device="cpu")
    image = IMAGE.copy()
    before = [a.key, b.key, (d := direction("c", vector)).key, (far := distance(image, "c")).key]
    total = a
    for other in (b, d, far, 2):
        total = total + other
        total *= 2
        total -= other
    assert (-total).key == f"-1 * {total.key}"
    vector.zero_()
    image.paste((0, 0, 0), (0, 0, 8, 8))
    assert [a.key, b.key, d.key, far.key] == before
    assert a == feature("a", 0)
    assert hash(a) == hash(feature("a", 0))
    assert a != feature("a", 0, "max")


def test_a_set_makes_as_many_images_as_it_is_told():
    many = diversity("a:0", images=3)
    assert (feature("a", 0).images, many.images, (feature("b", 1) - many).images) == (1, 3, 3)
    with pytest.raises(VisualizeError, match="one side makes 3 images and the other 4"):
        many + diversity("b:0", images=4)


def test_for_a_model_names_are_in_full_and_classes_are_numbers(clip, model):
    assert feature("blocks[-1].mlp.hidden", 3).on(clip).key == "blocks.5.mlp.hidden:3"
    mixed = diversity(feature("blocks[2].resid", 3) - text("a dog"), layer="blocks[-1].resid").on(clip)
    assert mixed.key == "((blocks.2.resid:3 - text 'a dog') - 1 * blocks.5.resid similarity in 4)"
    assert logit("red fox").on(model).key == logit(3).on(model).key == "logits:3"
    assert logit("Tench").on(model).key == "logits:0"
    assert logit(CLASSES[1]).on(model).key == "logits:1"


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: feature("hidden", 0), "no layer 'hidden'"),
        (lambda: feature("module:hiden", 0), "module:hidden"),
        (lambda: feature(HIDDEN, 7), "module:hidden has 7 features, 0 to 6: there is no 7"),
        (lambda: feature(HIDDEN, -1), "there is no -1"),
        (lambda: feature(HIDDEN, 0, "median"), "'median' is unknown"),
        (lambda: feature(HIDDEN, 0, -1), "-1 is unknown"),
        (lambda: feature(HIDDEN, 0, 4), "has 4 patches, 0 to 3: there is no 4"),
        (lambda: token(HIDDEN, 0, 5), "has 5 tokens, 0 to 4: there is no 5"),
        (lambda: feature(HIDDEN), "not a feature"),
        (lambda: feature(HIDDEN, 1.5), "1.5 is not a whole number"),
        (lambda: logit(4), "logits has 4 features"),
        (lambda: logit("red fix"), "no such class. Did you mean red fox"),
        (lambda: logit("crane"), r"fits several classes.*1 \(crane, bird\), 2"),
        (lambda: feature("logits", 0, "max"), "one vector for an image"),
        (lambda: text("a dog"), "mixer has no text tower"),
        (lambda: text(" "), "takes words"),
        (
            lambda: direction(HIDDEN, torch.ones(6, device="cpu")),
            "the vector has 6 numbers, module:hidden has 7 features",
        ),
        (lambda: direction(HIDDEN, [0.0] * 7), "not all 0"),
        (lambda: direction(HIDDEN, [float("nan")] * 7), "finite"),
        (lambda: direction(HIDDEN, [[1.0] * 7]), r"this one has shape \[1, 7\]"),
        (lambda: direction(HIDDEN, "up"), "a direction is a vector of numbers, not str"),
        (lambda: diversity(HIDDEN, images=1), "a set has 1 images: at least 2"),
        (lambda: diversity(feature(HIDDEN, 0), layer="module:nothing"), "no layer"),
        (lambda: caricature(IMAGE, HIDDEN, power=-1), "power of a caricature is -1: it must be at least 0"),
        (lambda: caricature(IMAGE, []), "at least one layer"),
        (lambda: distance("dog.png", HIDDEN), "an image is a PIL image or float pixels .* not str"),
        (lambda: latent(make_sae(), 3), "the autoencoder has 3 latents, 0 to 2: there is no 3"),
        (lambda: latent(make_sae(6), 0), "the autoencoder reads 6 features, module:hidden has 7"),
        (lambda: feature(HIDDEN, 0) * float("inf"), "finite number"),
        (lambda: feature(HIDDEN, 0) + (feature(HIDDEN, 9) - 1), "there is no 9"),
    ],
)
def test_what_is_wrong_is_said_before_the_model_looks_at_anything(model, make, says, monkeypatch):
    model.resolve([HIDDEN, "logits"])
    monkeypatch.setattr(model, "_run", lambda pixels: pytest.fail("the model ran"))
    with pytest.raises(ConceptProbeError, match=says):
        bind(model, [make()], views=1)


def test_a_layer_that_the_model_lacks_has_near_matches(clip):
    with pytest.raises(UnknownLayerError, match=r"blocks\.5\.mlp\.hidden"):
        feature("blocks.5.mlp.hiden", 0).on(clip)
    with pytest.raises(VisualizeError, match=r"'blocks\.\*\.resid' selects 6 layers \(blocks\.0\.resid, "):
        feature("blocks.*.resid", 0).on(clip)
    with pytest.raises(VisualizeError, match="attention maps"):
        feature("blocks.5.attn.probs", 0).on(clip)
    with pytest.raises(VisualizeError, match="no classifier"):
        logit(3).on(clip)
    with pytest.raises(VisualizeError, match=r"logit 'dog': .*take text"):
        logit("dog").on(clip)
    with pytest.raises(VisualizeError, match="no CLS token"):
        cls("patch_embed", 0).on(clip)


def test_only_objectives_and_numbers_combine():
    with pytest.raises(TypeError):
        feature("a", 0) + "b:1"
    with pytest.raises(TypeError):
        [1] * feature("a", 0)


def test_positions_are_counted_where_no_grid_is_declared():
    model = VisionModel.wrap(
        nn.Sequential(nn.Flatten(2), nn.Linear(16, 5)), layers=["1"], image_size=4, mean=(0.0,) * 3, std=(1.0,) * 3
    )
    assert feature("module:1", 0, 2).on(model).key == "module:1:0 patch 2"
    with pytest.raises(VisualizeError, match="has 3 patches, 0 to 2: there is no 3"):
        feature("module:1", 0, 3).on(model)


def test_a_map_has_patches_and_no_tokens():
    model = cnn()
    assert token("module:conv", 0, 15).on(model).key == "module:conv:0 token 15"
    with pytest.raises(VisualizeError, match="has 16 patches"):
        token("module:conv", 0, 16).on(model)
    with pytest.raises(VisualizeError, match="no CLS token"):
        cls("module:conv", 0).on(model)
