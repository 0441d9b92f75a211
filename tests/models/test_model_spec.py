"""The grammar of specs."""

from pathlib import Path

import pytest

from conceptprobe.models import SpecError, load_model
from conceptprobe.models.spec import ModelSpec


@pytest.mark.parametrize(
    ("text", "family", "architecture", "weights", "path"),
    [
        ("mini:clip", "mini", "clip", None, None),
        ("open_clip:ViT-B-32@openai", "open_clip", "ViT-B-32", "openai", None),
        ("open_clip:hf-hub:org/name", "open_clip", "hf-hub:org/name", None, None),
        ("timm:vit_base_patch16_224.augreg_in1k", "timm", "vit_base_patch16_224.augreg_in1k", None, None),
        ("timm:resnet50@random", "timm", "resnet50", "random", None),
        ("timm:resnet50@/a/b@c.pt", "timm", "resnet50", "/a/b@c.pt", Path("/a/b@c.pt")),
        ("timm:resnet50@there.safetensors", "timm", "resnet50", "there.safetensors", Path("there.safetensors")),
    ],
)
def test_a_spec_is_taken_apart(text, family, architecture, weights, path):
    spec = ModelSpec.parse(text)
    assert (spec.family, spec.architecture, spec.weights, spec.path) == (family, architecture, weights, path)


def test_what_exists_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    assert ModelSpec.parse("timm:resnet50@weights").path == Path("weights")
    assert ModelSpec.parse("timm:resnet50@a1_in1k").path is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("resnet50", "family:architecture"),
        ("timm:", "family:architecture"),
        ("timm:resnet50@", "family:architecture"),
        ("keras:resnet50", "there are mini, open_clip, timm, torchvision"),
        ("timm:resnet5", "resnet50"),
        ("timm:resnet50", r"resnet50\.a1_in1k"),
        ("timm:resnet50.nothing", "a1_in1k"),
        ("timm:resnet50.a1_in1k@nothing", "a1_in1k"),
        ("open_clip:ViT-B-3", "ViT-B-32"),
        ("open_clip:ViT-B-32", "openai, .*or @random"),
        ("open_clip:ViT-B-32@nothing", "no tag 'nothing'.*openai"),
        ("torchvision:resnet5@random", "resnet50"),
        ("torchvision:resnet50", "IMAGENET1K_V2.*or @random"),
        ("torchvision:resnet50@V9", "no tag 'V9'.*IMAGENET1K_V2"),
        ("mini:big", "mini:clip, mini:supervised, mini:distilled"),
        ("mini:clip@openai", "@FILE or @random"),
    ],
)
def test_a_wrong_spec_says_what_is_right(text, says):
    with pytest.raises(SpecError, match=says):
        load_model(text, "cpu")
