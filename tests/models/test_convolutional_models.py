"""CNNs, Swin and ConvNeXt: maps are always [B,C,H,W]."""

import pytest
import torch
from torch import nn

from conceptprobe.models import ModelError, UnknownLayerError, VisionModel, load_model

pytestmark = pytest.mark.slow


def captured(model, pixels, layers):
    with torch.no_grad():
        return model.capture(pixels, layers)


def by_hand(tensor, width):
    """The layout that a test can tell because its pixels, rows and channels are all different in number."""
    return tensor if tensor.shape[1] == width else tensor.permute(0, 3, 1, 2)


def test_every_stage_and_block_is_a_map_that_a_plain_hook_sees(convolutional, random_pixels, plain_forward):
    maps = [layer for layer in convolutional.layers if layer.kind == "map"]
    assert len(maps) >= 16
    modules = dict(convolutional.module.named_modules())
    pixels = random_pixels(convolutional)
    outputs = {layer.name: modules[layer.name.removeprefix("module:")] for layer in maps}
    reference = plain_forward(convolutional, pixels, outputs, {})
    values = captured(convolutional, pixels, [layer.name for layer in maps])
    for layer in maps:
        assert values[layer.name].shape == (2, layer.width, *layer.grid)
        assert torch.equal(values[layer.name], by_hand(reference[layer.name], layer.width)), layer.name


def test_widths_are_the_channels_and_not_the_rows(convolutional):
    widths = [layer.width for layer in convolutional.layers if layer.kind == "map"]
    grids = [layer.grid for layer in convolutional.layers if layer.kind == "map"]
    assert widths == sorted(widths)
    assert grids == sorted(grids, reverse=True)
    assert grids[-1] == (7, 7)


def test_the_embedding_is_a_vector(convolutional, random_pixels, plain_forward):
    embedding = convolutional.layers[-1]
    assert (embedding.name, embedding.kind) == ("embedding", "vector")
    pixels = random_pixels(convolutional)
    value = captured(convolutional, pixels, "embedding")["embedding"]
    assert value.shape == (2, embedding.width)
    if hasattr(convolutional.module, "visual"):
        assert torch.equal(value, plain_forward(convolutional, pixels, {}, {})["returned"])
    else:
        last = [module for module in convolutional.module.modules() if isinstance(module, nn.Linear)][-1]
        assert torch.equal(value, plain_forward(convolutional, pixels, {}, {"x": last})["x"])


def test_the_forward_stops_at_a_block(convolutional, random_pixels):
    blocks = [layer.name for layer in convolutional.layers if layer.kind == "map"]
    last = dict(convolutional.module.named_modules())[blocks[-1].removeprefix("module:")]
    ran = []
    handle = last.register_forward_pre_hook(lambda module, args: ran.append(module))
    pixels = random_pixels(convolutional)
    try:
        stopped = captured(convolutional, pixels, blocks[2])[blocks[2]]
        assert not ran
        full = captured(convolutional, pixels, [blocks[2], blocks[-1]])[blocks[2]]
        assert ran
    finally:
        handle.remove()
    assert torch.equal(stopped, full)


def test_a_channel_can_be_dropped(convolutional, random_pixels, plain_forward, count_hooks):
    layer = [layer for layer in convolutional.layers if layer.kind == "map"][4]
    pixels = random_pixels(convolutional)
    before = captured(convolutional, pixels, "embedding")["embedding"]

    def drop(x_bchw):
        x_bchw[:, 3] = 0
        return x_bchw

    with convolutional.intervene({layer.name: drop}):
        lesioned = captured(convolutional, pixels, [layer.name, "embedding"])
    assert not lesioned[layer.name][:, 3].any()
    assert lesioned[layer.name][:, 2].any()
    assert count_hooks(convolutional.module) == 0
    assert torch.equal(captured(convolutional, pixels, "embedding")["embedding"], before)
    assert not torch.equal(lesioned["embedding"], before)


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ("timm:convnext_tiny@random", "stages.1.blocks.0.mlp.fc1"),
        ("timm:convnext_tiny@random", "stages.1.blocks.0.norm"),
        ("timm:convnext_tiny@random", "stages.1.blocks.0.conv_dw"),
        ("timm:swin_tiny_patch4_window7_224@random", "layers.1.blocks.0.norm1"),
        ("timm:swin_tiny_patch4_window7_224@random", "patch_embed.proj"),
        ("torchvision:convnext_tiny@random", "features.3.0.block.3"),
        ("torchvision:convnext_tiny@random", "features.3.0.block.6"),
        ("torchvision:swin_t@random", "features.3.0.mlp.0"),
        ("torchvision:swin_t@random", "features.0.0"),
        ("torchvision:swin_t@random", "permute"),
    ],
)
def test_modules_within_blocks_have_their_declared_layout(spec, path, random_pixels):
    model = load_model(spec, "cpu")
    (layer,) = model.resolve(f"module:{path}")
    module = model.module.get_submodule(path)
    width = getattr(module, "out_features", None) or getattr(module, "out_channels", None)
    width = (
        width
        or {"stages.1.blocks.0.norm": 192, "layers.1.blocks.0.norm1": 192, "features.3.0.block.6": 192, "permute": 768}[
            path
        ]
    )
    assert layer.width == width
    assert layer.grid[0] == layer.grid[1] != width
    value = captured(model, random_pixels(model), layer.name)[layer.name]
    assert value.shape == (2, width, *layer.grid)


def test_what_has_no_batch_in_front_is_no_layer():
    swin = load_model("timm:swin_tiny_patch4_window7_224@random", "cpu")
    with pytest.raises(UnknownLayerError, match=r"layers\.0\.blocks\.0\.attn cannot be a layer"):
        swin.resolve("module:layers.0.blocks.0.attn")


def test_a_module_that_runs_more_than_once_is_no_layer():
    resnet = load_model("torchvision:resnet50@random", "cpu")
    with pytest.raises(UnknownLayerError, match=r"runs 3 times"):
        resnet.resolve("module:layer1.0.relu")


def test_a_value_that_is_later_changed_in_place_is_captured_as_it_was(random_pixels, plain_forward):
    """torchvision's ResNet rectifies the output of its first norm in place."""
    resnet = load_model("torchvision:resnet50@random", "cpu")
    pixels = random_pixels(resnet)
    value = captured(resnet, pixels, ["module:bn1", "module:layer1.0"])["module:bn1"]
    assert (value < 0).any()
    assert torch.equal(value, plain_forward(resnet, pixels, {"bn1": resnet.module.bn1}, {})["bn1"])


def test_a_cnn_may_look_at_images_of_another_size():
    resnet = load_model("timm:resnet18@random", "cpu")
    with torch.no_grad():
        value = resnet.capture(torch.rand(1, 3, 96, 64), "module:layer4")["module:layer4"]
    assert value.shape == (1, 512, 3, 2)


def test_blocks_without_stages_are_listed():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU())
            self.body = nn.Sequential(*(nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()) for _ in range(2)))
            self.unused = nn.Sequential(nn.Conv2d(4, 4, 1))

        def forward(self, x):
            return self.body(self.stem(x))

    model = VisionModel.wrap(Net(), image_size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    names = [layer.name for layer in model.layers]
    assert names == ["module:stem", "module:body.0", "module:body.1"]


def test_a_layout_that_contradicts_the_declared_channels_is_refused():
    """TinyViT's blocks put out [B,H,W,C], and no attribute of it says so."""
    model = load_model("timm:tiny_vit_5m_224@random", "cpu")
    assert [layer.width for layer in model.layers if layer.kind == "map"] == [64, 64, 64, 128, 160, 320]
    with pytest.raises(UnknownLayerError, match="declares 128 channels"):
        model.resolve("module:stages.1.blocks.0")


def test_the_vit_of_sam_is_a_map_of_patches(random_pixels):
    sam = load_model("timm:samvit_base_patch16_224@random", "cpu")
    assert {(layer.kind, layer.width, layer.grid) for layer in sam.layers[:12]} == {("map", 768, (14, 14))}
    assert captured(sam, random_pixels(sam), "module:blocks.1")["module:blocks.1"].shape == (2, 768, 14, 14)


def test_a_model_with_several_classifiers_declares_no_embedding(random_pixels):
    crossvit = load_model("timm:crossvit_tiny_240@random", "cpu")
    with pytest.raises(ModelError, match="has no embedding"):
        crossvit.encode_image(random_pixels(crossvit))
