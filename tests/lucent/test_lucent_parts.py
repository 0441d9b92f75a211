"""Parts of Lucent's interface, without torch-lucent."""

import re

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conceptprobe import load_model
from conceptprobe.lucent.activations import ActivationLookup, LazyActivations, NamedModel
from conceptprobe.lucent.adapters import LucentOptimizer, LucentParametrization
from conceptprobe.lucent.modelzoo.util import get_model_layers
from conceptprobe.lucent.optvis import objectives, param, transform
from conceptprobe.lucent.util import set_seed
from conceptprobe.models import UnknownLayerError, VisionModel
from conceptprobe.visualization.errors import VisualizeError


def acts(**layers: Tensor):  # type: ignore[no-untyped-def]
    return layers.__getitem__


def test_objectives_are_arithmetic_and_never_change() -> None:
    values = acts(a=torch.arange(24.0).reshape(2, 3, 2, 2), b=torch.ones(2, 3, 2, 2))
    first, second = objectives.channel("a", 1), objectives.channel("b", 0)
    both = 2 * first - second / 4 + 1
    before = first(values)
    assert both(values) == pytest.approx(2 * -11.5 + 0.25 + 1)
    both += first
    assert first(values) == before
    assert (-first)(values) == -before
    assert (1 - first)(values) == 1 - before
    assert sum([first, second])(values) == pytest.approx(before + second(values))
    assert first.description == "Channel [a, 1]"
    with pytest.raises(TypeError, match="a number"):
        first * second  # type: ignore[operator]


def test_objectives_by_hand() -> None:
    a = torch.randn(3, 4, 3, 5, generator=torch.Generator().manual_seed(0))
    values, weight = acts(a=a), torch.tensor([1.0, -2.0, 0.5, 3.0])
    assert objectives.neuron("a", 2)(values) == pytest.approx(-a[:, 2, 1, 2].mean().item())
    assert objectives.neuron("a", 2, x=4, y=0)(values) == pytest.approx(-a[:, 2, 0, 4].mean().item())
    assert objectives.channel("a", 2, batch=1)(values) == pytest.approx(-a[1, 2].mean().item())
    weighted = (a * weight[:, None, None]).mean().item()
    assert objectives.channel_weight("a", weight)(values) == pytest.approx(-weighted)
    cosine = torch.cosine_similarity(a, weight[None, :, None, None], dim=1)
    assert objectives.direction("a", weight)(values) == pytest.approx(-cosine.mean().item())
    assert objectives.direction_neuron("a", weight, x=1, y=2)(values) == pytest.approx(-cosine[:, 2, 1].mean().item())
    with pytest.raises(VisualizeError, match="3 numbers for 4 channels"):
        objectives.direction("a", torch.ones(3))(values)


def test_as_objective() -> None:
    made = objectives.as_objective("blocks.3.mlp.hidden: 12")
    assert made.description == "Channel [..., 12]"  # type: ignore[attr-defined]
    given = lambda T: T("a").mean()  # noqa: E731, N803
    assert objectives.as_objective(given) is given
    for wrong in ("mixed4a", 3, None):
        with pytest.raises(VisualizeError, match="no objective"):
            objectives.as_objective(wrong)


def test_a_vit_s_channel_is_a_feature_over_its_patches() -> None:
    model = load_model("mini:clip", device="cpu")
    pixels = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    looked = ActivationLookup(NamedModel(model, tokens_known=True), LazyActivations(model, pixels), lambda: pixels)
    name = "blocks.4.mlp.hidden"
    tokens = model.capture(pixels, [name])[name]
    assert looked(name).shape == (2, 768, 6, 6)
    expected = -tokens[:, 1:, 7].mean().item()
    assert objectives.channel(name, 7)(looked).item() == pytest.approx(expected, rel=1e-5)
    assert objectives.neuron(name, 7, x=2, y=1)(looked).item() == pytest.approx(
        -tokens[:, 1 + 1 * 6 + 2, 7].mean().item(), rel=1e-5
    )
    lucent_name = next(n for n in get_model_layers(model) if n.endswith("blocks_4_mlp_act"))
    assert torch.equal(looked(lucent_name), looked(name))
    assert looked("input") is pixels
    assert torch.equal(looked("labels"), model.encode_image(pixels, normalize=False))


def test_layers_that_are_not_there_or_not_clear() -> None:
    model = load_model("mini:clip", device="cpu")
    named = NamedModel(model, tokens_known=True)
    with pytest.raises(UnknownLayerError, match=re.escape("blocks.4.mlp.hidden")):
        named.layer("blocks.4.mlp.hiden")
    with pytest.raises(VisualizeError, match="token n for channel n"):
        named.lucent_name("blocks.4.mlp.hidden")
    twice = nn.Sequential()
    twice.add_module("a_b", nn.Sequential(nn.Conv2d(3, 2, 1)))
    twice.add_module("a", nn.Sequential())
    twice.a.add_module("b", nn.Sequential(nn.Conv2d(2, 2, 1)))  # type: ignore[union-attr]
    wrapped = VisionModel.wrap(twice, layers=(), image_size=8, mean=(0.0,) * 3, std=(1.0,) * 3)
    with pytest.raises(VisualizeError, match=re.escape("module:a_b or module:a.b")):
        NamedModel(wrapped, tokens_known=False).layer("a_b")


def test_images_start_from_torch_s_own_random_numbers() -> None:
    set_seed(3)
    first = param.image(16, h=12, batch=2)[1]()
    set_seed(3)
    second = param.image(16, h=12, batch=2)[1]()
    assert first.shape == (2, 3, 12, 16)
    assert first.equal(second)
    assert first.min() > 0
    assert first.max() < 1


def test_a_param_f_is_a_parametrization_with_exact_gradients() -> None:
    set_seed(0)
    leaves, image_f = param.image(6, batch=2)
    shared = torch.tensor(0.3, requires_grad=True)
    given = LucentParametrization([*leaves, shared], lambda: image_f() * shared, torch.device("cpu"))
    rows = given.start((6, 6), []).requires_grad_()
    pull = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((given.images(rows, (6, 6)) * pull).sum(), rows)
    expected = torch.autograd.grad((image_f() * shared * pull).sum(), [*leaves, shared])
    assert gradient[0].equal(torch.cat([g.flatten() for g in expected]))
    assert not gradient[1].any()
    assert leaves[0].grad is None


def test_a_torch_optimizer_moves_as_it_does_alone() -> None:
    def make() -> tuple[list[Tensor], torch.optim.Optimizer]:
        leaves = [torch.full((2, 3), 0.5, requires_grad=True), torch.ones(4, requires_grad=True)]
        return leaves, torch.optim.SGD(leaves, lr=0.1, momentum=0.9)

    (leaves, optimizer), (alone, other) = make(), make()
    given = LucentParametrization(leaves, lambda: leaves[0].sum().expand(1, 3, 2, 2), torch.device("cpu"))
    mover, params = LucentOptimizer(given, optimizer), given.rows(leaves)
    for step in range(3):
        gradient = torch.arange(10.0)[None] + step
        params = mover.move(params, gradient, gradient, gradient, step)
        alone[0].grad, alone[1].grad = gradient[0, :6].reshape(2, 3), gradient[0, 6:]
        other.step()
    assert params[0].equal(torch.cat([x.detach().flatten() for x in alone]))
    with pytest.raises(VisualizeError, match="LBFGS"):
        LucentOptimizer(given, torch.optim.LBFGS(leaves))


def test_transforms_are_functions_of_images_and_known_to_the_engine() -> None:
    image = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert transform.pad(2)(image).shape == (2, 3, 20, 20)
    composed = transform.compose(transform.standard_transforms)
    set_seed(1)
    first = composed(image)
    set_seed(1)
    assert first.equal(composed(image))
    names = [part.describe()["name"] for part in transform.as_transforms([composed, lambda x: x])]
    assert names == ["Pad", "Jitter", "OneScale", "OneRotation", "Jitter", "FunctionTransform"]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (image.numpy() - mean[:, None, None]) / std[:, None, None]
    assert np.allclose(transform.normalize()(image), expected, atol=1e-6)
    assert transform.preprocess_inceptionv1()(image).max() <= 138
    with pytest.raises(VisualizeError, match="at least 2"):
        transform.jitter(1)
    with pytest.raises(VisualizeError, match="choose one of constant"):
        transform.pad(2, mode="wrap")


def test_one_of_some_scales_and_angles() -> None:
    wave = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    slopes = set()
    set_seed(0)
    scale = transform.random_scale([0.5, 2.0])
    for _ in range(12):
        row = scale(wave)[0, 0, 16, 12:20]
        slopes.add(round(float(row[-1] - row[0]) * 31 / 7, 2))
    assert slopes == {0.5, 2.0}
    quarter = transform.random_rotate([np.pi / 2], units="radians")(wave)
    assert torch.allclose(quarter, torch.rot90(wave, 1, (2, 3)), atol=1e-5)


def test_nothing_is_made_on_the_default_device() -> None:
    torch.set_default_device("meta")
    try:
        made = [
            param.image(8),
            param.image(8, fft=False),
            param.cppn(8, num_layers=3),
            param.lowres_tensor((1, 3, 8, 8), (1, 3, 4, 4)),
        ]
        devices = {image_f().device.type for _, image_f in made}
        devices.add(transform.compose(transform.standard_transforms)(made[0][1]().detach()).device.type)
    finally:
        torch.set_default_device(None)
    assert devices == {"cpu"}
