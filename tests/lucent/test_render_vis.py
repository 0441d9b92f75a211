"""Lucent scripts on this library's engine, and on torch-lucent itself."""

import importlib
import importlib.util
import re
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor, nn

from conceptprobe import load_model
from conceptprobe.lucent import baseline
from conceptprobe.lucent.activations import ActivationLookup, LazyActivations
from conceptprobe.lucent.optvis import objectives, param, render
from conceptprobe.lucent.util import set_seed
from conceptprobe.models import UnknownLayerError, VisionModel
from conceptprobe.visualization.errors import VisualizeError

needs_lucent = pytest.mark.skipif(importlib.util.find_spec("lucent") is None, reason="torch-lucent is not installed")
QUIET: dict[str, Any] = {"progress": False, "show_image": False}


def real(part: str) -> Any:
    return importlib.import_module(f"lucent.{part}")


@pytest.fixture
def cnn() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2), nn.ReLU(), nn.Sequential(nn.Conv2d(8, 12, 3), nn.ReLU()), nn.Conv2d(12, 6, 3),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    ).eval()  # fmt: skip


def ours(cnn: nn.Module, image: Tensor) -> ActivationLookup:
    named = render._name_layers(cnn, (image.shape[2], image.shape[3]), True)
    return ActivationLookup(named, LazyActivations(named.model, image), lambda: image)


@needs_lucent
def test_objectives_agree_with_torch_lucent_on_equal_images(cnn: nn.Module) -> None:
    image = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(1))
    theirs = real("optvis.objectives")
    hook = real("optvis.render").hook_model(cnn, lambda: image)
    cnn(real("optvis.transform").normalize()(image))
    looked, weight = ours(cnn, image), torch.tensor([1.0, -1, 2, 0, 3, 1, 0, -2, 1, 1, 0, 2])
    cases: list[tuple[str, tuple[Any, ...]]] = [
        ("channel", ("2_0", 5)),
        ("channel", ("labels", 2)),
        ("neuron", ("2_0", 5)),
        ("neuron", ("2_0", 5, 3, 2)),
        ("neuron", ("2_0", 5, 3, 2, 1)),
        ("channel_weight", ("2_1", weight)),
        ("localgroup_weight", ("2_0", weight, 1, 2, 3, 4)),
        ("direction", ("2_0", weight)),
        ("direction_neuron", ("2_0", weight, 1, 2)),
        ("blur_input_each_step", ()),
        ("channel_interpolate", ("0", 1, "3", 2)),
        ("alignment", ("2_0",)),
        ("diversity", ("2_0",)),
    ]
    for name, arguments in cases:
        expected, made = getattr(theirs, name)(*arguments), getattr(objectives, name)(*arguments)
        assert made(looked).item() == pytest.approx(expected(hook).item(), rel=1e-4), name
    mixed = [
        -0.5 * module.channel("0", 1) + 2 * module.diversity("2_0") - module.neuron("3", 0) / 3
        for module in (theirs, objectives)
    ]
    assert mixed[1](looked).item() == pytest.approx(mixed[0](hook).item(), rel=1e-4)


@needs_lucent
@pytest.mark.parametrize(("w", "h"), [(16, 16), (15, 12)])
def test_parametrizations_agree_with_torch_lucent(w: int, h: int) -> None:
    theirs = real("optvis.param")
    for settings in ({}, {"fft": False}, {"decorrelate": False}, {"batch": 2, "sd": 0.5}, {"channels": 3}):
        images = []
        for module in (theirs, param):
            set_seed(4)
            images.append(module.image(w, h=h, **settings)[1]().detach())
        assert torch.allclose(images[1], images[0], atol=2e-6), settings
    for offset in (None, False):
        images = []
        for module in (theirs, param):
            set_seed(4)
            images.append(module.lowres_tensor((2, 3, h, w), (1, 3, 4, 5), offset=offset)[1]().detach())
        assert torch.allclose(images[1], images[0], atol=1e-6), offset


@needs_lucent
def test_one_script_optimises_on_both_engines(cnn: nn.Module) -> None:
    """The same start, objective and optimiser, without transforms: the same steps, so nearly the same image."""
    made = {}
    objective = objectives.channel("2_0", 5) + 0.5 * objectives.channel("3", 1)
    for engine in ("conceptprobe", "lucent"):
        set_seed(2)
        made[engine] = render.render_vis(
            cnn, objective, lambda: param.image(40), transforms=[], thresholds=(1, 8), fixed_image_size=40,
            engine=engine, **QUIET,  # type: ignore[arg-type]
        )  # fmt: skip
    set_seed(2)
    start = param.image(40)[1]().detach()
    for images in made.values():
        assert [image.shape for image in images] == [(1, 40, 40, 3)] * 2
        end = torch.tensor(images[-1]).permute(0, 3, 1, 2)
        assert objective(ours(cnn, end)) < objective(ours(cnn, start)) - 0.01
    for first, second in zip(*made.values(), strict=True):
        assert np.abs(first - second).max() < 2e-3
        assert np.abs(first - second).mean() < 1e-4


@needs_lucent
def test_standard_transforms_on_both_engines_and_no_hook_stays(cnn: nn.Module) -> None:
    users = cnn[0].register_forward_hook(lambda *_: None)
    for engine in ("conceptprobe", "lucent"):
        set_seed(0)
        (image,) = render.render_vis(cnn, "2_0:5", lambda: param.image(32), thresholds=(4,), engine=engine, **QUIET)  # type: ignore[arg-type]
        assert image.shape == (1, 32, 32, 3)
        assert 0 < image.min() < image.max() < 1
    assert sum(len(part._forward_hooks) for part in cnn.modules()) == 1
    assert all(weight.grad is None and weight.requires_grad for weight in cnn.parameters())
    users.remove()


@needs_lucent
def test_a_model_s_own_normalisation_is_the_baseline_s_too(cnn: nn.Module) -> None:
    model = VisionModel.wrap(cnn, image_size=32, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    made = []
    for engine in ("conceptprobe", "lucent"):
        set_seed(2)
        made += render.render_vis(
            model, "2_0:5", lambda: param.image(32), transforms=[], thresholds=(5,), engine=engine, **QUIET
        )  # type: ignore[arg-type]
    assert np.abs(made[0] - made[1]).max() < 2e-3


@needs_lucent
def test_the_baseline_refuses_layers_of_tokens() -> None:
    with pytest.raises(VisualizeError, match="token n for channel n"):
        render.render_vis(
            load_model("mini:clip", device="cpu"), "blocks.3.mlp.hidden:1", thresholds=(1,), engine="lucent", **QUIET
        )


def test_without_torch_lucent_the_baseline_says_what_to_install(
    cnn: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(baseline.importlib, "import_module", missing)
    with pytest.raises(VisualizeError, match=re.escape("pip install 'conceptprobe[lucent]'")):
        render.render_vis(cnn, "0:1", thresholds=(1,), engine="lucent", **QUIET)


@pytest.mark.slow
def test_a_script_picks_the_right_feature_of_a_vit() -> None:
    """Of three images, each made for another of 768 features, a feature is highest in the one that was made for it.

    The numbers are below that of tokens, 37: taking tokens for features would raise no error."""
    model = load_model("mini:clip", device="cpu")
    name, chosen = "blocks.4.mlp.hidden", [1, 3, 25]
    set_seed(0)
    goal = objectives.Objective.sum(objectives.channel(name, index, batch=i) for i, index in enumerate(chosen))
    (images,) = render.render_vis(model, goal, lambda: param.image(48, batch=3), thresholds=(24,), **QUIET)
    with torch.no_grad():
        tokens = model.capture(torch.tensor(images).permute(0, 3, 1, 2), [name])[name]
    pooled = tokens[:, 1:, chosen].mean(1)
    assert pooled.argmax(0).tolist() == [0, 1, 2]
    others = pooled.masked_fill(torch.eye(3, dtype=torch.bool), -torch.inf).amax(0)
    assert (pooled.diagonal() > others + 0.1).all()
    assert all(not part._forward_hooks for part in model.module.modules())


def test_a_function_of_t_a_network_and_a_set_of_images_on_a_vit(tmp_path: Any) -> None:
    model = load_model("mini:clip", device="cpu")
    name = "blocks.2.mlp.out"

    def loss(T: Any) -> Tensor:  # noqa: N803
        return -T(name)[:, 3].mean() - T("input").mean()

    made = render.render_vis(
        model, objectives.Objective(loss) - 0.1 * objectives.diversity(name), lambda: param.image(24, batch=3),
        thresholds=(1, 3), transforms=[lambda x: x * 0.9], views=2, save_image=True,
        image_name=tmp_path / "set.png", optimizer=lambda params: torch.optim.SGD(params, lr=0.5), **QUIET,
    )  # fmt: skip
    assert [images.shape for images in made] == [(3, 24, 24, 3)] * 2
    assert Image.open(tmp_path / "set.png").size == (72, 24)
    assert made[1].mean() > made[0].mean()
    (painted,) = render.render_vis(model, loss, lambda: param.cppn(24, num_layers=4), thresholds=(3,), **QUIET)
    assert painted.std() > 0


def test_plain_vits_say_how_their_tokens_lie_and_others_are_refused() -> None:
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=2, num_classes=5).eval()
    set_seed(0)
    images = render.render_vis(vit, "blocks_1_mlp_act:3", lambda: param.image(32), thresholds=(2,), **QUIET)
    assert images[0].shape == (1, 32, 32, 3)

    class Unknown(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(3, 4)

        def forward(self, pixels: Tensor) -> Tensor:
            return self.inner(pixels.flatten(2).transpose(1, 2))

    with pytest.raises(VisualizeError, match="which of them are patches"):
        render.render_vis(Unknown(), "inner:1", lambda: param.image(32), thresholds=(1,), fixed_image_size=32, **QUIET)


def test_without_preprocessing_the_model_sees_the_images_themselves(cnn: nn.Module) -> None:
    model = VisionModel.wrap(cnn, image_size=32, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    made = []
    for given in (model, cnn):
        set_seed(2)
        made += render.render_vis(
            given, "2_0:5", lambda: param.image(32), transforms=[], thresholds=(3,), preprocess=False,
            fixed_image_size=32, **QUIET,
        )  # fmt: skip
    assert np.abs(made[0] - made[1]).max() < 1e-5


def test_mistakes_are_told_before_work_starts(cnn: nn.Module) -> None:
    with pytest.raises(UnknownLayerError, match="2_0"):
        render.render_vis(cnn, "2_O:1", thresholds=(1,), **QUIET)
    with pytest.raises(VisualizeError, match="one number"):
        render.render_vis(cnn, lambda t: t("2_0"), thresholds=(1,), **QUIET)
    with pytest.raises(VisualizeError, match="3,H,W"):
        render.render_vis(cnn, "2_0:1", lambda: param.image(8, channels=1), thresholds=(1,), **QUIET)
    with pytest.raises(VisualizeError, match="require gradients"):
        render.render_vis(cnn, "2_0:1", lambda: ([], lambda: torch.rand(1, 3, 8, 8)), thresholds=(1,), **QUIET)
    with pytest.raises(VisualizeError, match="conceptprobe or lucent"):
        render.render_vis(cnn, "2_0:1", engine="lucid", **QUIET)  # type: ignore[arg-type]
    with pytest.raises(VisualizeError, match="leave out fixed_image_size"):
        render.render_vis(load_model("mini:clip", device="cpu"), "final:1", fixed_image_size=64, **QUIET)
