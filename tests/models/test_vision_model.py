"""Capture, intervention and derived layers, on a small ViT and on modules made by hand."""

import pickle
import weakref

import open_clip
import pytest
import timm
import torch
from PIL import Image
from torch import Tensor, nn

from conceptprobe.models import ModelError, Tokens, UnknownLayerError, VisionModel, load_model
from conceptprobe.models.anatomy import Anatomy
from conceptprobe.models.layers import Layer
from conceptprobe.models.open_clip import anatomy as open_clip_anatomy
from conceptprobe.models.preprocessing import Preprocessing
from conceptprobe.models.timm import anatomy as timm_anatomy

HALF = (0.5, 0.5, 0.5)


def pixels_for(model: VisionModel, batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, *model.image_size, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("image_size", "tokens"), [(48, 37), (64, 65), (112, 197)])
def test_a_batch_of_as_many_images_as_there_are_tokens(image_size, tokens):
    module = timm.create_model("test_vit", img_size=image_size, patch_size=8, num_classes=0)
    preprocessing = Preprocessing((image_size, image_size), (image_size, image_size), HALF, HALF)
    model = VisionModel("small", module, timm_anatomy(module), preprocessing, architecture="small")
    pixels = pixels_for(model, tokens)
    names = ["patch_embed", "blocks.0.resid", "blocks.0.attn.heads", "blocks.0.attn.probs", "final"]
    with torch.no_grad():
        many = model.capture(pixels, names)
        few = [model.capture(part, names) for part in pixels.split(20)]
    for name in names:
        assert many[name].shape[0] == tokens
        assert torch.allclose(many[name], torch.cat([value[name] for value in few]), atol=1e-5)
    assert many["blocks.0.resid"].shape[1] == tokens


def test_layouts_with_time_first_are_declared_and_not_guessed():
    """OpenAI's own layout [T,B,C], at a batch as large as the number of tokens."""
    tower = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 48}
    text = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}
    clip = open_clip.CLIP(embed_dim=16, vision_cfg=tower, text_cfg=text).eval()
    preprocessing = Preprocessing((48, 48), (48, 48), HALF, HALF)

    def build():
        return VisionModel("c", clip, open_clip_anatomy(clip, 16), preprocessing, architecture="c", forward=clip.visual)

    batch_first = build()
    pixels = pixels_for(batch_first, 37)
    names = [*(layer.name for layer in batch_first.layers), "module:visual.transformer.resblocks.1.ln_2"]
    with torch.no_grad():
        expected = batch_first.capture(pixels, names)
        clip.visual.transformer.batch_first = False
        for block in clip.visual.transformer.resblocks:
            block.attn.batch_first = False
        time_first = build()
        values = time_first.capture(pixels, names)
        for name in names:
            assert torch.allclose(values[name], expected[name], atol=1e-5), name
        for name in ("blocks.0.resid", "blocks.0.attn.heads", "blocks.0.attn.out", "blocks.1.mlp.hidden"):

            def drop_first_image(x: Tensor) -> Tensor:
                return torch.cat([torch.zeros_like(x[:1]), x[1:]])

            with time_first.intervene({name: drop_first_image}):
                changed = time_first.capture(pixels, "embedding")["embedding"]
            assert torch.allclose(changed[1:], expected["embedding"][1:], atol=1e-5)
            assert not torch.allclose(changed[0], expected["embedding"][0], atol=1e-3)


def test_capture_stops_within_a_block(tiny):
    ran = []
    for name in ("attn.proj", "mlp.fc1", "mlp.fc2"):
        module = tiny.module.blocks[2].get_submodule(name)
        module.register_forward_pre_hook(lambda module, args, name=name: ran.append(name))
    pixels = pixels_for(tiny)
    for layer, expected in (
        ("attn.probs", []),
        ("attn.heads", []),
        ("attn.out", ["attn.proj"]),
        ("mlp.pre", ["attn.proj", "mlp.fc1"]),
        ("mlp.hidden", ["attn.proj", "mlp.fc1"]),
        ("mlp.out", ["attn.proj", "mlp.fc1", "mlp.fc2"]),
    ):
        ran.clear()
        tiny.capture(pixels, f"blocks.2.{layer}")
        assert ran == expected, layer


def test_visit_shows_what_capture_gives_and_keeps_nothing(tiny):
    tiny.attach("double", "blocks.1.resid", lambda x: 2 * x, 192)
    names = [layer.name for layer in tiny.layers if not layer.name.endswith("attn.probs")]
    pixels = pixels_for(tiny)
    with torch.inference_mode():
        expected = tiny.capture(pixels, names)
        seen = {}
        tiny.visit(pixels, names, lambda name, value: seen.update({name: value.clone()}))
        assert list(expected) == names
        assert seen.keys() == expected.keys()
        assert list(seen)[-1] == "double"
        for name, value in seen.items():
            assert torch.equal(value, expected[name]), name
        alive, shown = [], []

        def see(name: str, value: Tensor) -> None:
            alive.append([reference() is not None for reference in shown])
            shown.append(weakref.ref(value))

        tiny.visit(pixels, "blocks.*.mlp.hidden", see)
    assert alive == [[False] * count for count in range(len(tiny.resolve("blocks.*.mlp.hidden")))]


def test_a_users_hooks_stay_and_work(tiny, count_hooks):
    calls = []
    block = tiny.module.blocks[0]
    block.register_forward_hook(lambda module, args, output: calls.append("seen"))
    block.mlp.register_forward_hook(lambda module, args, output: output + 1)
    pixels = pixels_for(tiny)
    with torch.no_grad():
        value = tiny.capture(pixels, ["blocks.0.mlp.out", "blocks.0.resid"])
        with tiny.intervene({"blocks.0.resid": torch.zeros_like}):
            tiny.capture(pixels, "final")
        tiny.capture(pixels, "final")
    assert calls == ["seen"] * 3
    assert count_hooks(tiny.module) == 2
    own = block.mlp(block.norm2(value["blocks.0.resid"] - value["blocks.0.mlp.out"]))
    assert torch.allclose(value["blocks.0.mlp.out"], own, atol=1e-5)  # the module, with the user's hook on it


def test_hooks_and_modes_are_restored_after_an_error(tiny, count_hooks):
    def fail(x: Tensor) -> Tensor:
        raise ValueError("on purpose")

    tiny.module.train()
    tiny.module.blocks[1].eval()
    pixels = pixels_for(tiny)
    with pytest.raises(ValueError, match="on purpose"), tiny.intervene({"blocks.1.attn.probs": fail}):
        tiny.capture(pixels, "blocks.*.attn.probs")
    assert count_hooks(tiny.module) == 0
    assert all(block.attn.fused_attn for block in tiny.module.blocks)
    assert tiny.module.training
    assert not tiny.module.blocks[1].training
    assert tiny.module.blocks[2].mlp.training


def test_inference_is_in_eval_mode_whatever_the_module_is_in():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    model = VisionModel.wrap(module, layers=["0", "2"], image_size=16, mean=HALF, std=HALF)
    before = module[1].running_mean.clone()
    pixels = pixels_for(model)
    assert torch.equal(model.capture(pixels, "module:2")["module:2"], model.capture(pixels, "module:2")["module:2"])
    assert torch.equal(module[1].running_mean, before)
    assert module[2].training


def test_gradients_flow_where_the_caller_enables_them(tiny):
    pixels = pixels_for(tiny).requires_grad_()
    tiny.capture(pixels, "blocks.3.mlp.hidden")["blocks.3.mlp.hidden"][:, 1:, 7].mean().backward()
    assert pixels.grad is not None
    assert pixels.grad.abs().sum() > 0
    with torch.no_grad():
        assert not tiny.capture(pixels, "final")["final"].requires_grad


def test_capture_leaves_requires_grad_alone():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3).requires_grad_(False))
    model = VisionModel.wrap(module, layers=["0", "1"], image_size=16, mean=HALF, std=HALF)
    model.capture(pixels_for(model), "module:*")
    assert [p.requires_grad for p in module.parameters()] == [True, True, False, False]


def test_interventions_nest_and_a_later_one_sees_the_earlier(tiny):
    pixels = pixels_for(tiny)
    name = "blocks.1.resid"
    clean = tiny.capture(pixels, name)[name]
    with tiny.intervene({name: lambda x: x + 1}), tiny.intervene({name: lambda x: x * 3}):
        assert torch.allclose(tiny.capture(pixels, name)[name], (clean + 1) * 3)
    assert torch.equal(tiny.capture(pixels, name)[name], clean)


def test_one_function_for_all_layers_that_a_pattern_selects(tiny):
    names = [f"blocks.{i}.mlp.out" for i in range(6)]
    with tiny.intervene({"blocks[-4:].mlp.out": torch.zeros_like}):
        values = tiny.capture(pixels_for(tiny), names)
    assert [bool(values[name].any()) for name in names] == [True, True, False, False, False, False]


def test_an_intervention_in_place_does_not_reach_back(tiny):
    """`blocks.0.mlp.out` and the module's own drop path hand on one and the same tensor."""

    def zero(x: Tensor) -> Tensor:
        x[:] = 0
        return x

    pixels = pixels_for(tiny)
    clean = tiny.capture(pixels, "blocks.0.mlp.out")["blocks.0.mlp.out"]
    with tiny.intervene({"module:blocks.0.drop_path2": zero}):
        values = tiny.capture(pixels, ["blocks.0.mlp.out", "final"])
    assert torch.equal(values["blocks.0.mlp.out"], clean)


def test_interventions_act_on_logits_and_embeddings():
    model = load_model("timm:vit_tiny_patch16_224@random", "cpu")
    pixels = pixels_for(model)
    with torch.no_grad():
        clean = model.logits(pixels)
        with model.intervene({"embedding": torch.zeros_like}):
            assert torch.allclose(model.logits(pixels), model.module.head.bias.expand(2, -1))
            assert not model.encode_image(pixels).any()
        assert torch.equal(model.logits(pixels), clean)
    assert len(model.class_names) == clean.shape[1] == 1000


@pytest.mark.parametrize(
    ("fn", "says"),
    [(lambda x: x[:, 1:], r"returned \[2, 36, 192\]"), (lambda x: None, "returned NoneType, expected a tensor")],
)
def test_an_intervention_must_keep_the_shape(tiny, fn, says):
    with pytest.raises(ModelError, match=says), tiny.intervene({"blocks.0.resid": fn}):
        tiny.capture(pixels_for(tiny), "final")


def test_the_mean_of_two_tokens_cannot_be_changed():
    model = load_model("timm:deit_small_distilled_patch16_224@random", "cpu")
    with pytest.raises(ModelError, match="intervene on final"), model.intervene({"embedding": torch.zeros_like}):
        pass


def test_a_derived_layer_is_a_layer_like_any_other(tiny):
    base = "blocks.2.resid"
    weights = torch.randn(192, 500, generator=torch.Generator().manual_seed(0))
    layer = tiny.attach("sae", base, lambda x_btc: (x_btc @ weights).relu(), 500)
    assert layer == Layer("sae", 500, "tokens", prefix=1, cls=0, grid=(6, 6))
    names = [known.name for known in tiny.layers]
    assert names[names.index(base) + 1] == "sae"
    assert tiny.resolve("sa?") == [layer]
    pixels = pixels_for(tiny)
    ran = []
    tiny.module.blocks[3].register_forward_pre_hook(lambda module, args: ran.append(1))
    alone = tiny.capture(pixels, "sae")
    assert list(alone) == ["sae"]
    assert not ran
    both = tiny.capture(pixels, ["sae", base])
    assert torch.equal(both["sae"], (both[base] @ weights).relu())
    with tiny.intervene({base: torch.zeros_like}):
        assert not tiny.capture(pixels, "sae")["sae"].any()


def test_a_derived_layer_may_call_modules_of_the_model(tiny):
    tiny.attach("lens", "blocks.2.resid", tiny.module.norm, 192)
    pixels = pixels_for(tiny)
    values = tiny.capture(pixels, ["lens", "blocks.2.resid", "final"])
    assert torch.equal(values["lens"], tiny.module.norm(values["blocks.2.resid"]))
    assert torch.equal(values["final"], tiny.capture(pixels, "final")["final"])


def test_derived_layers_are_checked(tiny):
    tiny.attach("short", "final", lambda x: x[..., :10], 20)
    with pytest.raises(ModelError, match=r"returned \[2, 37, 10\], expected \[2, 37, 20\]"):
        tiny.capture(pixels_for(tiny), "short")
    with pytest.raises(ModelError, match="its name is taken"):
        tiny.attach("final", "final", lambda x: x, 192)
    with pytest.raises(ModelError, match="must name one layer"):
        tiny.attach("many", "blocks.*.resid", lambda x: x, 192)
    with pytest.raises(ModelError, match="must name one layer"):
        tiny.attach("deeper", "short", lambda x: x, 192)
    with (
        pytest.raises(ModelError, match="derived and has no effect"),
        tiny.intervene({"short": torch.zeros_like}),
    ):
        pass


def test_a_derived_map_keeps_its_rows_and_columns():
    model = VisionModel.wrap(nn.Sequential(nn.Conv2d(3, 4, 3)), layers=["0"], image_size=16, mean=HALF, std=HALF)
    model.attach("two", "module:0", lambda x_bchw: x_bchw[:, :2], 2)
    assert model.capture(pixels_for(model), "two")["two"].shape == (2, 2, 14, 14)


def test_normalisation_is_inside():
    model = VisionModel.wrap(
        nn.Sequential(nn.Identity()), layers=["0"], image_size=8, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0)
    )
    white = model.capture(torch.ones(1, 3, 8, 8), "module:0")["module:0"]
    assert torch.allclose(white[0, :, 0, 0], torch.tensor([1.8, 0.8, 0.35]))


def test_a_wrapped_double_model_computes_in_double():
    module = nn.Sequential(nn.Conv2d(3, 4, 3)).double()
    model = VisionModel.wrap(module, layers=["0"], image_size=8, mean=(0.1, 0.2, 0.3), std=HALF)
    pixels = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    mean = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)[:, None, None]
    assert torch.equal(model.capture(pixels, "module:0")["module:0"], module((pixels - mean) / 0.5))


def test_a_wrapped_module_declares_its_tokens():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 6, 4, stride=4)
            self.block = nn.Identity()
            self.head = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            x_btc = self.patches(x).flatten(2).transpose(1, 2)
            return self.head(self.block(torch.cat([x_btc.mean(1, keepdim=True), x_btc], 1).transpose(0, 1))[0])

    tokens = Tokens(prefix=1, cls=0, grid=(2, 2), batch_first=False)
    model = VisionModel.wrap(
        Net(), layers=["block", "head"], image_size=8, mean=HALF, std=HALF, tokens=tokens, class_names=["a", "b"]
    )
    assert model.layers == (Layer("module:block", 6, "tokens", 1, 0, (2, 2)), Layer("module:head", 2, "vector"))
    for batch in (3, 5):
        assert model.capture(pixels_for(model, batch), "module:block")["module:block"].shape == (batch, 5, 6)
    assert model.class_names == ("a", "b")
    assert model.logits(pixels_for(model)).shape == (2, 2)


def test_a_module_with_a_tuple_for_its_output():
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, str]:
            return x * 2, "second"

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair = Pair()

        def forward(self, x: Tensor) -> Tensor:
            value, word = self.pair(x)
            assert word == "second"
            return value

    model = VisionModel.wrap(Net(), layers=["pair"], image_size=4, mean=(0.0,) * 3, std=(1.0,) * 3, class_names=[])
    pixels = pixels_for(model)
    assert torch.equal(model.capture(pixels, "module:pair")["module:pair"], pixels * 2)
    with model.intervene({"module:pair": torch.zeros_like}):
        assert not model.logits(pixels).any()


def test_a_wrapped_module_without_the_named_part():
    with pytest.raises(UnknownLayerError, match="has no submodule 'stem'"):
        VisionModel.wrap(nn.Sequential(nn.Identity()), layers=["stem"], image_size=8, mean=HALF, std=HALF)


@pytest.mark.parametrize(
    ("pixels", "says"),
    [
        (torch.rand(3, 48, 48), r"must be \[B,3,H,W\]"),
        (torch.rand(2, 1, 48, 48), r"must be \[B,3,H,W\]"),
        (torch.rand(2, 3, 64, 64), r"takes images of \(48, 48\), got \(64, 64\)"),
        (torch.zeros(2, 3, 48, 48, dtype=torch.uint8), r"floats in \[0,1\], got torch.uint8"),
    ],
)
def test_pixels_are_checked(tiny, pixels, says):
    with pytest.raises(ModelError, match=says):
        tiny.capture(pixels, "final")


def test_what_a_model_does_not_have_it_says(tiny):
    pixels = pixels_for(tiny)
    with pytest.raises(ModelError, match="no text tower: open_clip models and mini:clip have one"):
        tiny.encode_text(["a skull"])
    with pytest.raises(ModelError, match="no classifier"):
        tiny.logits(pixels)
    with pytest.raises(ModelError, match="no class names"):
        _ = tiny.class_names
    wrapped = VisionModel.wrap(nn.Sequential(nn.Identity()), layers=["0"], image_size=8, mean=HALF, std=HALF)
    with pytest.raises(ModelError, match="has no embedding"):
        wrapped.encode_image(torch.rand(1, 3, 8, 8))


def test_a_layer_that_does_not_run_this_time_is_an_error():
    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.part(x) if len(x) == 2 else x

    model = VisionModel.wrap(Sometimes(), layers=["part"], image_size=8, mean=HALF, std=HALF)
    with pytest.raises(ModelError, match="did not run"):
        model.capture(torch.rand(3, 3, 8, 8), "module:part")


def test_half_precision_of_the_whole_model():
    model = load_model("mini:distilled@random", "cpu", dtype="bfloat16")
    assert model.dtype == torch.bfloat16
    full = load_model("mini:distilled@random", "cpu")
    pixels = pixels_for(model)
    half = model.capture(pixels, ["blocks.3.attn.probs", "final"])
    assert half["final"].dtype == torch.bfloat16
    assert torch.allclose(half["final"].float(), full.capture(pixels, "final")["final"], atol=0.1)
    with pytest.raises(ModelError, match="float32, bfloat16, float16"):
        load_model("mini:distilled@random", "cpu", dtype="int8")


def test_the_fingerprint_knows_weights_preprocessing_architecture_and_dtype():
    first = load_model("mini:distilled@random", "cpu")
    assert load_model("mini:distilled@random", "cpu").fingerprint == first.fingerprint
    assert len(bytes.fromhex(first.fingerprint)) == 32
    changed = load_model("mini:distilled@random", "cpu")
    changed.module.blocks[0].mlp.fc1.bias[5] += 1e-6
    assert changed.fingerprint != first.fingerprint
    assert load_model("mini:distilled@random", "cpu", torch.bfloat16).fingerprint != first.fingerprint
    size = first.image_size
    variants = [
        VisionModel("m", first.module, Anatomy(), Preprocessing(size, resize, HALF, HALF), architecture=architecture)
        for resize in (size, (64, 64))
        for architecture in ("a", "b")
    ]
    assert len({model.fingerprint for model in variants}) == 4


def test_preprocessing_goes_to_data_loader_workers(tiny):
    image = Image.effect_noise((70, 50), 80).convert("RGB")
    again = pickle.loads(pickle.dumps(tiny.preprocess))
    assert torch.equal(again(image), tiny.preprocess(image))
    assert tiny.preprocess(image).shape == (3, 48, 48)


def test_loaded_models_are_frozen_and_in_eval_mode(tiny):
    assert not any(parameter.requires_grad for parameter in tiny.module.parameters())
    assert not any(module.training for module in tiny.module.modules())
    assert tiny.device == torch.device("cpu")
    assert "mini:distilled@random" in repr(tiny)
