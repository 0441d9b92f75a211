from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from conceptprobe.images import load_images
from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes import ProbeError, run_probe
from conceptprobe.probes.framework.images import choose_items
from conceptprobe.probes.framework.probe import CLEAN, alikeness
from conceptprobe.probes.framework.responses import Condition, Subject, respond
from conceptprobe.probes.protocols.occlusion import (
    Occlusion,
    TokenDrop,
    block_inputs,
    check,
    chosen_guide,
    led_drop,
    random_drop,
    token_drops,
)
from conceptprobe.probes.stimuli.saliency import ranked


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.floats(0, 1), st.integers(0, 3))
def test_each_image_loses_that_share_of_whole_cells(rows: int, columns: int, share: float, draw: int) -> None:
    pixels = torch.ones(2, 3, 4 * rows, 4 * columns)
    dropped = random_drop(("a", "b"), (rows, columns), share, 0, draw)(pixels, np.arange(2))
    cells = dropped.unflatten(2, (rows, 4)).unflatten(4, (columns, 4))
    assert ((cells == 0).all((1, 3, 5)) | (cells == 1).all((1, 3, 5))).all()
    assert (cells[:, 0, :, 0, :, 0] == 0).flatten(1).sum(1).tolist() == [round(share * rows * columns)] * 2


def test_an_images_mask_depends_on_its_id_and_grows_with_the_share() -> None:
    pixels = torch.ones(3, 3, 12, 12)
    some = random_drop(("a", "b", "c"), (6, 6), 0.3, 0, 0)(pixels, np.arange(3))
    alone = random_drop(("b",), (6, 6), 0.3, 0, 0)(pixels[:1], np.arange(1))
    more = random_drop(("a", "b", "c"), (6, 6), 0.6, 0, 0)(pixels, np.arange(3))
    assert some[1].equal(alone[0])
    assert not some[0].equal(some[1])
    assert (more <= some).all()


SALIENCY = np.array([[0.0, 4, 1, 3], [0, 0, 2, 0]])


@pytest.mark.parametrize(
    ("kind", "share", "mass", "first", "second"),
    [
        ("salient", 0.25, False, [1], [2]),
        ("salient", 0.5, False, [1, 3], None),
        ("non-salient", 0.5, False, [0, 2], None),
        ("non-salient", 0.25, False, [0], None),
        ("salient", 0.5, True, [1], [2]),  # 4 of 8 are in cell 1
        ("salient", 0.6, True, [1, 3], [2]),
        ("salient", 1.0, True, [1, 2, 3], [2]),
        ("non-salient", 0.5, True, [0, 2, 3], [0, 1, 3]),  # all but those that hold half
        ("non-salient", 0.2, True, [0, 2], [0, 1, 3]),
        ("non-salient", 0.0, True, [], []),
        ("non-salient", 1.0, True, [0, 1, 2, 3], [0, 1, 2, 3]),
    ],
)
def test_led_drops_by_hand(kind: str, share: float, mass: bool, first: list[int], second: list[int] | None) -> None:
    order_nc = ranked(SALIENCY, ("a", "b"), 0)
    kept = led_drop(SALIENCY, order_nc, kind, share, mass, (2, 2))(torch.ones(2, 3, 2, 2), np.arange(2))
    found = [torch.nonzero(image[0].flatten() == 0).flatten().tolist() for image in kept]
    assert found[0] == first
    if second is not None:
        assert found[1] == second


def test_salient_and_non_salient_cells_are_all_cells_and_none_twice() -> None:
    saliency_nc = np.random.default_rng(0).random((5, 16)).round(1)
    order_nc = ranked(saliency_nc, tuple("abcde"), 0)
    pixels = torch.ones(5, 3, 4, 4)
    drops = [led_drop(saliency_nc, order_nc, kind, 0.5, False, (4, 4)) for kind in ("salient", "non-salient")]
    first, second = (drop(pixels, np.arange(5)) for drop in drops)
    assert (first + second).equal(pixels)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mini:clip", "mini:supervised"])
@pytest.mark.parametrize("mass", [False, True])
def test_dropping_nothing_is_the_identity_and_dropping_all_leaves_one_answer(model: str, mass: bool) -> None:
    result = run_probe(
        "occlusion", model, "mini:emoji", n=12, classes=("skull", "pizza", "ghost", "guitar"), shares=(0.0, 1.0),
        draws=1, token_shares=(0.0,), blocks=(0, 3), mass=mass, guide="attention",
    )  # fmt: skip
    values = result.rows.pivot_table(index="image", columns=["metric", "series", "x"], values="value")
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
    assert ("share of cells dropped" in set(result.rows["metric"])) == mass


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
    items = choose_items(load_images("mini:emoji/noto"), 6, 0)
    drop = random_drop(items.ids, (6, 6), 0.5, 0, 0)
    levels = items.pixels(supervised)
    clean, occluded = (
        respond(Subject(supervised), levels, condition) for condition in (CLEAN, Condition("random", 0.5, change=drop))
    )
    pixels = levels / 255
    with torch.no_grad():
        first, second = (
            supervised.capture(shown, "final")["final"][:, 0].double().numpy()
            for shown in (pixels, drop(pixels, np.arange(6)))
        )
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(alikeness(clean.gist_nd, occluded.gist_nd)["r"], expected, atol=1e-5)


def folder(path: Path) -> Path:
    """Two opaque images."""
    path.mkdir()
    for name, colour in (("a", "red"), ("b", "blue")):
        Image.new("RGB", (48, 48), colour).save(path / f"{name}.png")
    return path


def test_the_guide_is_masks_where_there_are_some_then_attention_then_none(
    tmp_path: Path, supervised: VisionModel
) -> None:
    vit, cnn = Subject(supervised), Subject(load_model("timm:resnet18@random#48"))
    emoji = choose_items(load_images("mini:emoji/noto"), 6, 0)
    opaque = choose_items(load_images(f"folder:{folder(tmp_path / 'images')}"), None, 0)
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
    assert set(result.rows["series"]) == {"clean", "salient"}
    assert result.caveats == (
        "Salient is what mini:distilled's CLS attends to in the last block, the mean of its heads.",
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kinds": ("saliant",)}, "kinds are some of random, salient, non-salient, tokens"),
        ({"token_shares": (2.0,)}, "token_shares are from 0 to 1"),
        ({"blocks": (-1,)}, "blocks are numbers from 0"),
        ({"grid": (0, 2)}, "draws and grid must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ProbeError, match=message):
        Occlusion(**wrong)  # type: ignore[arg-type]
