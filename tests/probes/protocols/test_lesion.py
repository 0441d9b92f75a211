import numpy as np
import pytest
import torch

from conceptprobe.models import load_model
from conceptprobe.probes import ProbeError, run_probe
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.protocols.lesion import Lesion, block_lesions, named_features, silenced, without_branch


@pytest.mark.parametrize(("part", "taken"), [("attention", "attn"), ("mlp", "mlp")])
def test_a_lesion_is_a_residual_branch_removed_by_hand(part: str, taken: str) -> None:
    model, pixels = load_model("mini:supervised"), torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), without_branch(model, part=part, blocks=(3,)):
        found = model.logits(pixels)
    module = model.module
    with torch.no_grad():
        x = module.norm_pre(module.patch_drop(module._pos_embed(module.patch_embed((pixels - 0.5) / 0.5))))
        for number, block in enumerate(module.blocks):
            if number != 3 or taken != "attn":
                x = x + block.attn(block.norm1(x))
            if number != 3 or taken != "mlp":
                x = x + block.mlp(block.norm2(x))
        expected = module.forward_head(module.norm(x))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_model_without_a_block_is_that_model_with_an_identity_in_its_place() -> None:
    model, pixels = load_model("mini:supervised"), torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), without_branch(model, part="block", blocks=(1, 4)):
        found = model.logits(pixels)
    for number in (1, 4):
        model.module.blocks[number] = torch.nn.Identity()
    with torch.no_grad():
        torch.testing.assert_close(found, model.logits(pixels), rtol=1e-5, atol=1e-5)


def test_each_block_alone_and_random_ones_together() -> None:
    model = load_model("mini:clip")
    conditions = list(block_lesions(model, Lesion(parts=("mlp",), together=(0.5,), draws=4), 0))
    assert [(c.series, c.x) for c in conditions[:6]] == [("mlp", block) for block in range(6)]
    assert [(c.series, c.draw) for c in conditions[6:]] == [("3 x mlp", draw) for draw in range(4)]


def test_silenced_features_are_zero_and_the_others_are_as_they_were() -> None:
    model, pixels = load_model("mini:clip"), torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    layer = "blocks.4.mlp.hidden"
    before = model.capture(pixels, layer)[layer]
    with silenced(model, features={layer: (3, 700)}):
        after = model.capture(pixels, layer)[layer]
        later = model.capture(pixels, "blocks.5.mlp.hidden")["blocks.5.mlp.hidden"]
    others = [i for i in range(768) if i not in (3, 700)]
    assert (after[..., [3, 700]] == 0).all()
    assert after[..., others].equal(before[..., others])
    assert not later.equal(model.capture(pixels, "blocks.5.mlp.hidden")["blocks.5.mlp.hidden"])


def test_features_are_named_or_of_a_verdict() -> None:
    verdicts = {"blocks.5.mlp.hidden": np.array(["object", "conceptual", "object", *["dead"] * 765], dtype=object)}
    probed = ProbedModel(load_model("mini:clip"), verdicts=verdicts)
    found = named_features(probed, ["object", "blocks.4.mlp.hidden:7", "blocks.5.mlp.hidden:1"])
    assert found == {"blocks.5.mlp.hidden": (0, 1, 2), "blocks.4.mlp.hidden": (7,)}
    with pytest.raises(ProbeError, match="the verdict 'polysemantic'"):
        named_features(probed, ["polysemantic"])
    with pytest.raises(ProbeError, match="features 0 to 767"):
        named_features(probed, ["blocks.5.mlp.hidden:768"])


@pytest.mark.slow
def test_silencing_features_is_compared_with_silencing_as_many_others() -> None:
    names = tuple(f"blocks.5.mlp.hidden:{i}" for i in range(0, 768, 2))
    result = run_probe("lesion", "mini:supervised", "mini:emoji", n=12, parts=(), features=names, draws=2)
    assert {*result.curves["series"]} == {"clean", "features", "as many others"}
    silent = result.features[
        (result.features["series"] == "features") & result.features["feature"].isin(range(0, 768, 2))
    ]
    assert (silent["r"].dropna() == 0).all()


def test_a_cnn_has_no_blocks_to_take_away() -> None:
    with pytest.raises(ProbeError, match="no transformer blocks"):
        list(block_lesions(load_model("timm:resnet18@random"), Lesion(), 0))
