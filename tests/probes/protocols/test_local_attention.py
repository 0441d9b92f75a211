import functools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptprobe.models import Layer, VisionModel, load_model
from conceptprobe.probes import ProbeError, run_probe
from conceptprobe.probes.protocols.local_attention import attend_within, localised, visible

LABELS = ("skull", "pizza", "ghost", "guitar")


def attention(rows: int, columns: int, prefix: int = 1) -> Layer:
    return Layer("blocks.0.attn.probs", 2, "attention", prefix, 0 if prefix else None, (rows, columns))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 2), st.integers(0, 5), st.booleans())
def test_a_patch_sees_the_square_around_it_and_prefix_tokens_all(
    rows: int, columns: int, prefix: int, radius: int, relay: bool
) -> None:
    seen = visible(attention(rows, columns, prefix), radius, relay)
    assert seen[:prefix].all()
    for query in range(rows * columns):
        keys = seen[prefix + query]
        assert keys[:prefix].tolist() == [relay] * prefix
        near = {key for key in range(rows * columns) if keys[prefix + key]}
        at = divmod(query, columns)
        assert near == {
            row * columns + column
            for row in range(rows)
            for column in range(columns)
            if max(abs(row - at[0]), abs(column - at[1])) <= radius
        }


def test_renormalised_probabilities_are_those_of_an_additive_mask_before_the_softmax() -> None:
    scores = torch.randn(2, 3, 10, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3
    seen = visible(attention(3, 3), 1, relay=False)
    additive = torch.zeros(10, 10, dtype=torch.float64).masked_fill(~seen, -math.inf)
    expected = (scores + additive).softmax(-1)
    torch.testing.assert_close(attend_within(scores.softmax(-1), seen).double(), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("relay", [True, False])
def test_the_model_answers_as_with_an_additive_mask_in_every_block(
    relay: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model("mini:supervised")
    pixels = torch.rand(3, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        clean = model.logits(pixels)
        with localised(model, radius=1, relay=relay):
            found = model.logits(pixels)
        assert torch.equal(model.logits(pixels), clean)  # the model is as it was
        seen = visible(model.resolve("blocks.0.attn.probs")[0], 1, relay)
        additive = torch.zeros(seen.shape).masked_fill(~seen, -math.inf)
        module: Any = model.module
        for block in module.blocks:
            forward = functools.partial(block.attn.forward, attn_mask=additive)
            monkeypatch.setattr(block.attn, "forward", lambda x, forward=forward, **_: forward(x))
        expected = model.logits(pixels)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert (found - clean).abs().max() > 0.1


@pytest.mark.parametrize("spec", ["mini:clip", "mini:supervised"])
def test_a_radius_of_the_whole_grid_is_the_identity(spec: str) -> None:
    model = load_model(spec)
    pixels = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        clean = model.capture(pixels, "embedding")["embedding"]
        with localised(model, radius=5, relay=True):
            whole = model.capture(pixels, "embedding")["embedding"]
        with localised(model, radius=4, relay=True):
            less = model.capture(pixels, "embedding")["embedding"]
    torch.testing.assert_close(whole, clean, atol=1e-4, rtol=1e-4)
    assert (less - clean).abs().max() > 1e-3


def test_with_radius_0_and_no_relay_patches_do_not_depend_on_each_other() -> None:
    model = load_model("mini:supervised")
    pixels = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    other = pixels.clone()
    other[..., :8, :8] = 0
    with torch.inference_mode(), localised(model, radius=0, relay=False):
        before, after = (model.capture(each, "blocks.5.resid")["blocks.5.resid"][0] for each in (pixels, other))
    torch.testing.assert_close(before[2:], after[2:], atol=1e-5, rtol=1e-5)  # CLS is 0, the changed patch 1
    assert (before[:2] - after[:2]).abs().amax(1).min() > 1e-2


@pytest.mark.slow
def test_it_runs_on_the_twins_and_leaves_out_what_hides_nothing() -> None:
    twins = ["mini:clip", "mini:supervised"]
    result = run_probe("local_attention", twins, "mini:emoji", n=8, classes=LABELS, radii=(0, 4, 5))
    assert {*result.curves["series"]} == {"clean", "local"}
    assert {*result.frame.loc[result.frame["series"] == "local", "x"]} == {0.0, 4.0}
    cosine = result.curves[result.curves["metric"] == "cosine"].set_index(["model", "x"])["value"]
    assert all(cosine[twin, 4.0] > cosine[twin, 0.0] for twin in twins)
    assert any("radii 5 left out, which hide none of 6 x 6 patches" in text for text in result.caveats)
    assert {*result.survival["model"]} == {*twins}
    assert np.isfinite(result.survival["value"]).all()


@pytest.mark.parametrize(
    ("model", "radii", "message"),
    [
        ("mini:supervised", (5, 9), "6 x 6 patches, so give radii below 5"),
        ("timm:resnet18@random#48", (0,), "looks at attention"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_compute(
    monkeypatch: pytest.MonkeyPatch, model: str, radii: tuple[int, ...], message: str
) -> None:
    monkeypatch.setattr(VisionModel, "capture", lambda *args: pytest.fail("it computed"))
    loaded = load_model(model)
    names = ("skull", "pizza")
    if model.startswith("timm"):
        loaded._class_names = (*names, *map(str, range(998)))
    with pytest.raises(ProbeError, match=message):
        run_probe("local_attention", loaded, "mini:emoji", n=4, classes=names, layers=(), radii=radii)


@pytest.mark.slow
def test_without_relay_a_radius_of_the_whole_grid_still_hides_prefix_tokens() -> None:
    result = run_probe("local_attention", "mini:supervised", "mini:emoji", n=4, radii=(5, 9), relay=False)
    assert {*zip(result.frame["series"], result.frame["x"], strict=True)} == {("clean", 0), ("local, no relay", 5)}
