"""Selecting layers by names, globs and slices."""

import pytest

from conceptprobe.models import UnknownLayerError, load_model
from conceptprobe.models.layers import select

KNOWN = [
    "patch_embed",
    *(f"blocks.{i}.{part}" for i in range(12) for part in ("attn.out", "mlp.hidden", "mlp.out", "resid")),
    "final",
]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("final", ["final"]),
        ("blocks.3.resid", ["blocks.3.resid"]),
        ("blocks[3].resid", ["blocks.3.resid"]),
        ("blocks[-1].resid", ["blocks.11.resid"]),
        ("blocks[-2:].mlp.hidden", ["blocks.10.mlp.hidden", "blocks.11.mlp.hidden"]),
        ("blocks[1:8:3].resid", ["blocks.1.resid", "blocks.4.resid", "blocks.7.resid"]),
        ("blocks[::-6].resid", ["blocks.11.resid", "blocks.5.resid"]),
        ("blocks[10:99].resid", ["blocks.10.resid", "blocks.11.resid"]),
        ("blocks[0].*.out", ["blocks.0.attn.out", "blocks.0.mlp.out"]),
        ("blocks.1?.resid", ["blocks.10.resid", "blocks.11.resid"]),
        ("*", KNOWN),
    ],
)
def test_patterns(pattern, expected):
    assert select(pattern, KNOWN) == expected


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("blocks.3.mlp.hiden", "Did you mean blocks.3.mlp.hidden"),
        ("blocks[12].resid", r"\[12\] selects no child of 'blocks'; it has 12 children"),
        ("layers[0].resid", "no numbered children"),
        ("blocks[a].resid", "neither an index nor a slice"),
        ("blocks[::0].resid", "step of 0"),
        ("blocks.3", "Did you mean blocks.3.resid"),
        ("zzzz", "There are patch_embed, .*final"),
        ("blocks[-4:].nothing", "no layer"),
    ],
)
def test_what_fits_nothing_says_what_would(pattern, says):
    with pytest.raises(UnknownLayerError, match=says):
        select(pattern, KNOWN)


def test_dots_and_brackets_are_no_regular_expressions():
    assert select("a.b", ["a.b", "axb"]) == ["a.b"]


def test_resolve_gives_model_order_without_repeats(tiny):
    names = [layer.name for layer in tiny.resolve(["final", "blocks[-2:].resid", "blocks.5.resid", "patch_embed"])]
    assert names == ["patch_embed", "blocks.4.resid", "blocks.5.resid", "final"]


def test_modules_that_are_not_listed_come_after_the_layers_that_are(tiny):
    names = ["module:blocks.2.norm1", "module:blocks.0.norm1", "final"]
    assert [layer.name for layer in tiny.resolve(names)] == ["final", "module:blocks.0.norm1", "module:blocks.2.norm1"]
    assert [layer.name for layer in tiny.resolve("module:blocks[-2:].norm?")] == [
        "module:blocks.4.norm1",
        "module:blocks.4.norm2",
        "module:blocks.5.norm1",
        "module:blocks.5.norm2",
    ]


def test_an_unknown_module_says_which_are_near(tiny):
    with pytest.raises(UnknownLayerError, match=r"module:blocks\.0\.attn\.qkv"):
        tiny.resolve("module:blocks.0.attn.qk")


@pytest.mark.slow
def test_a_module_that_does_not_run_is_no_layer():
    clip = load_model("open_clip:RN50@random", "cpu")
    with pytest.raises(UnknownLayerError, match="does not run in a forward of the image tower"):
        clip.resolve("module:transformer.resblocks.0.mlp")
