"""Every probe on every kind of model: distillation and register tokens, CNNs, zero-shot heads. Weights are random."""

import functools
from typing import Any

import numpy as np
import pytest

from conceptprobe.images import load_images
from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes import PROBES, ProbeError, ProbeResult, run_probe

pytestmark = pytest.mark.slow

REGISTERS = "timm:vit_small_patch14_reg4_dinov2@random#112"
CNN = "timm:resnet18@random"
BLOCKS = 12
MODELS = (
    "timm:vit_tiny_patch16_224@random",
    "timm:deit_tiny_distilled_patch16_224@random",
    REGISTERS,
    CNN,
    "open_clip:ViT-B-32@random",
)
LABELS = ("skull", "pizza", "ghost", "guitar")
IMAGES = "mini:emoji/noto"
FEW: dict[str, dict[str, Any]] = {
    "adversarial": {"attacks": ("pgd",), "steps": 1},
    "block_readout": {"linear": False},
    "corruption": {"corruptions": ("contrast", "pixelate"), "severities": (5,)},
    "cutout": {"shares": (0.2,), "draws": 1},
    "frequency": {"radii": (4.0,)},
    "lesion": {"parts": ("block",), "together": (), "draws": 1},
    "local_attention": {"radii": (1,)},
    "occlusion": {"shares": (0.5,), "draws": 2},
    "rotation": {"c_values": (0.1,)},
    "shuffle": {"grids": ((2, 2), (4, 4)), "draws": 1},
    "transfer": {"target": "group", "c_values": (0.1,)},
}
"""Settings that make few conditions; probes that are not listed have few by default."""

LEARNERS = {"rotation": 16, "transfer": 24}
"""Probes that learn from some of the images and test on others, and how many images they take here."""


@functools.lru_cache(1)
def load(spec: str) -> VisionModel:
    return load_model(spec)


def ask(probe: str, spec: str, **options: Any) -> ProbeResult:
    """The same four images for all; a native classifier is told which of its classes they stand for."""
    model = load(spec)
    if probe in LEARNERS:
        return run_probe(probe, model, load_images(IMAGES), n=LEARNERS[probe], **options)
    if model.has_class_names:
        options["classes"] = model.class_names[: len(LABELS)]
        options["class_map"] = dict(zip(LABELS, options["classes"], strict=True))
    else:
        options["classes"] = LABELS
    return run_probe(probe, model, load_images(IMAGES), n=4, **options)


def needs_of(probe: str) -> frozenset[str]:
    """What a probe needs with its own settings."""
    return PROBES[probe].needs | PROBES[probe].needs_more(PROBES[probe].settings())


def refusal(probe: str, spec: str) -> str | None:
    """What a probe says of a model that cannot be asked."""
    if probe == "patch_size":  # which needs two models; tests/probes/test_patch_size.py has them
        return "has no patches" if spec == CNN else "compares models of different patch sizes"
    if probe == "shape_distillation":  # which needs more images; tests/probes/test_shape_distillation.py has them
        return "has no tokens" if spec == CNN else "have 12 images among the 4, which two must have"
    needs = needs_of(probe)
    if spec == REGISTERS and "classes" in needs:
        return "neither a classifier with named classes nor a text tower"
    if spec == CNN and "attention" in needs:
        return "looks at attention, and timm:resnet18@random has none"
    if spec == CNN and probe == "lesion":
        return r"no transformer blocks to take away: set parts=\(\) to silence features only"
    if spec == CNN and probe == "block_readout":
        return "no transformer blocks that its head could read"
    return None


@pytest.mark.parametrize("probe", sorted(PROBES))
@pytest.mark.parametrize("spec", MODELS)
def test_every_probe_runs_or_says_why_not(spec: str, probe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if (message := refusal(probe, spec)) is not None:
        monkeypatch.setattr(VisionModel, "capture", lambda *args: pytest.fail("it computed"))
        with pytest.raises(ProbeError, match=message):
            ask(probe, spec, **FEW.get(probe, {}))
        return
    result = ask(probe, spec, **FEW.get(probe, {}))
    (about,) = result.about["models"]
    assert about["spec"] == spec
    images = result.frame["image"].nunique()
    assert images == 4 if probe not in LEARNERS else 4 <= images < LEARNERS[probe]
    assert (result.frame.groupby(["metric", "series", "x", "draw"])["image"].nunique() == images).all()
    if spec == REGISTERS and "answers" in needs_of(probe):
        assert (about["head"], about["classes"]) == (None, None)
        assert set(result.frame["metric"]) == {"cosine", "r"}
        assert f"{spec} cannot name classes" in " ".join(result.caveats)
    elif {"classes", "answers"} & needs_of(probe):
        assert (about["head"], about["classes"]) == ("zero-shot" if spec.startswith("open_clip") else "native", 4)
        values = {name: part["value"].to_numpy() for name, part in result.frame.groupby("metric")}
        assert np.isin(values["correct"], (0, 1)).all()
        assert ((values["probability"] >= 0) & (values["probability"] <= 1)).all()
        if probe != "zero_shot":  # which changes neither images nor model
            assert np.isfinite([values["cosine"], values["r"]]).all()
            assert values["cosine"].min() < 1 - 1e-6
    if PROBES[probe].follows:
        assert set(result.survival["verdict"]) == {"all"}
        assert np.isfinite(result.survival["value"]).all()
        assert result.features["r"].min() < 1 - 1e-12  # random DINOv2 scales what its blocks add by 1e-5
        assert sorted(result.features["feature"].unique()) == list(range(load(spec).resolve(about["layers"])[0].width))


@pytest.mark.parametrize("spec", [spec for spec in MODELS if spec != CNN])
def test_attention_of_every_head_and_block_lies_within_the_image(spec: str) -> None:
    model = load(spec)
    rows = ask("attention_distance", spec).frame
    heads = sum(name.startswith("head ") for name in rows["series"].unique())
    assert len(rows) == BLOCKS * (heads + 1) * 4
    width = model.resolve("blocks.0.resid")[0].width
    assert heads == width // 64
    patch = model.image_size[0] // (model.resolve("blocks.0.attn.probs")[0].grid or (1, 1))[0]
    assert rows["value"].between(patch, np.hypot(*model.image_size)).all()


def test_features_of_a_cnn_are_silenced_where_blocks_cannot_be() -> None:
    result = ask("lesion", CNN, parts=(), features=("module:layer4:5",), draws=2)
    assert set(result.frame["series"]) == {"clean", "features", "as many others"}
    silent = result.features[result.features["series"] == "features"].set_index("feature")
    assert silent.loc[5, "r"] == 0
    np.testing.assert_allclose(silent.drop(5)["r"].dropna(), 1, atol=1e-6)
