import numpy as np
import pytest
import torch

from conceptprobe.images import load_images
from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes import ProbeError, ProbeResult, run_probe
from conceptprobe.probes.classifiers.readout import fit_linear_probe, frozen_features, residual_layers
from conceptprobe.probes.classifiers.tasks import choose_task, split_task
from conceptprobe.probes.framework.heads import zero_shot_head
from conceptprobe.probes.framework.images import choose_images
from conceptprobe.probes.framework.probed_model import ProbedModel
from conceptprobe.probes.framework.run_settings import RunSettings
from conceptprobe.probes.protocols.block_readout import METRIC, ending_after

TWINS = ("mini:clip", "mini:supervised")
C_VALUES = (1e-2, 1.0)


def names() -> tuple[str, ...]:
    """Some names of all groups."""
    return load_model("mini:supervised").class_names[::60]


@pytest.fixture(scope="module")
def result() -> ProbeResult:
    return run_probe(
        "block_readout", list(TWINS), "mini:emoji", n=60, classes=names(), target="group", c_values=C_VALUES
    )


def pixels(n: int, size: int = 48) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("block", range(6))
def test_a_supervised_block_is_read_by_final_norm_and_classifier(block: int) -> None:
    model = load_model("mini:supervised")
    with torch.no_grad(), ending_after(model, block=f"blocks.{block}.resid", last="blocks.5.resid"):
        found = model.logits(pixels(2))
    trunk = model.module
    with torch.no_grad():
        x = trunk.norm_pre(trunk.patch_drop(trunk._pos_embed(trunk.patch_embed((pixels(2) - 0.5) / 0.5))))
        for module in trunk.blocks[: block + 1]:
            x = module(x)
        expected = trunk.head(trunk.norm(x)[:, 0])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_block_of_clip_is_read_by_final_norm_projection_and_texts() -> None:
    model = load_model("mini:clip")
    head = zero_shot_head(model, ("skull", "pizza", "ghost"))
    with torch.no_grad(), ending_after(model, block="blocks.2.resid", last="blocks.5.resid"):
        found = head(model.capture(pixels(2), "embedding")["embedding"])
    trunk = model.module.visual.trunk
    with torch.no_grad():
        x_bd = trunk.norm(model.capture(pixels(2), "blocks.2.resid")["blocks.2.resid"])[:, 0]
        embedding_bd = model.module.visual.head(x_bd)
        text_cd = model.encode_text(["skull", "pizza", "ghost"])
        expected = 100 * embedding_bd / embedding_bd.norm(dim=1, keepdim=True) @ text_cd.T
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "spec",
    ["timm:deit_tiny_distilled_patch16_224@random", "open_clip:ViT-B-32@random", "torchvision:vit_b_32@random"],
)
def test_the_last_block_is_the_model_itself_and_an_earlier_one_is_not(spec: str) -> None:
    model = load_model(spec)
    images, layer = pixels(1, 224), "embedding"
    last = residual_layers(model)[-1].name
    with torch.inference_mode():
        expected = model.capture(images, layer)[layer]
        with ending_after(model, block=last, last=last):
            assert model.capture(images, layer)[layer].equal(expected)
        with ending_after(model, block="blocks.1.resid", last=last):
            assert not model.capture(images, layer)[layer].equal(expected)
        assert model.capture(images, layer)[layer].equal(expected)


def test_the_last_block_by_its_own_head_is_exactly_the_models_accuracy(result: ProbeResult) -> None:
    rows = result.frame[result.frame["metric"].isin(["correct", "probability"])]
    clean = rows[rows["series"] == "clean"].set_index(["model", "metric", "image"])["value"]
    last = rows[(rows["series"] == "own head") & (rows["x"] == 5)].set_index(["model", "metric", "image"])["value"]
    assert last[clean.index].tolist() == clean.tolist()
    assert 0.2 < clean.xs("correct", level="metric").mean() < 1
    assert {*result.frame[result.frame["series"] == "own head"]["x"]} == {*range(6)}


def test_linear_probes_read_the_cls_token_of_each_block_and_of_the_last_four_together(result: ProbeResult) -> None:
    model, source = load_model("mini:supervised"), load_images("mini:emoji")
    images = choose_images(source, RunSettings(n=60), among={*names()})
    task = choose_task(images, "group")
    split = split_task(task, 0, 0.5)
    features = frozen_features(ProbedModel(model), images.pixels(model), residual_layers(model), "cls")
    values = list(features.values())
    rows = result.frame[(result.frame["model"] == "mini:supervised") & (result.frame["metric"] == METRIC)]
    tested = [id_ for id_, is_tested in zip(images.ids, split.test_n, strict=True) if is_tested]
    for series, x, values_nd in (
        ("linear probe", 3, values[3]),
        ("last 4 blocks together", 5, np.concatenate(values[2:], 1)),
    ):
        found = rows[(rows["series"] == series) & (rows["x"] == x)].set_index("image")["value"]
        readout = fit_linear_probe(values_nd, task.targets_n, split, C_VALUES)
        assert found[tested].tolist() == (readout.answers_n == task.targets_n[split.test_n]).tolist()
        assert len(found) == len(tested)
    assert "Told is group, one of " in result.caveats[0]
    assert result.artifacts["mini:clip/c"].shape == (7,)


@pytest.mark.slow
def test_without_enough_images_linear_probes_are_left_out_and_it_says_so() -> None:
    result = run_probe("block_readout", "mini:supervised", "mini:emoji", n=8)
    assert METRIC not in {*result.frame["metric"]}
    assert "No linear probes: 8 images" in result.caveats[0]


@pytest.mark.slow
def test_a_model_that_cannot_name_classes_has_linear_probes_and_its_embedding() -> None:
    result = run_probe(
        "block_readout", "mini:distilled", "mini:emoji", n=24, target="group", test=0.6, last=2, c_values=(0.1,)
    )
    assert {*result.frame["metric"]} == {"cosine", "r", METRIC}
    by_block = result.curves[(result.curves["series"] == "own head") & (result.curves["metric"] == "cosine")]
    assert by_block["value"].iloc[-1] == pytest.approx(1, abs=1e-6)
    assert by_block["value"].iloc[0] < 0.9
    assert "last 2 blocks together" in {*result.frame["series"]}


@pytest.mark.slow
def test_bad_input_is_refused_before_any_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(VisionModel, "capture", lambda *args: pytest.fail("it computed"))
    known = ("skull", "pizza")
    cnn = load_model("timm:resnet18@random#48")
    cnn._class_names = (*known, *map(str, range(998)))
    with pytest.raises(ProbeError, match=r"no transformer blocks .* transfer"):
        run_probe("block_readout", cnn, "mini:emoji", n=4, classes=known)
    with pytest.raises(ProbeError, match="no column 'grupo'"):
        run_probe("block_readout", "mini:supervised", "mini:emoji", target="grupo")
