from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conceptprobe.images import load_images
from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes import ProbeError, run_probe
from conceptprobe.probes.framework.images import choose_images
from conceptprobe.probes.framework.probe import CLEAN, similarities
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.responses import Condition, respond
from conceptprobe.probes.framework.run_settings import RunSettings
from conceptprobe.probes.protocols.occlusion import Occlusion, block_inputs, check, chosen_guide, token_drops
from conceptprobe.probes.stimuli.drops import TokenDrop, random_drop


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mini:clip", "mini:supervised"])
@pytest.mark.parametrize("mass", [False, True])
def test_dropping_nothing_is_the_identity_and_dropping_all_leaves_one_answer(model: str, mass: bool) -> None:
    result = run_probe(
        "occlusion", model, "mini:emoji", n=12, classes=("skull", "pizza", "ghost", "guitar"), shares=(0.0, 1.0),
        draws=1, token_shares=(0.0,), blocks=(0, 3), mass=mass, guide="attention",
    )  # fmt: skip
    values = result.frame.pivot_table(index="image", columns=["metric", "series", "x"], values="value")
    for kind in ("random", "salient", "non-salient", "tokens, block 0", "tokens, block 3"):
        for metric in ("correct", "probability"):
            assert values[metric, kind, 0.0].tolist() == values[metric, "clean", 0.0].tolist()
        assert np.allclose(values["cosine", kind, 0.0], 1)
        assert np.allclose(values["r", kind, 0.0], 1)
        if not kind.startswith("tokens"):
            assert values["probability", kind, 1.0].tolist() == values["probability", "random", 1.0].tolist()
    survival = result.features[result.features["x"] == 0].dropna()
    assert (survival["overlap"] == 1).all()
    assert (result.features[result.features["x"] == 1].dropna()["r"] == 0).all()
    assert ("share of cells dropped" in set(result.frame["metric"])) == mass


@pytest.fixture(scope="module")
def supervised() -> VisionModel:
    return load_model("mini:supervised")


@pytest.mark.parametrize("block", [0, 3])
def test_dropped_tokens_are_zeros_at_the_input_of_the_block(supervised: VisionModel, block: int) -> None:
    pixels = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    ids, module = ("a", "b"), supervised.module
    (condition,) = token_drops(supervised, ids, Occlusion(token_shares=(0.5,), blocks=(block,)), 0)
    assert condition.change is not None
    with torch.no_grad(), condition.context(supervised):
        found = supervised.logits(condition.change(pixels, np.arange(2)))
    layer = supervised.resolve(block_inputs(supervised)[block])[0]
    drop = TokenDrop(layer.name, layer.prefix, ids, 36, 0.5, 0)
    kept = drop._kept_np.float()[..., None]
    assert kept.sum((1, 2)).tolist() == [18, 18]
    assert not kept[0].equal(kept[1])
    with torch.no_grad():
        x = module.patch_embed((pixels - 0.5) / 0.5)
        x = module.norm_pre(module.patch_drop(module._pos_embed(x * kept if block == 0 else x)))
        for number, each in enumerate(module.blocks):
            if number == block > 0:
                x = torch.cat([x[:, :1], x[:, 1:] * kept], 1)
            x = each(x)
        expected = module.forward_head(module.norm(x))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_token_invariance_is_the_correlation_of_the_final_cls_of_each_image(supervised: VisionModel) -> None:
    """As Naseer et al. 2021 have it: Pearson's r over the features of the class token, clean against occluded."""
    images = choose_images(load_images("mini:emoji/noto"), RunSettings(n=6))
    drop = random_drop(images.ids, (6, 6), 0.5, 0, 0)
    levels = images.pixels(supervised)
    clean, occluded = (
        respond(ProbedModel(supervised), levels, condition)
        for condition in (CLEAN, Condition("random", 0.5, change=drop))
    )
    pixels = levels / 255
    with torch.no_grad():
        first, second = (
            supervised.capture(shown, "final")["final"][:, 0].double().numpy()
            for shown in (pixels, drop(pixels, np.arange(6)))
        )
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(similarities(clean.embedding_nd, occluded.embedding_nd)["r"], expected, atol=1e-5)


def folder(path: Path) -> Path:
    """Two opaque images."""
    path.mkdir()
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (48, 48), colour).save(path / f"{name}.png")
    return path


def test_the_guide_is_masks_where_there_are_some_then_attention_then_none(
    tmp_path: Path, supervised: VisionModel
) -> None:
    vit, cnn = ProbedModel(supervised), ProbedModel(load_model("timm:resnet18@random#48"))
    emoji = choose_images(load_images("mini:emoji/noto"), RunSettings(n=6))
    opaque = choose_images(load_images(f"folder:{folder(tmp_path / 'images')}"), RunSettings())
    assert [chosen_guide(vit, emoji, Occlusion()), chosen_guide(cnn, emoji, Occlusion())] == ["masks", "masks"]
    assert [chosen_guide(vit, opaque, Occlusion()), chosen_guide(cnn, opaque, Occlusion())] == ["attention", None]
    assert chosen_guide(vit, emoji, Occlusion(kinds=("random",))) is None
    check(cnn, opaque, Occlusion())  # random drops are left
    with pytest.raises(ProbeError, match="nothing can be dropped of salient, tokens"):
        check(cnn, opaque, Occlusion(kinds=("salient", "tokens")))
    with pytest.raises(ProbeError, match="resnet18@random#48 has no CLS token"):
        check(cnn, opaque, Occlusion(guide="attention"))
    with pytest.raises(ProbeError, match="has heads 0 to 2"):
        check(vit, emoji, Occlusion(guide="attention", head=3))
    with pytest.raises(ProbeError, match="block 6: tokens of mini:supervised can be dropped before 0 to 5"):
        check(vit, emoji, Occlusion(blocks=(6,)))
    with pytest.raises(ProbeError, match="can be dropped before none"):
        check(cnn, emoji, Occlusion(blocks=(0,)))


@pytest.mark.slow
def test_another_model_guides_the_drops_of_all() -> None:
    models = ["mini:clip", "mini:supervised"]
    result = run_probe(
        "occlusion", models, "mini:emoji/noto", n=6, classes=("skull", "pizza", "ghost"), kinds=("salient",),
        shares=(0.5,), guide="mini:distilled",
    )  # fmt: skip
    assert set(result.frame["series"]) == {"clean", "salient"}
    assert result.caveats == (
        "Salient is what mini:distilled's CLS attends to in the last block, the mean of its heads.",
    )
