"""Sparse autoencoders, whose latents can be visualized."""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
import torch.nn.functional as F
from torch import Tensor

from conceptprobe.visualization.errors import VisualizeError

# Names of SAELens and the like (features first), of torch's linear layers (the other way round), and of OpenAI's.
_WEIGHTS = {
    "encoder": (("W_enc", False), ("encoder.weight", True)),
    "decoder": (("W_dec", False), ("decoder.weight", True)),
}
_BIASES = {"encoder": ("b_enc", "encoder.bias", "latent_bias"), "decoder": ("b_dec", "decoder.bias", "pre_bias")}
_THRESHOLDS = ("threshold", "log_threshold")


@dataclass(frozen=True, eq=False)
class SAE:
    """A sparse autoencoder: latents = ReLU((x - centre) W + b), or 0 where they do not exceed their threshold.

    A latent with a threshold is a JumpReLU (Rajamanoharan et al. 2024, arXiv 2407.14435). The latents of a TopK
    autoencoder (Gao et al. 2024, arXiv 2406.04093) are those before the selection of the k largest.

    Attributes:
        layer: The layer that the autoencoder reads.
        encoder_df: Weights from d features of the layer to f latents; float32 on the CPU, as all tensors here.
        bias_f: Bias of the encoder.
        decoder_fd: Weights of the decoder.
        centre_d: What the encoder subtracts from its input: the decoder's bias, or 0.
        threshold_f: Thresholds of the latents.
    """

    layer: str
    encoder_df: Tensor
    bias_f: Tensor
    decoder_fd: Tensor
    centre_d: Tensor
    threshold_f: Tensor

    @property
    def inputs(self) -> int:
        """Number of features of the layer."""
        return self.encoder_df.shape[0]

    @property
    def latents(self) -> int:
        """Number of latents."""
        return self.encoder_df.shape[1]

    @functools.cached_property
    def hash(self) -> str:
        """Twelve hexadecimal digits of a hash of the encoder, on which objectives depend."""
        digest = hashlib.sha256()
        for tensor in (self.encoder_df, self.bias_f, self.centre_d, self.threshold_f):
            digest.update(repr(tuple(tensor.shape)).encode() + tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()[:12]

    def encode(self, acts: Tensor) -> Tensor:
        """Latents [...,f] of activations [...,d], in their dtype and on their device; for `VisionModel.attach`."""
        encoder_df, bias_f, centre_d, threshold_f = (
            tensor.to(acts) for tensor in (self.encoder_df, self.bias_f, self.centre_d, self.threshold_f)
        )
        return jump(F.linear(acts - centre_d, encoder_df.T, bias_f), threshold_f)

    def __repr__(self) -> str:
        return f"SAE({self.layer!r}, {self.inputs} features, {self.latents} latents, {self.hash})"


def jump(before: Tensor, threshold: Tensor) -> Tensor:
    """ReLU of the values above a threshold, 0 for others."""
    return F.relu(before) * (before > threshold)


def load_sae(path: str | Path, layer: str | None = None, *, centred: bool = True) -> SAE:
    """Read a sparse autoencoder from a safetensors file.

    Args:
        path: A file with `W_enc` [d,f], `b_enc`, `W_dec` [f,d], `b_dec`, or `encoder.weight` [f,d], `encoder.bias`,
            `decoder.weight` [d,f], `decoder.bias`; for a JumpReLU also `threshold` or `log_threshold`. Biases that are
            missing are 0. The names may share a prefix, such as `sae.`.
        layer: The model's name of the layer that the autoencoder reads; by default the file's metadata `layer`.
        centred: Whether the encoder subtracts the decoder's bias from its input, as most do (SAELens:
            `apply_b_dec_to_input`).

    Raises:
        VisualizeError: The file holds no sparse autoencoder; the error names what it holds.
    """
    path = Path(path).expanduser()
    try:
        with safetensors.safe_open(path, framework="pt", device="cpu") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise VisualizeError(f"{path} cannot be read as a safetensors file ({error})") from error
    reads = layer or metadata.get("layer")
    if not reads:
        raise VisualizeError(
            f"{path} does not say which layer it reads: give the layer, as in load_sae(path, layer='blocks.8.resid')"
        )
    tensor_names = ", ".join(f"{name} {list(tensor.shape)}" for name, tensor in sorted(tensors.items())) or "nothing"
    tensors = _without_prefix(tensors)
    encoder_df, decoder_fd = (_weight(path, part, tensors, tensor_names) for part in ("encoder", "decoder"))
    inputs, latents = encoder_df.shape
    if decoder_fd.shape != (latents, inputs):
        raise VisualizeError(
            f"{path}: the encoder takes {inputs} features to {latents} latents, but the decoder takes "
            f"{decoder_fd.shape[0]} latents to {decoder_fd.shape[1]} features; the file has {tensor_names}"
        )
    bias_f, centre_d = (_bias(path, part, n, tensors) for part, n in (("encoder", latents), ("decoder", inputs)))
    return SAE(
        reads,
        encoder_df.contiguous(),
        bias_f,
        decoder_fd.contiguous(),
        centre_d if centred else torch.zeros_like(centre_d),
        _threshold(path, latents, tensors),
    )


def _without_prefix(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    ends = tuple(f".{name}" for names in _WEIGHTS.values() for name, _ in names)
    prefixes = {name[: -len(end) + 1] for name in tensors for end in ends if name.endswith(end)}
    prefix = prefixes.pop() if len(prefixes) == 1 else ""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def _weight(path: Path, part: str, tensors: Mapping[str, Tensor], tensor_names: str) -> Tensor:
    for name, transposed in _WEIGHTS[part]:
        tensor = tensors.get(name)
        if tensor is not None and tensor.ndim == 2:
            return tensor.T if transposed else tensor
    names = " or ".join(name for name, _ in _WEIGHTS[part])
    raise VisualizeError(f"{path} has no {part}, a matrix named {names}; the file has {tensor_names}")


def _bias(path: Path, part: str, length: int, tensors: Mapping[str, Tensor]) -> Tensor:
    name = next((name for name in _BIASES[part] if name in tensors), None)
    if name is None:
        return torch.zeros(length, device="cpu")
    return _of_length(path, name, tensors[name], length)


def _threshold(path: Path, latents: int, tensors: Mapping[str, Tensor]) -> Tensor:
    name = next((name for name in _THRESHOLDS if name in tensors), None)
    if name is None:
        return torch.zeros(latents, device="cpu")
    value_f = _of_length(path, name, tensors[name], latents)
    return value_f.exp() if name.startswith("log") else value_f


def _of_length(path: Path, name: str, tensor: Tensor, length: int) -> Tensor:
    if tensor.shape != (length,):
        raise VisualizeError(f"{path}: {name} is {list(tensor.shape)}, expected [{length}]")
    return tensor
