import numpy as np
import pytest
from PIL import Image

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.scoring import label_free
from conceptprobe.concepts.scoring.label_free import learned_from, sampled_images, score_without_labels
from conceptprobe.concepts.statistics.coherence import mean_cosine
from conceptprobe.images import load_images
from conceptprobe.indexing import Index, build_index
from conceptprobe.models import load_model

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
    [({"k": 11}, "k is 11: this index allows 2 to 10"), ({"draws": 5}, "matches is 1000 and draws 5")],
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
    frame = score_without_labels(index, scorer, k=K, draws=6000, matches=500, sample=sample, cache=None)
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


def test_sample_holds_the_lists() -> None:
    lists = [np.array([[5, 990, -1]]), np.array([[7]])]
    rows = sampled_images(lists, 1000, 50, np.random.default_rng(0))
    assert {5, 7, 990} <= set(rows.tolist())
    assert 50 <= len(rows) <= 53
    assert (np.diff(rows) > 0).all()
    assert len(sampled_images(lists, 1000, 1000, np.random.default_rng(0))) == 1000
