"""Every transformer family against an independent forward with plain hooks."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conceptprobe.models import UnknownLayerError

BLOCK = 1


@pytest.fixture
def block_layers():
    return [f"blocks.{BLOCK}.{part}" for part in ("attn.out", "mlp.pre", "mlp.hidden", "mlp.out", "resid")]


def captured(model, pixels, layers):
    with torch.no_grad():
        return model.capture(pixels, layers)


def test_every_layer_of_a_block_is_what_a_plain_hook_sees(
    transformer, inside, random_pixels, plain_forward, block_layers
):
    parts = inside(transformer.module)
    block = parts.blocks[BLOCK]
    pixels = random_pixels(transformer)
    reference = plain_forward(
        transformer,
        pixels,
        outputs={"attn.out": parts.attention(block), "mlp.out": block.mlp, "resid": block},
        inputs={"mlp.pre": parts.activation(block), "mlp.hidden": parts.last_linear(block)},
    )
    values = captured(transformer, pixels, block_layers)
    for name in block_layers:
        expected = reference[name.removeprefix(f"blocks.{BLOCK}.")]
        assert torch.equal(values[name], expected), name
        (layer,) = transformer.resolve(name)
        assert (layer.kind, layer.width) == ("tokens", expected.shape[-1])


def test_first_and_last_layers_are_what_a_plain_hook_sees(transformer, inside, random_pixels, plain_forward):
    parts = inside(transformer.module)
    pixels = random_pixels(transformer)
    reference = plain_forward(
        transformer, pixels, outputs={"patch_embed": parts.patch_embed, "final": parts.final_norm}, inputs={}
    )
    values = captured(transformer, pixels, ["patch_embed", "final"])
    expected = reference["patch_embed"]
    if expected.ndim == 4:
        expected = expected.flatten(2).transpose(1, 2)
    assert torch.equal(values["patch_embed"], expected)
    assert torch.equal(values["final"], reference["final"])
    assert transformer.resolve("patch_embed")[0].prefix == 0


def test_embedding_is_what_the_library_calls_the_features_of_an_image(transformer, random_pixels, plain_forward):
    pixels = random_pixels(transformer)
    reference = plain_forward(transformer, pixels, {}, {})["returned"]
    if hasattr(transformer.module, "visual"):
        expected = reference[0] if isinstance(reference, tuple) else reference
    elif hasattr(transformer.module, "forward_head"):
        mean, std = (torch.tensor(transformer.preprocessing[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
        features = transformer.module.forward_features((pixels - mean) / std)
        expected = transformer.module.forward_head(features, pre_logits=True)
    else:
        expected = captured(transformer, pixels, "final")["final"][:, 0]
    with torch.no_grad():
        got = transformer.encode_image(pixels, normalize=False)
        unit = transformer.encode_image(pixels)
    assert torch.allclose(got, expected, atol=1e-6)
    assert torch.allclose(unit, F.normalize(expected, dim=-1), atol=1e-6)
    assert transformer.layers[-1].name == "embedding"
    assert transformer.layers[-1].width == got.shape[1]


def test_prefix_tokens_are_declared_and_are_no_patches(transformer, inside, random_pixels):
    parts = inside(transformer.module)
    (layer,) = transformer.resolve(f"blocks.{BLOCK}.resid")
    assert (layer.prefix, layer.cls) == (parts.prefix, parts.cls)
    tokens = captured(transformer, random_pixels(transformer), layer.name)[layer.name]
    rows, columns = layer.grid
    assert tokens.shape[1] == parts.prefix + rows * columns
    patches = tokens[:, layer.prefix :]
    assert patches.shape[1] == rows * columns

    # What is done to the tokens before them, none of them sees.
    def push(x_btc):
        x_btc[:, : parts.prefix] += 100
        return x_btc

    with transformer.intervene({layer.name: push}):
        moved = captured(transformer, random_pixels(transformer), layer.name)[layer.name]
    assert torch.equal(moved[:, layer.prefix :], patches)
    assert torch.allclose(moved[:, : layer.prefix], tokens[:, : layer.prefix] + 100)


def test_the_forward_stops_after_the_last_layer_asked_for(transformer, inside, random_pixels):
    parts = inside(transformer.module)
    ran = []
    watched = {
        "activation": parts.activation(parts.blocks[BLOCK]),
        "last linear": parts.last_linear(parts.blocks[BLOCK]),
        "next block": parts.blocks[BLOCK + 1],
        "final norm": parts.final_norm,
    }
    handles = [
        module.register_forward_pre_hook(lambda module, args, name=name: ran.append(name))
        for name, module in watched.items()
    ]
    pixels = random_pixels(transformer)
    try:
        hidden = f"blocks.{BLOCK}.mlp.hidden"
        stopped = captured(transformer, pixels, hidden)
        own_side = {"activation", "last linear"} if is_gated(parts) else {"activation"}
        assert set(ran) <= own_side
        assert "activation" in ran
        ran.clear()
        full = captured(transformer, pixels, [hidden, "embedding"])
        assert set(ran) == set(watched)
    finally:
        for handle in handles:
            handle.remove()
    assert torch.equal(stopped[hidden], full[hidden])


def is_gated(parts) -> bool:
    return type(parts.blocks[0].mlp).__name__ in ("SwiGLU", "GluMlp")


def independent_attention(attention, x_btc: Tensor, layer, model) -> tuple[Tensor, Tensor]:
    """Probabilities and values [B,heads,T,...] by other means than conceptprobe's."""
    if isinstance(attention, nn.MultiheadAttention):
        _, probs = attention(x_btc, x_btc, x_btc, need_weights=True, average_attn_weights=False)
        value = F.linear(x_btc, *(w.chunk(3)[2] for w in (attention.in_proj_weight, attention.in_proj_bias)))
        return probs, value.unflatten(-1, (layer.width, -1)).transpose(1, 2)
    seen = {}

    def spy(q, k, v, **kwargs):
        seen["qkv"] = q, k, v
        return real(q, k, v, **kwargs)

    real = F.scaled_dot_product_attention
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "scaled_dot_product_attention", spy)
        if type(attention).__name__ == "EvaAttention":
            attention(x_btc, rope=model.module.visual.trunk.rope.get_embed())
        else:
            attention(x_btc)
    q, k, v = seen["qkv"]
    return (q.double() @ k.double().transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1).float(), v


def test_attention_probabilities_and_heads(transformer, inside, random_pixels, plain_forward):
    parts = inside(transformer.module)
    attention = parts.attention(parts.blocks[BLOCK])
    pixels = random_pixels(transformer)
    names = [f"blocks.{BLOCK}.attn.{part}" for part in ("probs", "heads", "out")]
    values = captured(transformer, pixels, names)
    probs, heads, out = (values[name] for name in names)
    layer = transformer.resolve(names[0])[0]
    assert layer.kind == "attention"
    assert (layer.prefix, layer.cls) == (parts.prefix, parts.cls)
    assert probs.shape == (2, layer.width, out.shape[1], out.shape[1])
    assert torch.allclose(probs.sum(-1), torch.ones(probs.shape[:-1]), atol=1e-5)

    x_btc = plain_forward(transformer, pixels, {}, {"x": attention})["x"]
    with torch.no_grad():
        expected, value = independent_attention(attention, x_btc, layer, transformer)
    assert torch.allclose(probs, expected, atol=1e-6)
    assert torch.allclose((probs @ value).transpose(1, 2).flatten(2), heads, atol=1e-5)
    projection = getattr(attention, "proj", None) or attention.out_proj
    norm = getattr(attention, "norm", nn.Identity())
    assert torch.allclose(projection(norm(heads)), out, atol=1e-5)


def test_asking_for_attention_leaves_the_models_output_as_it_is(transformer, random_pixels):
    pixels = random_pixels(transformer)
    alone = captured(transformer, pixels, "final")["final"]
    beside = captured(transformer, pixels, ["blocks.*.attn.*", "final"])["final"]
    again = captured(transformer, pixels, "final")["final"]
    assert torch.allclose(alone, beside, atol=1e-4 * alone.abs().max().item())
    assert torch.equal(alone, again)


def test_zeroing_an_mlp_is_replacing_it_by_one_that_gives_zeros(transformer, inside, random_pixels, count_hooks):
    block = inside(transformer.module).blocks[BLOCK]
    pixels = random_pixels(transformer)
    before = captured(transformer, pixels, "final")["final"]
    hooks = count_hooks(transformer.module)
    name = f"blocks.{BLOCK}.mlp.out"
    with transformer.intervene({name: torch.zeros_like}):
        lesioned = captured(transformer, pixels, [name, "final"])

    class Nothing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.zeros_like(x)

    mlp = block.mlp
    block.mlp = Nothing()
    try:
        expected = captured(transformer, pixels, "final")["final"]
    finally:
        block.mlp = mlp
    assert not lesioned[name].any()
    assert torch.equal(lesioned["final"], expected)
    assert not torch.allclose(expected, before)
    assert count_hooks(transformer.module) == hooks
    assert torch.equal(captured(transformer, pixels, "final")["final"], before)


@pytest.mark.parametrize("part", ["attn.probs", "attn.heads", "attn.out", "mlp.pre", "mlp.hidden", "mlp.out", "resid"])
def test_an_intervention_reaches_what_lies_behind_it(transformer, random_pixels, part):
    pixels = random_pixels(transformer)
    name, after = f"blocks.{BLOCK}.{part}", f"blocks.{BLOCK}.resid"
    clean = captured(transformer, pixels, [name, after])
    with transformer.intervene({name: lambda x: x}):
        same = captured(transformer, pixels, after)[after]
    with transformer.intervene({name: lambda x: 2 * x}):
        changed = captured(transformer, pixels, [name, after])
    assert torch.allclose(same, clean[after], atol=1e-5)
    assert torch.allclose(changed[name], 2 * clean[name], atol=1e-5)
    assert not torch.equal(changed[after], clean[after])


def test_equal_attention_gives_every_token_the_mean_of_the_values(transformer, random_pixels):
    """An intervention on the probabilities, checked where it lands: in the heads."""
    probs, heads = f"blocks.{BLOCK}.attn.probs", f"blocks.{BLOCK}.attn.heads"
    with transformer.intervene({probs: lambda p: torch.full_like(p, 1 / p.shape[-1])}):
        uniform = captured(transformer, random_pixels(transformer), heads)[heads]
    assert torch.allclose(uniform, uniform[:, :1].expand_as(uniform), atol=1e-5)


def test_the_layers_of_a_block_come_in_the_order_of_the_forward(transformer):
    names = [layer.name for layer in transformer.layers]
    parts = ["attn.probs", "attn.heads", "attn.out", "mlp.pre", "mlp.hidden", "mlp.out", "resid"]
    depth = (len(names) - 3) // len(parts)
    blocks = [f"blocks.{i}.{part}" for i in range(depth) for part in parts]
    assert names == ["patch_embed", *blocks, "final", "embedding"]


def test_a_module_within_a_block_is_a_layer_with_the_blocks_tokens(transformer, inside, random_pixels, plain_forward):
    parts = inside(transformer.module)
    norm = next(module for module in parts.blocks[0].children() if isinstance(module, nn.LayerNorm))
    path = next(path for path, module in transformer.module.named_modules() if module is norm)
    (layer,) = transformer.resolve(f"module:{path}")
    assert (layer.prefix, layer.cls) == (parts.prefix, parts.cls)
    pixels = random_pixels(transformer)
    expected = plain_forward(transformer, pixels, {"norm": norm}, {})["norm"]
    assert torch.equal(captured(transformer, pixels, layer.name)[layer.name], expected)


def test_attention_written_by_module_path_points_at_no_map(transformer):
    candidates = [path for path, _ in transformer.module.named_modules() if path.endswith("blocks.0.attn.q_norm")]
    for path in candidates:
        with pytest.raises(UnknownLayerError, match="returns"):
            transformer.resolve(f"module:{path}")
