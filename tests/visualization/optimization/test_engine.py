import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conceptprobe.models import Tokens, VisionModel, load_model
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.objectives.expressions import Objective
from conceptprobe.visualization.objectives.objectives import distance, diversity, feature
from conceptprobe.visualization.optimization.batching import Chunks, default_units
from conceptprobe.visualization.optimization.checkpoint import Checkpoint
from conceptprobe.visualization.optimization.engine import Optimised, near_layer, optimise
from conceptprobe.visualization.optimization.optimizers import Optimizer, moments
from conceptprobe.visualization.optimization.presets import Near, Preset, get_preset
from conceptprobe.visualization.optimization.regularizers import L2, TotalVariation
from conceptprobe.visualization.parametrizations.parametrizations import Fourier, Phase, Pixels
from conceptprobe.visualization.settings import VisualizationSettings, choose_settings

PLAIN = replace(get_preset("fourier"), transforms=(), views=1, early=0.0)
SHORT = replace(get_preset("fourier"), steps=6, views=2)
SIZE = (64, 64)
PATCH, FILTERS = 16, 8


def patch_model() -> VisionModel:
    """Linear filters of 16 px patches, drawn from a seed: their optimum is known."""
    module = nn.Sequential(nn.Conv2d(3, FILTERS, PATCH, stride=PATCH, bias=False))
    module[0].weight.data = torch.randn(module[0].weight.shape, generator=torch.Generator("cpu").manual_seed(3))
    return VisionModel.wrap(module, layers=["0"], image_size=SIZE, mean=(0.0,) * 3, std=(1.0,) * 3)


class Mixer(nn.Module):
    """A small transformer for 32 px images without a CLS token, token-first where asked for; 16 tokens of width 24."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.batch_first = batch_first
        self.embed = nn.Conv2d(3, 24, 8, stride=8)
        layers = [nn.TransformerEncoderLayer(24, 2, 48, 0.1, "gelu", batch_first=batch_first) for _ in range(2)]
        self.blocks = nn.ModuleList(layers)

    def forward(self, pixels_bchw: Tensor) -> Tensor:
        x_btc = self.embed(pixels_bchw).flatten(2).transpose(1, 2)
        x = x_btc if self.batch_first else x_btc.transpose(0, 1)
        for block in self.blocks:
            x = block(x)
        return x.mean(1 if self.batch_first else 0)


def mixer(batch_first: bool = True) -> VisionModel:
    module = Mixer(batch_first)
    generator = torch.Generator("cpu").manual_seed(5)
    for weight in module.parameters():
        weight.data = 0.2 * torch.randn(weight.shape, generator=generator, device="cpu")
    return VisionModel.wrap(
        module,
        layers=["blocks.0", "blocks.1"],
        image_size=32,
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        tokens=Tokens(grid=(4, 4), batch_first=batch_first),
        name="mixer",
    )


def some(layer: str, features: Sequence[int], **options: Any) -> list[Objective]:
    return [feature(layer, index, **options) for index in features]


def run(model: VisionModel, objectives: Sequence[Objective], preset: Preset = SHORT, **options: Any) -> Optimised:
    """With a seed of each objective's own."""
    seeds = [sum(objective.key.encode()) + member for objective in objectives for member in range(objective.images)]
    chosen = {name: options.pop(name) for name in ("size", "frames", "compile") if name in options}
    return optimise(model, objectives, seeds, settings(model, preset, **chosen), **options)


def settings(model: VisionModel, preset: Preset, **options: Any) -> VisualizationSettings:
    return choose_settings(model, preset, **{"size": model.image_size, **options})


def weights_of(model: VisionModel) -> Tensor:
    return model.module[0].weight.detach()


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("kind", ["adam", "nadam"])
def test_the_optimizers_are_those_of_torch(kind: str, schedule: str) -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(50, generator=generator, dtype=torch.float64)
    theirs = ours.clone().requires_grad_()
    own = Optimizer(kind, 0.05, (0.8, 0.97), schedule, 40)  # type: ignore[arg-type]
    known = {"adam": torch.optim.Adam, "nadam": torch.optim.NAdam}[kind]([theirs], 0.05, (0.8, 0.97))
    constant = torch.optim.lr_scheduler.ConstantLR(known, 1.0)
    annealed = torch.optim.lr_scheduler.CosineAnnealingLR(known, 40)
    first, second = moments(ours)
    for step in range(40):
        theirs.grad = torch.randn(50, generator=generator, dtype=torch.float64)
        ours = own.move(ours, theirs.grad, first, second, step)
        known.step()
        (annealed if schedule == "cosine" else constant).step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-8)  # theirs keeps a momentum in float32


@pytest.mark.slow
def test_pixels_reach_the_planted_optimum() -> None:
    model = patch_model()
    preset = replace(PLAIN, parametrization=Pixels(), learning_rate=0.05, steps=100)
    made = run(model, some("module:0", range(FILTERS)), preset)
    reached, low, high = reach(model, made)
    assert ((reached - low) / (high - low)).min() >= 0.99


@pytest.mark.slow
def test_fourier_reaches_most_of_the_planted_optimum() -> None:
    model = patch_model()
    made = run(model, some("module:0", range(FILTERS)), replace(PLAIN, learning_rate=0.1, steps=400))
    reached, low, high = reach(model, made)
    assert ((reached - low) / (high - low)).min() >= 0.85


def reach(model: VisionModel, made: Optimised) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the finished images give, and what images in [0,1] can give at least and at most."""
    weight_fd = weights_of(model).double().flatten(1)
    images_nhwc = torch.from_numpy(made.images_nghwc[:, 0]).double()
    patches = images_nhwc.permute(0, 3, 1, 2).unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)  # [n,3,4,4,16,16]
    patches_npd = patches.permute(0, 2, 3, 1, 4, 5).reshape(FILTERS, -1, weight_fd.shape[1])
    reached = (patches_npd * weight_fd[:, None]).sum(2).mean(1)
    return reached.numpy(), weight_fd.clamp(max=0).sum(1).numpy(), weight_fd.clamp(min=0).sum(1).numpy()


@pytest.mark.slow
def test_phases_reach_their_own_bound() -> None:
    model, phase = patch_model(), Phase(squash="none")
    made = run(
        model, some("module:0", range(FILTERS)), replace(PLAIN, parametrization=phase, learning_rate=0.1, steps=300)
    )
    # Of phases p a linear unit is constant + sum of a cos(p - t): its gradients at 0 and pi / 2 tell every a and t.
    sine, value = phase_gradient(model, phase, 0.0)
    cosine, _ = phase_gradient(model, phase, math.pi / 2)
    amplitude = torch.hypot(sine, cosine).flatten(1).sum(1)
    constant = value + cosine.flatten(1).sum(1)
    assert (((torch.from_numpy(made.curves_ns[:, -1]) - constant) / amplitude) >= 0.98).all()


def phase_gradient(model: VisionModel, phase: Phase, at: float) -> tuple[Tensor, Tensor]:
    params = torch.full((FILTERS, 3, SIZE[0], SIZE[1] // 2 + 1), at, requires_grad=True)
    maps = model.capture(phase.images(params, SIZE), "module:0")["module:0"]
    value_f = maps.mean((2, 3)).diagonal()
    return torch.autograd.grad(value_f.sum(), params)[0], value_f.detach()


def test_the_layout_of_tokens_does_not_matter() -> None:
    # 2 units of 8 views are a batch of as many as there are tokens, and the features are numbered below that.
    preset = replace(SHORT, views=8)
    made = {first: run(mixer(first), some("module:blocks.1", (3, 14)), preset).images_nghwc for first in (True, False)}
    np.testing.assert_allclose(made[True], made[False], atol=1e-4)
    other = run(mixer(), some("module:blocks.1", (4, 15)), preset).images_nghwc
    assert np.abs(other - made[True]).max() > 1e-2


class Elementwise(nn.Module):
    """Patch filters as products and sums, which are rounded in the same way in a batch of any size."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weights", torch.randn(8, 3, 32, 32, generator=torch.Generator("cpu").manual_seed(4)))

    def forward(self, pixels_bchw: Tensor) -> Tensor:
        return torch.stack([(pixels_bchw * weight).square().mean((1, 2, 3)) for weight in self.weights], 1)


@pytest.mark.parametrize("preset", ["fourier", "ghiasi", "maco", "accentuate"])
def test_an_image_is_the_same_to_the_bit_where_the_model_does_not_round_by_batch(preset: str) -> None:
    model = VisionModel.wrap(
        Elementwise(), layers=(), image_size=32, mean=(0.5,) * 3, std=(0.25,) * 3, class_names="abcdefgh"
    )
    recipe = replace(get_preset(preset), steps=5, views=3, near=None)
    objectives = some("logits", range(8))
    together = run(model, objectives, recipe).images_nghwc
    backwards = run(model, objectives[::-1], recipe).images_nghwc[::-1]
    chunked = np.concatenate([run(model, objectives[at : at + 3], recipe).images_nghwc for at in (0, 3, 6)])
    alone = np.concatenate([run(model, [objective], recipe).images_nghwc for objective in objectives])
    for other in (backwards, chunked, alone):
        assert other.tobytes() == together.tobytes()
    assert len({image.tobytes() for image in together}) == 8


@pytest.mark.slow
def test_an_image_does_not_depend_on_the_others() -> None:
    check_independence(mixer(), some("module:blocks.1", range(8)), few=slice(3, 6))


@pytest.mark.slow
def test_an_image_of_the_mini_clip_does_not_depend_on_63_others() -> None:
    check_independence(load_model("mini:clip", device="cpu"), some("blocks.1.mlp.hidden", range(64)), few=slice(20, 24))


def check_independence(model: VisionModel, objectives: list[Objective], few: slice) -> None:
    """After 20 steps with the default preset: in another order, in another chunk, alone."""
    recipe = replace(get_preset("fourier"), steps=20)
    together = run(model, objectives, recipe).images_nghwc
    backwards = run(model, objectives[::-1], recipe).images_nghwc[::-1]
    chunked = run(model, objectives[few], recipe).images_nghwc
    alone = run(model, objectives[few.start : few.start + 1], recipe).images_nghwc
    np.testing.assert_allclose(backwards, together, rtol=0, atol=1e-4)
    np.testing.assert_allclose(chunked, together[few], rtol=0, atol=1e-4)
    np.testing.assert_allclose(alone, together[few.start : few.start + 1], rtol=0, atol=1e-4)


def test_the_same_seed_gives_the_same_bits_and_leaves_the_global_state_alone() -> None:
    model, objectives = mixer(), some("module:blocks.1", range(3))
    before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()
    first, again = (run(model, objectives) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()
    assert first.images_nghwc.tobytes() == again.images_nghwc.tobytes()
    assert first.curves_ns.tobytes() == again.curves_ns.tobytes()
    other = optimise(model, objectives, [7, 8, 9], settings(model, SHORT))
    assert not np.allclose(first.images_nghwc, other.images_nghwc)


class Broken(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails: bool) -> None:
    model = mixer()
    model.module.train()
    model.module.blocks[0].eval()
    model.module.embed.weight.requires_grad_(False)
    seen: list[int] = []
    handle = model.module.blocks[0].register_forward_hook(lambda module, args, output: seen.append(1))
    hooks = [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in model.module.modules()]
    training = [m.training for m in model.module.modules()]
    learning = [w.requires_grad for w in model.module.parameters()]
    weights = [w.detach().clone() for w in model.module.parameters()]

    def stop(step: int) -> None:
        if fails and step == 2:
            raise Broken

    try:
        run(model, some("module:blocks.1", range(2)), on_step=stop)
    except Broken:
        assert fails
    assert len(seen) == (2 if fails else SHORT.steps)
    assert [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in model.module.modules()] == hooks
    assert [m.training for m in model.module.modules()] == training
    assert [w.requires_grad for w in model.module.parameters()] == learning
    assert all(w.grad is None for w in model.module.parameters())
    assert all(torch.equal(w, before) for w, before in zip(model.module.parameters(), weights, strict=True))
    handle.remove()


class Poison(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("a block after the target was run")


def test_nothing_after_the_target_runs_and_the_gradient_is_the_whole_one() -> None:
    model, objectives = mixer(), some("module:blocks.0", range(3))
    whole = run(model, [objective + 0 * feature("module:blocks.1", 0) for objective in objectives], replace(SHORT))
    seeds = [sum((objective + 0 * feature("module:blocks.1", 0)).key.encode()) for objective in objectives]
    model.module.blocks[1] = Poison()
    truncated = optimise(model, objectives, seeds, settings(model, SHORT))
    np.testing.assert_allclose(truncated.images_nghwc, whole.images_nghwc, atol=1e-5)
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    gradients = []
    for clean in (model, mixer()):
        leaf = pixels.clone().requires_grad_()
        if clean is model:
            acts = clean.capture(leaf, "module:blocks.0")["module:blocks.0"]
        else:
            kept: list[Tensor] = []
            clean.module.eval()
            clean.module.blocks[0].register_forward_hook(lambda m, a, out, kept=kept: kept.append(out))
            clean.module((leaf - 0.5) / 0.25)
            acts = kept[0]
        gradients.append(torch.autograd.grad(acts[..., 4].mean(), leaf)[0])
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-7)


@pytest.fixture
def meta() -> Iterator[None]:
    before = torch.get_default_device()
    torch.set_default_device("meta")
    yield
    torch.set_default_device(before)


@pytest.mark.parametrize("preset", ["fourier", "ghiasi", "maco", "accentuate"])
def test_nothing_is_made_on_the_default_device(preset: str, request: pytest.FixtureRequest) -> None:
    model = mixer()
    recipe = replace(get_preset(preset), steps=2, views=2, regularizers=(TotalVariation(0.1), L2(0.1)))
    starts = torch.full((3, 3, 40, 40), 0.4, device="cpu") if recipe.near else None
    objectives = some("module:blocks.1", (1,)) + some("module:blocks.1", (2, 3), pooling="max")
    expected = run(model, objectives, recipe, size=(40, 40), starts=starts, frames=1)
    request.getfixturevalue("meta")
    made = run(model, objectives, recipe, size=(40, 40), starts=starts, frames=1)
    assert made.images_nghwc.tobytes() == expected.images_nghwc.tobytes()
    assert made.frames_ngthwc is not None
    assert made.frames_ngthwc.shape == (3, 1, 3, 40, 40, 3)


class Log(nn.Module):
    """Feature 1 is no number where a value of it is above 0.5, which noise does not give."""

    def forward(self, x_bchw: Tensor) -> Tensor:
        limit = torch.tensor([99.0, 0.5, 99.0], device=x_bchw.device)[:, None, None]
        return x_bchw + 0 * torch.log(limit - x_bchw)


def test_a_unit_that_is_not_finite_stops_alone() -> None:
    module = nn.Sequential(nn.Conv2d(3, 3, 4, stride=4, bias=False), Log())
    module[0].weight.data = 0.2 * torch.randn(3, 3, 4, 4, generator=torch.Generator("cpu").manual_seed(1))
    healthy = nn.Sequential(module[0], nn.Identity())
    made = {}
    for name, each in {"poisoned": module, "healthy": healthy}.items():
        model = VisionModel.wrap(each, layers=["1"], image_size=16, mean=(0.5,) * 3, std=(1.0,) * 3)
        made[name] = run(model, some("module:1", range(3)), replace(PLAIN, steps=30), frames=1)
    sick, well = made["poisoned"], made["healthy"]
    at = sick.stopped[1]
    assert sick.stopped[0] is None
    assert sick.stopped[2] is None
    assert at is not None
    assert 0 < at < 30
    assert sick.images_nghwc[[0, 2]].tobytes() == well.images_nghwc[[0, 2]].tobytes()
    assert np.isfinite(sick.images_nghwc).all()
    assert sick.frames_ngthwc is not None
    assert well.frames_ngthwc is not None
    assert (sick.frames_ngthwc[1, 0, -1] == well.frames_ngthwc[1, 0, at - 1]).all()  # the last good one
    assert np.isfinite(sick.curves_ns[1, :at]).all()
    assert np.isnan(sick.curves_ns[1, at:]).all()


class Stepwise(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach().round()


def test_a_model_without_a_gradient_is_refused() -> None:
    module = nn.Sequential(Stepwise(), nn.Conv2d(3, 2, 4))
    model = VisionModel.wrap(module, layers=["1"], image_size=16, mean=(0.5,) * 3, std=(1.0,) * 3)
    with pytest.raises(VisualizeError, match="no gradient of module:1 reaches the image"):
        run(model, some("module:1", [0]))


def test_it_works_where_gradients_are_switched_off() -> None:
    model, objectives = mixer(), some("module:blocks.0", range(2))
    expected = run(model, objectives)
    with torch.no_grad():
        assert run(model, objectives).images_nghwc.tobytes() == expected.images_nghwc.tobytes()
    with torch.inference_mode():
        assert run(model, objectives).images_nghwc.tobytes() == expected.images_nghwc.tobytes()


def test_a_set_has_images_of_its_own() -> None:
    model = mixer()
    made = run(model, [diversity(feature("module:blocks.0", n), images=3) for n in (1, 2)], size=(24, 40))
    assert made.images_nghwc.shape == (2, 3, 24, 40, 3)
    assert not np.allclose(made.images_nghwc[0, 0], made.images_nghwc[0, 1])


@pytest.mark.slow
def test_near_keeps_an_image_near_its_start() -> None:
    model, objective = mixer(), feature("module:blocks.1", 3)
    starts = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    far = {}
    for weight in (0.0, 30.0):
        preset = replace(PLAIN, steps=40, near=Near(0.0, weight))
        made = run(model, [objective], preset, starts=starts)
        pixels = torch.from_numpy(made.images_nghwc[0, 0]).permute(2, 0, 1)
        far[weight] = [
            model.capture(x[None], "module:blocks.0")["module:blocks.0"].detach() for x in (pixels, starts[0])
        ]
    distances = {weight: float((a - b).square().mean() / b.square().mean()) for weight, (a, b) in far.items()}
    assert near_layer(model, ["module:blocks.1"], 0.0) == "module:blocks.0"
    assert distances[30.0] < 0.2 * distances[0.0]
    assert distance(starts[0], "module:blocks.0").key  # the same distance is an objective


def test_a_start_image_is_where_it_starts() -> None:
    starts = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(2)) * 0.8 + 0.1
    for parametrization in (Fourier(), Pixels()):
        preset = replace(SHORT, parametrization=parametrization, steps=1)
        made = run(mixer(), some("module:blocks.1", range(2)), preset, starts=starts, frames=1)
        assert made.frames_ngthwc is not None
        first = torch.from_numpy(made.frames_ngthwc[:, 0, 0]).permute(0, 3, 1, 2) / 255
        torch.testing.assert_close(first, starts, atol=0.6 / 255, rtol=0)


@pytest.mark.parametrize("stop", [1, 4, 5])
@pytest.mark.parametrize("preset", ["fourier", "ghiasi", "maco"])
def test_a_run_goes_on_from_its_checkpoint_to_the_same_bits(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, preset: str, stop: int
) -> None:
    monkeypatch.setattr("conceptprobe.visualization.optimization.checkpoint.STEPS", 1)
    model, objectives = mixer(), some("module:blocks.1", range(3))
    recipe = replace(get_preset(preset), steps=6, views=2)
    expected = run(model, objectives, recipe, frames=2)
    where = Checkpoint(tmp_path / "state.safetensors", [objective.key for objective in objectives])

    def interrupt(step: int) -> None:
        if step == stop + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(model, objectives, recipe, frames=2, checkpoint=where, on_step=interrupt)
    steps: list[int] = []
    again = Checkpoint(where.path, where.units)
    made = run(model, objectives, recipe, frames=2, checkpoint=again, on_step=steps.append)
    assert steps[0] == stop + 1
    assert made.images_nghwc.tobytes() == expected.images_nghwc.tobytes()
    assert made.curves_ns.tobytes() == expected.curves_ns.tobytes()
    assert made.frames_ngthwc is not None
    assert expected.frames_ngthwc is not None
    assert made.frames_ngthwc.tobytes() == expected.frames_ngthwc.tobytes()
    assert Checkpoint(where.path, where.units[:2]).load() is None


def test_a_damaged_checkpoint_is_none(tmp_path: Any) -> None:
    path = tmp_path / "state.safetensors"
    Checkpoint(path, ["a"]).save(3, {"step": torch.tensor(3)})
    assert Checkpoint(path, ["a"]).load() == {"step": torch.tensor(3)}
    path.write_bytes(path.read_bytes()[:-3])
    assert Checkpoint(path, ["a"]).load() is None


@pytest.mark.slow
def test_chunks_shrink_where_memory_runs_out_and_remember_it() -> None:
    chunks, tried = Chunks(), []

    def make(units: Sequence[int]) -> int:
        tried.append(len(units))
        if len(units) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return sum(units)

    assert list(chunks.run(list(range(8)), 8, make)) == [([0, 1], 1), ([2, 3], 5), ([4, 5], 9), ([6, 7], 13)]
    assert tried == [8, 4, 2, 2, 2, 2]
    assert [list(units) for units, _ in chunks.run([1, 2, 3], 8, make)] == [[1, 2], [3]]


def test_memory_that_is_too_small_for_one_unit_is_an_error_and_other_errors_are_not_hidden() -> None:
    def raises(error: Exception) -> Any:
        def make(units: Sequence[int]) -> None:
            raise error

        return make

    with pytest.raises(VisualizeError, match="lower the views or the size"):
        list(Chunks().run([1, 2], 2, raises(RuntimeError("DefaultCPUAllocator: can't allocate memory: ..."))))
    with pytest.raises(RuntimeError, match="shapes"):
        list(Chunks().run([1, 2], 2, raises(RuntimeError("shapes differ"))))


def test_the_default_keeps_a_device_busy() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert default_units(cpu, 4, 1, (224, 224)) == 8
    assert default_units(cpu, 64, 4, (224, 224)) == 1
    assert default_units(cuda, 8, 1, (224, 224)) == 64
    assert default_units(cuda, 8, 1, (112, 112)) == 256


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "layer", "features"),
    [
        ("mini:supervised", "blocks.3.mlp.hidden", (0, 1)),
        ("mini:clip", "embedding", (0, 1)),
        ("timm:resnet18@random", "module:layer2.1", (1, 2)),  # at 0 nothing gets through its ReLU
        ("timm:resnet18@random", "module:layer2.1.bn1", (0, 1)),
        ("open_clip:ViT-B-32@random", "blocks.2.mlp.hidden", (0, 1)),
    ],
)
def test_it_works_on_every_family(spec: str, layer: str, features: tuple[int, int]) -> None:
    torch.manual_seed(0)
    model = load_model(spec, device="cpu")
    made = run(model, some(layer, features), replace(get_preset("fourier"), steps=8, views=2))
    assert made.images_nghwc.shape == (2, 1, *model.image_size, 3)
    assert (made.curves_ns[:, -1] > made.curves_ns[:, 1]).all()
    assert made.stopped == (None, None)
