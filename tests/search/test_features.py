from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from conceptprobe.images import ImageSource, load_images
from conceptprobe.indexing import Index, IndexingError, index_activations
from conceptprobe.search.features import find_features

WORDS = ("music", "death", "flag")
MEANING = np.arange(300) % 5  # of each image; words have none of 3 and 4


class Scorer:
    """Stands in for a model: word number i is the i-th axis; images share a direction, and lie near their axis."""

    spec, fingerprint, device, dtype = "test:scorer", "0", torch.device("cpu"), torch.float32
    noise = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    images_nd = torch.nn.functional.normalize(torch.eye(5)[MEANING] + 1 + 0.2 * noise, dim=1).numpy()

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        return torch.eye(5)[[WORDS.index(text) for text in texts]]

    def preprocess(self, image: Image.Image) -> torch.Tensor:
        """The first pixel says which image this is."""
        return torch.tensor([image.getpixel((0, 0))[0]])

    def encode_image(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.images_nd[pixels[:, 0].long().numpy()])


def make(folder: Path, features: int, seed: int) -> Index:
    """Feature i responds to meaning i mod 5; the last one is dead."""
    acts = np.random.default_rng(seed).standard_normal((300, features)).astype(np.float32)
    acts += 9 * (MEANING[:, None] == np.arange(features) % 5)
    acts[:, -1] = 0
    return index_activations(acts, [f"{i:03d}" for i in range(300)], folder, layer="acts", model=folder.name, k=12)


@pytest.fixture(scope="module")
def indices(tmp_path_factory: pytest.TempPathFactory) -> tuple[Index, Index]:
    root = tmp_path_factory.mktemp("find")
    return make(root / "a", 11, 0), make(root / "b", 6, 1)


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conceptprobe.search.features.source_of", lambda index, images: None)
    monkeypatch.setattr(
        "conceptprobe.search.features.embed_needed", lambda scorer, source, rows, **_: scorer.images_nd[rows]
    )


def pairs(found: "object") -> list[tuple[int, int]]:
    return [(row.index, row.feature) for row in found.itertuples()]  # type: ignore[attr-defined]


@pytest.mark.parametrize("word", WORDS)
def test_a_text_finds_its_features_in_every_index(indices: tuple[Index, Index], word: str) -> None:
    found = find_features(indices, text=word, scorer=Scorer(), k=100)  # type: ignore[arg-type]
    number = WORDS.index(word)
    assert set(pairs(found)[:3]) == {(0, number), (0, number + 5), (1, number)}
    assert len(found) == 10 + 5  # not the dead ones
    assert found["score"].is_monotonic_decreasing
    assert found["model"].tolist() == [indices[at].manifest.model.spec for at in found["index"]]
    alone = find_features(indices[0], text=word, k=2, scorer=Scorer())  # type: ignore[arg-type]
    assert set(alone["feature"]) == {number, number + 5}


def test_the_score_is_the_formula(indices: tuple[Index, Index]) -> None:
    index, _ = indices
    rows = index.top_rows("acts")[0][:10, :10]
    similar = {row: float(Scorer.images_nd[row] @ np.eye(5)[0]) for row in np.unique(rows).tolist()}
    mean, std = np.mean(list(similar.values())), np.std(list(similar.values()))
    expected = [np.log(np.mean([np.exp(2 * (similar[row] - mean) / std) for row in own])) / 2 for own in rows.tolist()]
    found = find_features(index, text="music", scorer=Scorer(), k=10).sort_values("feature")  # type: ignore[arg-type]
    np.testing.assert_allclose(found["score"], expected, atol=1e-5)


def test_an_image_and_a_feature_find_features(indices: tuple[Index, Index]) -> None:
    scorer = Scorer()
    by_id = find_features(indices, image="003", scorer=scorer, k=3)  # type: ignore[arg-type]
    assert {feature % 5 for _, feature in pairs(by_id)} == {3}
    by_image = find_features(indices, image=Image.new("RGB", (1, 1), (3, 0, 0)), scorer=scorer, k=3)  # type: ignore[arg-type]
    assert pairs(by_image) == pairs(by_id)
    clear, white, grey = (
        pairs(find_features(indices, image=Image.new(*image), scorer=scorer, k=3))  # type: ignore[arg-type]
        for image in (("RGBA", (1, 1), (9, 9, 9, 0)), ("RGB", (1, 1), (255,) * 3), ("RGB", (1, 1), (9, 9, 9)))
    )
    assert clear == white != grey
    by_feature = find_features(indices, feature="acts:4", scorer=scorer, k=2)  # type: ignore[arg-type]
    assert set(pairs(by_feature)) == {(0, 9), (1, 4)}


def test_a_hub_does_not_win_every_query(tmp_path: Path) -> None:
    """A feature of two images of each meaning is no feature's better for any text."""
    acts = np.full((300, 6), -1, np.float32)
    acts[np.arange(300), MEANING] = 1
    acts[:10, 5] = 2
    index = index_activations(acts, [f"{i:03d}" for i in range(300)], tmp_path / "hub", layer="acts", k=12)
    for word in WORDS:
        best = find_features(index, text=word, k=1, scorer=Scorer())  # type: ignore[arg-type]
        assert best["feature"].tolist() == [WORDS.index(word)]


def test_what_cannot_be_found_is_refused(indices: tuple[Index, Index]) -> None:
    scorer = Scorer()
    for given in ({}, {"text": "music", "image": "003"}):
        with pytest.raises(IndexingError, match="one of text, image and feature"):
            find_features(indices, scorer=scorer, **given)  # type: ignore[arg-type]
    with pytest.raises(IndexingError, match="'nope' is not an image"):
        find_features(indices, image="nope", scorer=scorer)  # type: ignore[arg-type]
    with pytest.raises(IndexingError, match="features 0 to 10"):
        find_features(indices, feature="acts:11", scorer=scorer)  # type: ignore[arg-type]
    with pytest.raises(IndexingError, match="acts:10 is dead"):
        find_features(indices, feature="acts:10", scorer=scorer)  # type: ignore[arg-type]
    with pytest.raises(IndexingError, match="no index has a layer 'x'"):
        find_features(indices, text="music", scorer=scorer, layers="x")  # type: ignore[arg-type]
    with pytest.raises(IndexingError, match="at least 1"):
        find_features(indices, text="music", scorer=scorer, k=0)  # type: ignore[arg-type]
    with pytest.raises(IndexingError, match=r"give a scorer.*computed elsewhere"):
        find_features(indices[0], text="music")


@pytest.mark.parametrize("model", ["mini:clip", "mini:supervised"])
def test_the_model_of_the_index_is_the_scorer_where_it_reads(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from conceptprobe.indexing import build_index
    from conceptprobe.models import load_model
    from conceptprobe.search import embeddings

    monkeypatch.undo()
    monkeypatch.setattr(embeddings, "CACHE", tmp_path / "cache")
    whole = load_images("mini:emoji/noto")
    images: ImageSource = whole.subset(range(0, len(whole), 40))
    index = build_index(load_model(model, device="cpu"), images, "blocks.5.mlp.out", tmp_path / "index", workers=0)
    if model == "mini:supervised":
        with pytest.raises(IndexingError, match=r"give a scorer that reads text.*no text tower"):
            find_features(index, text="music", images=images)
    else:
        own = find_features(index, text="cat", k=3, images=images, cache=None)
        scorer = load_model("mini:clip")
        pd.testing.assert_frame_equal(
            own, find_features(index, text="cat", k=3, images=images, cache=None, scorer=scorer)
        )
