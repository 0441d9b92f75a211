from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.scoring import label_free
from conceptprobe.concepts.scoring.label_free import (
    LabelFreeScores,
    learned_from,
    load_label_free,
    sampled_images,
    score_without_labels,
)
from conceptprobe.concepts.statistics.coherence import mean_cosine
from conceptprobe.errors import OutputError
from conceptprobe.images import load_images
from conceptprobe.indexing import Index, build_index
from conceptprobe.intervals import wilson_interval
from conceptprobe.models import load_model

pytestmark = pytest.mark.slow

LAYER = "blocks.5.mlp.hidden"
N, K = 400, 6


@pytest.mark.parametrize(
    ("spec", "kinds"),
    [
        ("mini:clip", {"text"}),
        ("mini:supervised", {"labels"}),
        ("mini:distilled", {"images"}),
        ("mini:clip@random", set()),
        ("open_clip:ViT-B-32@openai", {"text"}),
        ("timm:vit_base_patch16_224.augreg_in1k", {"labels"}),
        ("timm:vit_base_patch16_clip_224.openai", {"text"}),
        ("timm:vit_base_patch16_clip_224.openai_ft_in1k", {"text", "labels"}),
        ("timm:vit_small_patch14_dinov2.lvd142m", {"images"}),
        ("timm:vit_small_patch14_dinov2.lvd142m@clip/file.safetensors", {"images"}),
        ("torchvision:resnet50@IMAGENET1K_V2", {"labels"}),
        ("wrap:Sequential", set()),
    ],
)
def test_what_a_model_learned_from(spec: str, kinds: set[str]) -> None:
    assert learned_from(spec) == kinds


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    folder = tmp_path_factory.mktemp("images")
    for i in range(N):
        colour = tuple(np.random.default_rng(i).integers(0, 256, 3).tolist())
        Image.new("RGB", (8, 8), colour).save(folder / f"{i:03d}.png")
    model = load_model("mini:supervised", device="cpu")
    return build_index(model, load_images(f"folder:{folder}"), LAYER, folder / "index", k=10, workers=0)


def test_kin_cannot_judge(index: Index) -> None:
    with pytest.raises(ConceptError, match="both learned from labels"):
        score_without_labels(index, load_model("mini:supervised", device="cpu"), k=K)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 11}, "k is 11: this index allows 2 to 10"),
        ({"draws": 5}, "matches is 1000 and draws 5"),
        ({"k": 1}, "scores: k is 1: input should be greater"),
    ],
)
def test_settings_out_of_range_are_refused(index: Index, options: dict[str, int], message: str) -> None:
    with pytest.raises(ConceptError, match=message):
        score_without_labels(index, load_model("mini:clip", device="cpu"), **{"k": K, **options})


def planted(index: Index, monkeypatch: pytest.MonkeyPatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Looks and meanings of the images, and lists of features: 300 that only look, then 100 that mean something.

    An image's meaning is partly its look, as it is of real images, and partly one of forty themes.
    """
    rng = np.random.default_rng(0)
    looks = rng.standard_normal((N, 12)) / np.sqrt(1 + np.arange(12))
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    themes = np.eye(40)[np.arange(N) % 40]
    meanings = np.concatenate([np.sqrt(0.6) * looks, np.sqrt(0.4) * themes], axis=1)
    directions = rng.standard_normal((12, 300))
    scores = looks @ directions / np.linalg.norm(directions, axis=0) + 0.2 * rng.standard_normal((N, 300))
    thematic = 5 * themes[:, np.arange(100) % 40] + rng.standard_normal((N, 100))
    acts = np.concatenate([scores, thematic], axis=1).astype(np.float32)
    lists = [*np.argsort(-acts, axis=0)[:K].T]
    monkeypatch.setattr(label_free, "describe_images", lambda source, rows, **_: looks[rows].astype(np.float32))
    monkeypatch.setattr(label_free, "embed_images", lambda model, source, rows, **_: meanings[rows].astype(np.float32))
    monkeypatch.setattr(index, "activation_blocks", lambda layer: iter([acts]))
    width = index.width(LAYER)
    rows_fk = np.concatenate([lists, np.resize(lists[:1], (width - 400, K))])
    monkeypatch.setattr(index, "top_rows", lambda layer, pooling: (rows_fk, np.zeros(rows_fk.shape)))
    stats = index.stats(LAYER)
    stats["dead"] = np.arange(width) >= 400
    monkeypatch.setattr(index, "stats", lambda layer, pooling: stats)
    return looks, meanings, rows_fk


@pytest.mark.parametrize(("sample", "held_against"), [(100_000, "predicted"), (300, "alike")])
def test_meaning_is_told_from_looks(
    index: Index, sample: int, held_against: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks, meanings, rows_fk = planted(index, monkeypatch)
    scorer = load_model("mini:clip", device="cpu")
    scores = score_without_labels(index, scorer, k=K, draws=6000, matches=500, sample=sample, cache=None)
    frame = scores.frame
    visual, semantic = frame[:300], frame[300:400]
    np.testing.assert_allclose(frame["coherence_semantic"], mean_cosine(meanings, rows_fk), atol=1e-6)
    np.testing.assert_allclose(frame["coherence_visual"], mean_cosine(looks, rows_fk), atol=1e-6)
    assert (semantic["q"] <= 0.05).mean() >= 0.95
    assert (semantic["excess"] > 0.15).all()
    assert (visual["p"] <= 0.05).mean() <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 300)
    assert (visual["coherence_semantic"] > semantic["coherence_semantic"].min()).any()
    assert frame[400:][["excess", "p", "q"]].isna().all(axis=None)
    assert set(frame["looks"]) == {held_against}
    assert set(frame["scorer"]) == {"mini:clip"}
    assert scores.settings["looks"] == held_against


def make_scores() -> LabelFreeScores:
    """Two layers of five features, of which the first is dead."""
    layer = {
        "feature": np.arange(5), "looks": "alike", "excess": [np.nan, 0.1, 0.2, 0.3, 0.4],
        "p": [np.nan, 0.5, 0.4, 0, 0], "q": [np.nan, 0.6, 0.5, 0.01, 0.05], "dead": [True, False, False, False, False],
    }  # fmt: skip
    frame = pd.concat([pd.DataFrame(layer | {"layer": name}) for name in ("blocks.0", "<b>blocks.1</b>")])
    return LabelFreeScores(
        frame.reset_index(drop=True), {"model": "mini:clip", "scorer": "mini:supervised", "k": 4, "q": 0.05}
    )


def test_the_summary_counts_the_tested_features() -> None:
    summary = make_scores().summary()
    assert summary["layer"].tolist() == ["blocks.0", "<b>blocks.1</b>"]
    row = summary.iloc[0]
    assert (row["count"], row["of"], row["share"]) == (2, 4, 0.5)
    assert (row["low"], row["high"]) == wilson_interval(0.5, 4)
    assert row["median_excess"] == pytest.approx(0.25)


def test_label_free_scores_are_saved_and_shown(tmp_path: Path) -> None:
    scores = make_scores()
    loaded = load_label_free(scores.save(tmp_path / "scores"))
    pd.testing.assert_frame_equal(loaded.frame, scores.frame)
    assert loaded.settings == scores.settings
    assert repr(loaded) == "LabelFreeScores(mini:clip by mini:supervised, k 4: 4 of 8 beyond looks)"
    assert len(loaded) == 10
    html = loaded._repr_html_()
    assert "50.0 %" in html
    assert "&lt;b&gt;blocks.1&lt;/b&gt;" in html
    figure = scores.figure(scores)
    assert [bar.get_height() for bar in figure.axes[0].patches] == [50] * 4
    with pytest.raises(OutputError, match=r"holds no label_free.json: make it with `score_without_labels\(INDEX"):
        load_label_free(tmp_path)


def test_sample_holds_the_lists() -> None:
    lists = [np.array([[5, 990, -1]]), np.array([[7]])]
    rows = sampled_images(lists, 1000, 50, np.random.default_rng(0))
    assert {5, 7, 990} <= set(rows.tolist())
    assert 50 <= len(rows) <= 53
    assert (np.diff(rows) > 0).all()
    assert len(sampled_images(lists, 1000, 1000, np.random.default_rng(0))) == 1000
