"""Sparse autoencoders from files."""

import pytest
import safetensors.torch
import torch
from torch import nn

from conceptprobe.models import load_model
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.objectives.latents import load_sae
from conceptprobe.visualization.objectives.objectives import latent

GENERATOR = torch.Generator().manual_seed(2)
W_ENC = torch.randn(4, 10, generator=GENERATOR)
W_DEC = torch.randn(10, 4, generator=GENERATOR)
B_ENC = torch.randn(10, generator=GENERATOR)
B_DEC = torch.randn(4, generator=GENERATOR)
LENS = {"W_enc": W_ENC, "b_enc": B_ENC, "W_dec": W_DEC, "b_dec": B_DEC}
LINEAR = {
    "encoder.weight": W_ENC.T.contiguous(),
    "encoder.bias": B_ENC,
    "decoder.weight": W_DEC.T.contiguous(),
    "decoder.bias": B_DEC,
}
OPENAI = {
    "encoder.weight": W_ENC.T.contiguous(),
    "latent_bias": B_ENC,
    "decoder.weight": W_DEC.T.contiguous(),
    "pre_bias": B_DEC,
}


def write(tmp_path, tensors, metadata=None):
    path = tmp_path / "sae.safetensors"
    safetensors.torch.save_file(tensors, path, metadata)
    return path


@pytest.mark.parametrize(
    "tensors",
    [LENS, LINEAR, OPENAI, {f"sae.{name}": value for name, value in LINEAR.items()}],
    ids=["W_enc", "encoder.weight", "latent_bias", "prefix"],
)
def test_the_common_names_are_read(tmp_path, tensors):
    sae = load_sae(write(tmp_path, tensors), "blocks.3.resid")
    assert (sae.layer, sae.inputs, sae.latents) == ("blocks.3.resid", 4, 10)
    for own, expected in ((sae.encoder_df, W_ENC), (sae.bias_f, B_ENC), (sae.decoder_fd, W_DEC), (sae.centre_d, B_DEC)):
        assert torch.equal(own, expected)
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(sae.encode(x), ((x - B_DEC) @ W_ENC + B_ENC).relu(), atol=1e-6)


def test_torchs_own_linear_layers_are_read(tmp_path):
    module = nn.ModuleDict({"encoder": nn.Linear(4, 10), "decoder": nn.Linear(10, 4)})
    sae = load_sae(write(tmp_path, module.state_dict()), "a")
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(3))
    expected = module["encoder"](x - module["decoder"].bias).relu()
    assert torch.allclose(sae.encode(x), expected, atol=1e-6)


def test_input_that_is_not_centred_and_biases_that_are_not_there(tmp_path):
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(
        load_sae(write(tmp_path, LENS), "a", centred=False).encode(x), (x @ W_ENC + B_ENC).relu(), atol=1e-6
    )
    bare = load_sae(write(tmp_path, {"W_enc": W_ENC, "W_dec": W_DEC}), "a")
    assert torch.allclose(bare.encode(x), (x @ W_ENC).relu(), atol=1e-6)


@pytest.mark.parametrize("name", ["threshold", "log_threshold"])
def test_a_jump_relu_is_off_up_to_its_threshold(tmp_path, name):
    threshold = torch.linspace(0.1, 2, 10)
    stored = threshold if name == "threshold" else threshold.log()
    sae = load_sae(write(tmp_path, {**LENS, name: stored}), "a")
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(3))
    before = (x - B_DEC) @ W_ENC + B_ENC
    assert torch.allclose(sae.encode(x), torch.where(before > threshold, before, 0.0), atol=1e-5)


def test_the_layer_is_in_the_files_metadata_or_given(tmp_path):
    path = write(tmp_path, LENS, {"layer": "blocks.2.resid"})
    assert load_sae(path).layer == "blocks.2.resid"
    assert load_sae(path, "final").layer == "final"
    with pytest.raises(VisualizeError, match="does not say which layer"):
        load_sae(write(tmp_path, LENS))


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"weights": W_ENC}, r"has no encoder, a matrix named W_enc or encoder.weight; the file has weights \[4, 10\]"),
        ({"W_enc": W_ENC}, r"has no decoder, a matrix named W_dec or decoder.weight; the file has W_enc \[4, 10\]"),
        ({"W_enc": B_ENC, "W_dec": W_DEC}, "has no encoder"),
        ({"W_enc": W_ENC, "W_dec": W_ENC.clone()}, "takes 4 features to 10 latents, but the decoder takes 4 latents"),
        ({**LENS, "b_enc": B_DEC}, r"b_enc is \[4\], expected \[10\]"),
        ({**LENS, "threshold": B_DEC}, r"threshold is \[4\], expected \[10\]"),
    ],
)
def test_a_file_that_is_no_autoencoder_says_what_it_holds(tmp_path, tensors, says):
    tensors = {name: value.clone() for name, value in tensors.items()}
    with pytest.raises(VisualizeError, match=says):
        load_sae(write(tmp_path, tensors), "a")


def test_a_file_that_is_not_there_or_not_safetensors(tmp_path):
    with pytest.raises(VisualizeError, match="cannot be read"):
        load_sae(tmp_path / "none.safetensors", "a")
    (tmp_path / "text.safetensors").write_text("no tensors")
    with pytest.raises(VisualizeError, match="cannot be read"):
        load_sae(tmp_path / "text.safetensors", "a")


def test_latents_are_the_same_attached_as_a_layer(tmp_path):
    from conceptprobe.visualization.objectives.binding import bind
    from conceptprobe.visualization.objectives.objectives import feature

    generator = torch.Generator().manual_seed(0)
    tensors = {"W_enc": torch.randn(192, 20, generator=generator), "W_dec": torch.randn(20, 192, generator=generator)}
    sae = load_sae(write(tmp_path, tensors), "blocks.2.resid")
    model = load_model("mini:clip", "cpu")
    model.attach("sae", sae.layer, sae.encode, sae.latents)
    pixels = torch.rand(2, 3, 48, 48, generator=generator)
    bound = bind(model, [latent(sae, 3), feature("sae", 3)], 1)
    with torch.no_grad():
        values = bound(model.capture(pixels[[0, 0]], bound.layers))
    assert torch.allclose(values[0], values[1], rtol=1e-5)
    assert float(values[0]) > 0
