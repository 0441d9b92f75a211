import numpy as np
import open_clip
import pytest
import torch

from conceptprobe.errors import ConceptProbeError
from conceptprobe.images import load_images
from conceptprobe.models import VisionModel, load_model
from conceptprobe.probes import ProbeError, ProbeResult, run_probe
from conceptprobe.probes.classifiers.categories import CATEGORIES
from conceptprobe.probes.framework.heads import ensemble_head, template_heads, template_texts, zero_shot_head
from conceptprobe.probes.protocols.zero_shot import ranks

NAMES = ("skull", "pizza", "ghost", "guitar", "wolf", "rocket", "mushroom", "violin")


def values(result: ProbeResult, metric: str, series: str) -> np.ndarray:
    rows = result.frame[(result.frame["metric"] == metric) & (result.frame["series"] == series)]
    return rows.sort_values("image")["value"].to_numpy()


@pytest.fixture(scope="module")
def clip() -> VisionModel:
    return load_model("mini:clip")


@pytest.fixture(scope="module")
def asked(clip: VisionModel) -> ProbeResult:
    return run_probe(
        "zero_shot", [clip, "mini:supervised"], "mini:emoji", n=40, classes=NAMES, prompts=("{}", "art of the {}")
    )


def test_accuracy_is_that_of_the_nearest_text(clip: VisionModel, asked: ProbeResult) -> None:
    source = load_images("mini:emoji")
    ids = sorted(asked.frame["image"].unique())
    rows = [source.row_of(id_) for id_ in ids]
    with torch.no_grad():
        pixels = torch.stack([clip.preprocess(source.load(row).image) for row in rows])
        cosines_nc = clip.encode_image(pixels) @ clip.encode_text([f"art of the {name}" for name in NAMES]).T
    labels = [NAMES.index(source.table["label"][row].as_py()) for row in rows]
    own = asked.frame["model"] == "mini:clip"
    rows_of_clip = asked.frame[own & (asked.frame["metric"] == "correct") & (asked.frame["series"] == "art of the {}")]
    found = rows_of_clip.sort_values("image")["value"].to_numpy()
    assert found.tolist() == (cosines_nc.argmax(1).numpy() == labels).tolist()
    assert 0 < found.mean() < 1


def test_what_other_probes_ask_is_there_for_every_model_and_compared(asked: ProbeResult) -> None:
    clean = asked.curves[asked.curves["series"] == "clean"]
    assert {*zip(clean["model"], clean["metric"], strict=True)} == {
        (model, metric) for model in ("mini:clip", "mini:supervised") for metric in ("correct", "probability", "top-5")
    }
    assert {*asked.differences["series"]} == {"clean"}
    assert {*asked.curves[asked.curves["model"] == "mini:clip"]["series"]} == {
        "clean", "{}", "art of the {}", "all 2 prompts",
    }  # fmt: skip


def test_the_gain_is_that_of_all_prompts_over_one(asked: ProbeResult) -> None:
    together = asked.frame[asked.frame["series"] == "all 2 prompts"]
    alone = asked.frame[asked.frame["series"] == "art of the {}"]
    merged = together[together["metric"] == "correct"].merge(alone[alone["metric"] == "correct"], on="image")
    gain = alone[alone["metric"] == "gain by all prompts"].set_index("image")["value"]
    assert gain[merged["image"]].tolist() == (merged["value_x"] - merged["value_y"]).tolist()
    assert gain.any()


@pytest.mark.slow
def test_one_prompt_alone_is_all_prompts(clip: VisionModel) -> None:
    result = run_probe("zero_shot", clip, "mini:emoji", n=24, classes=NAMES, prompts=("art of the {}",))
    for metric in ("correct", "top-5"):
        assert values(result, metric, "all 1 prompts").tolist() == values(result, metric, "art of the {}").tolist()
    assert not values(result, "gain by all prompts", "art of the {}").any()


def test_prompts_are_averaged_at_length_one(clip: VisionModel) -> None:
    templates = ("{}", "art of the {}", "a photo of a {}")
    head = zero_shot_head(clip, NAMES[:3], templates)
    with torch.no_grad():
        text_tcd = torch.stack([clip.encode_text([t.format(name) for name in NAMES[:3]]) for t in templates])
    mean_cd = text_tcd.mean(0)
    expected = (mean_cd / mean_cd.norm(dim=1, keepdim=True)).T
    assert head.weights_dc is not None
    torch.testing.assert_close(head.weights_dc, expected, rtol=1e-5, atol=1e-6)
    again = ensemble_head(template_heads(clip, NAMES[:3], templates))
    assert again.weights_dc is not None
    assert again.weights_dc.equal(head.weights_dc)


@pytest.mark.slow
def test_prompts_are_averaged_as_open_clip_does() -> None:
    model, names = load_model("open_clip:ViT-B-32@random"), ("dog", "oven")
    templates = open_clip.SIMPLE_IMAGENET_TEMPLATES
    expected = open_clip.build_zero_shot_classifier(model.module, open_clip.get_tokenizer("ViT-B-32"), names, templates)
    head = zero_shot_head(model, names, ("simple",))
    assert head.weights_dc is not None
    torch.testing.assert_close(head.weights_dc, expected, rtol=1e-4, atol=1e-5)


def test_named_lists_are_written_out() -> None:
    assert len(template_texts(("openai",))) == 80
    assert template_texts(("{}", "simple")) == ("{}", *(fill("{}") for fill in open_clip.SIMPLE_IMAGENET_TEMPLATES))
    with pytest.raises(ProbeError, match="openai or simple"):
        template_texts(("a photo",))


def test_the_rank_counts_equal_scores_of_earlier_classes() -> None:
    scores_nc = np.array([[3.0, 1.0, 2.0, 3.0], [0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]])
    assert ranks(scores_nc, np.array([3, 0, 0])).tolist() == [1, 0, 3]
    assert ((ranks(scores_nc, np.array([3, 0, 0])) == 0) == (scores_nc.argmax(1) == [3, 0, 0])).all()


def test_classifiers_of_imagenet_answer_with_the_sixteen_categories() -> None:
    model = load_model("timm:resnet18@random#64")
    class_map = {"bear": "bear", "cat": "cat", "dog": "dog", "elephant": "elephant"}
    source = load_images("mini:emoji/noto")
    result = run_probe("zero_shot", model, source, n=4, classes=tuple(class_map), class_map=class_map)
    rows = result.frame[result.frame["metric"] == "probability"].set_index("image")["value"]
    for id_, value in rows.items():
        row = source.row_of(str(id_))
        with torch.no_grad():
            pixels = model.preprocess(source.load(row).image)[None]
            probability_c = model.logits((pixels * 255).round() / 255).double().softmax(1)[0]
        means = {name: float(probability_c[list(CATEGORIES[name])].mean()) for name in class_map}
        assert value == pytest.approx(means[source.table["label"][row].as_py()] / sum(means.values()), rel=1e-3)


def test_prompts_that_cannot_be_asked_are_refused_before_an_image_is_shown(
    monkeypatch: pytest.MonkeyPatch, clip: VisionModel
) -> None:
    monkeypatch.setattr(VisionModel, "capture", lambda *args: pytest.fail("it computed"))
    for prompts, message in (
        (("a photo",), "texts with {}"),
        (("{}", "{}"), "listed twice"),
        (("a holographic {}",), "not trained on"),
    ):
        with pytest.raises(ConceptProbeError, match=message):
            run_probe("zero_shot", clip, "mini:emoji", n=4, classes=NAMES, prompts=prompts)
