import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, mannwhitneyu

from conceptprobe.concepts.errors import ConceptError
from conceptprobe.concepts.naming.held_out import Ranks, restrict, split_images
from conceptprobe.concepts.naming.names import FeatureNames, label_features, load_names
from conceptprobe.concepts.naming.soft_wpmi import best_words, soft_wpmi
from conceptprobe.concepts.naming.vocabulary import read_words
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.errors import OutputError
from conceptprobe.indexing import Index, IndexingError, index_activations
from conceptprobe.models import ModelError, VisionModel, load_model

# soft-WPMI


def slow_soft_wpmi(images_nd: np.ndarray, words_md: np.ndarray, lists: list[list[int]]) -> np.ndarray:
    """The formula of CLIP-Dissect, one number at a time in float64."""
    cosines = images_nd.astype(np.float64) @ words_md.astype(np.float64).T
    likelihood = np.zeros((len(lists), len(words_md)))
    for f, images in enumerate(lists):
        for c in range(len(words_md)):
            for rank, image in enumerate(images):
                p_word = np.exp(10 * cosines[image, c]) / np.exp(10 * cosines[image]).sum()
                p_member = 0.998 - rank / len(images) * (0.998 - 0.97)
                likelihood[f, c] += np.log(1 + p_member * (p_word - 1) + 1e-7)
    return likelihood - np.log(np.exp(likelihood - likelihood.max(0)).mean(0)) - likelihood.max(0)


def embeddings(rng: np.random.Generator, n: int, d: int = 12) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.tensor(rng.standard_normal((n, d)), dtype=torch.float32), dim=1)


@pytest.mark.slow
@pytest.mark.parametrize("cells", [2**24, 150])  # 150: images and words come in many parts
def test_soft_wpmi_is_the_formula(cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conceptprobe.concepts.naming.soft_wpmi.CELLS", cells)
    rng = np.random.default_rng(0)
    images, words = embeddings(rng, 140), embeddings(rng, 37)
    lists = [rng.permutation(140)[:length].tolist() for length in (100, 100, 50, 3, 1)]
    padded = torch.tensor([chosen + [-1] * (100 - len(chosen)) for chosen in lists])
    parts = list(soft_wpmi(images, words, padded))
    scores = torch.cat([scores for _, scores in parts], 1)
    assert [at for batch, _ in parts for at in range(batch.start, batch.stop)] == list(range(37))
    expected = slow_soft_wpmi(images.numpy(), words.numpy(), lists)
    np.testing.assert_allclose(scores.numpy(), expected, rtol=0, atol=1e-6)
    best, which = best_words(images, words, padded, 5)
    np.testing.assert_array_equal(which.numpy(), np.argsort(-expected, 1, kind="stable")[:, :5])
    np.testing.assert_allclose(best.numpy(), -np.sort(-expected, 1)[:, :5], atol=1e-6)


def test_the_smallest_product_of_a_full_list_does_not_underflow() -> None:
    words = embeddings(np.random.default_rng(0), 20_000, 2)
    lists = torch.zeros(2, 100, dtype=torch.int64)
    lists[1] = 1
    ((_, scores), *_) = soft_wpmi(embeddings(np.random.default_rng(1), 2, 2), words, lists)
    assert torch.isfinite(scores).all()


# halves and the test on the held-out one


def test_halves_follow_from_the_contents_alone() -> None:
    contents = np.array([f"image {i}" for i in range(4000)], object)
    halves = split_images(contents, 0, 10_000)
    assert len(halves.tests) == (~halves.chooses_n).sum()
    assert abs(halves.chooses_n.mean() - 0.5) < 4 * 0.5 / np.sqrt(4000)
    order = np.random.default_rng(0).permutation(4000)
    np.testing.assert_array_equal(split_images(contents[order], 0, 10_000).chooses_n, halves.chooses_n[order])
    few = split_images(contents, 0, 100).tests
    assert len(few) == 100
    assert set(few) <= set(halves.tests)
    assert (split_images(contents, 1, 10_000).chooses_n != halves.chooses_n).mean() > 0.4
    copies = split_images(np.repeat(contents, 2), 0, 10_000).chooses_n
    np.testing.assert_array_equal(copies[::2], copies[1::2])  # equal images never tell on each other


def test_restrict_keeps_the_order() -> None:
    rows = np.array([[4, 1, 3, 0], [2, 0, -1, -1], [1, 3, -1, -1]])
    keep = np.array([True, False, True, False, True])
    np.testing.assert_array_equal(restrict(rows, keep), [[4, 0, -1, -1], [2, 0, -1, -1], [-1, -1, -1, -1]])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=4, max_size=30), st.data())
def test_separation_is_the_mann_whitney_test(values: list[int], data: st.DataObject) -> None:
    chosen = data.draw(
        st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=len(values) - 1, unique=True).map(np.array)
    )
    acts = np.array(values, np.float32)
    result = Ranks(np.stack([np.zeros_like(acts), acts], 1)).separate(1, chosen)
    others = np.delete(acts, chosen)
    wins = (acts[chosen][:, None] > others).sum() + 0.5 * (acts[chosen][:, None] == others).sum()
    assert result.auc == pytest.approx(wins / (len(chosen) * len(others)), abs=1e-12)
    if len(set(values)) > 1:
        theirs = mannwhitneyu(
            acts[chosen].astype(float), others.astype(float), alternative="greater", method="asymptotic"
        )
        assert result.p == pytest.approx(theirs.pvalue, abs=1e-12)
    else:
        assert result.p == 0.5


# names of an index: a world of 10 words, 150 images of each, in a scorer's space where each word has an axis

WORDS = ("cat", "flag", "food", "clock", "music", "heart", "moon", "tree", "car", "bird")
MEANING = np.repeat(np.arange(len(WORDS)), 150)
IDS = [f"{number:04d}" for number in range(len(MEANING))]


class Scorer:
    """Stands in for a model: word number i is the i-th axis, and an image is its word's axis and noise."""

    spec, fingerprint, device = "test:scorer", "0", torch.device("cpu")
    images_nd = torch.nn.functional.normalize(
        torch.eye(10)[MEANING] + 0.2 * torch.randn(1500, 10, generator=torch.Generator().manual_seed(0)), dim=1
    ).numpy()

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        return torch.eye(10)[[WORDS.index(text) for text in texts]]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("conceptprobe.concepts.naming.names.source_of", lambda index, images: None)
    monkeypatch.setattr(
        "conceptprobe.concepts.naming.names.embed_needed", lambda scorer, source, rows, **_: scorer.images_nd[rows]
    )


def activations() -> np.ndarray:
    """Features 0 to 9 respond to a word each, 10 to 49 are noise, 50 is dead."""
    acts = np.random.default_rng(0).standard_normal((len(IDS), 51)).astype(np.float32)
    acts[np.arange(len(IDS)), MEANING] += 5
    acts[:, 50] = 0
    return acts


def make_index(folder: Path, acts: np.ndarray, **settings: object) -> Index:
    return index_activations(acts, IDS[: len(acts)], folder / "index", layer="acts", **settings)  # type: ignore[arg-type]


def label(index: Index, words: Sequence[str] = WORDS, **options: object) -> FeatureNames:
    return label_features(index, words, Scorer(), **options)  # type: ignore[arg-type]


def meanings(words: Sequence[str] = WORDS) -> ConceptSet:
    return ConceptSet.from_sets(
        {word: [IDS[row] for row in np.flatnonzero(WORDS.index(word) == MEANING)] for word in words}, IDS
    )


def best_of(names: FeatureNames, source: str = "words") -> pd.DataFrame:
    frame = names.frame
    return frame[(frame["rank"] == 1) & (frame["source"] == source)].set_index("feature")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Index:
    return make_index(tmp_path_factory.mktemp("planted"), activations())


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("known", [WORDS, WORDS[:3]])
def test_planted_words_are_named_and_noise_is_not(planted: Index, known: Sequence[str]) -> None:
    names = label(planted, concepts=meanings(known))
    words, concepts = best_of(names), best_of(names, "concepts")
    assert words.loc[range(10), "word"].tolist() == list(WORDS)
    assert words.loc[range(10), "tested_on"].tolist() == [
        "labels" if word in known else "scorer" for word in WORDS
    ]  # a word without images of its own is tested on those that the scorer finds
    assert (words.loc[range(len(known), 10), "images"] == 20).all()
    assert concepts.loc[range(len(known)), "word"].tolist() == list(known)
    for result in (words.loc[range(10)], concepts.loc[range(len(known))]):
        assert not result["abstained"].any()
        labelled = result["tested_on"] == "labels"
        assert (result.loc[labelled, "auc"] > 0.99).all()
        assert (result.loc[~labelled, "auc"] > 0.94).all()  # other images of the word are among the rest
    assert words.loc[range(10, 50), "abstained"].mean() >= 0.95
    assert words.loc[50, "reason"] == "dead"
    assert words.loc[50, "abstained"]
    table = names.table()
    assert table["feature"].tolist() == list(range(51))
    assert table.loc[1, ["word", "concept"]].tolist() == ["flag", "flag"]
    assert table.loc[50, "word"] is None


@pytest.mark.usefixtures("world")
def test_a_name_is_tested_as_it_says(planted: Index) -> None:
    """AUC and p of a word with images of its own, again by scipy; q again from all p of the rank."""
    names = label(planted, concepts=meanings())
    tests = split_images(np.array(IDS, object), 0, 2**15).tests
    row = best_of(names).loc[12]
    named = MEANING[tests] == WORDS.index(row["word"])
    acts = activations()[tests, 12].astype(np.float64)
    theirs = mannwhitneyu(acts[named], acts[~named], alternative="greater", method="asymptotic")
    assert row["images"] == named.sum()
    assert row["auc"] == pytest.approx(theirs.statistic / (named.sum() * (~named).sum()))
    assert row["p"] == pytest.approx(theirs.pvalue)
    ranks = best_of(names).loc[range(50)]
    np.testing.assert_allclose(ranks["q"], false_discovery_control(ranks["p"]))
    assert (ranks["abstained"] == (ranks["q"] > 0.05)).all()


@pytest.mark.usefixtures("world")
def test_the_half_that_tests_chooses_nothing(tmp_path: Path) -> None:
    """Features that respond to their word on the choosing images only, and to another word on those that test."""
    chooses = split_images(np.array(IDS, object), 0, 2**15).chooses_n
    acts = np.random.default_rng(1).standard_normal((len(IDS), 10)).astype(np.float32)
    acts[np.arange(len(IDS)), np.where(chooses, MEANING, (MEANING + 1) % 10)] += 5
    words = best_of(label(make_index(tmp_path, acts), concepts=meanings()))
    assert words["word"].tolist() == list(WORDS)
    assert (words["auc"] < 0.6).all()
    assert words["abstained"].all()


@pytest.mark.slow
@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("concepts", [meanings(), None])
def test_permuted_images_leave_no_names(tmp_path: Path, concepts: ConceptSet | None) -> None:
    abstained = []
    for seed in range(10):
        acts = activations()[np.random.default_rng(seed).permutation(len(IDS)), :10]
        index = make_index(tmp_path / str(seed), acts)
        names = label(index, concepts=concepts)
        abstained.append(names.frame.loc[names.frame["rank"] == 1, "abstained"].mean())
    assert np.mean(abstained) >= 0.95


@pytest.fixture
def names(planted: Index, world: None) -> FeatureNames:
    return label(planted)


@pytest.fixture(scope="module")
def clip() -> VisionModel:
    return load_model("mini:clip", device="cpu")


def test_saved_names_come_back_and_bytes_repeat(names: FeatureNames, tmp_path: Path) -> None:
    names.save(tmp_path / "a")
    names.save(tmp_path / "b")
    for name in ("names.parquet", "names.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    again = load_names(tmp_path / "a")
    assert again.settings == json.loads(json.dumps(names.settings))
    assert repr(again) == repr(names)
    with pytest.raises(OutputError, match=r"holds no names\.json"):
        load_names(tmp_path)


def test_words_that_the_scorer_cannot_read_are_set_apart(clip: VisionModel) -> None:
    result = read_words(clip, ["cat", "zyzzyva", "flag", "Cat"])
    assert (result.words, result.unread) == (("cat", "flag"), ("zyzzyva",))
    with torch.inference_mode():
        torch.testing.assert_close(result.vectors_md, clip.encode_text(["cat", "flag"]).float())
    with pytest.raises(ConceptError, match="can read 0 of 2 words"):
        read_words(clip, ["zyzzyva", "xylyl"])


def test_templates_are_averaged(clip: VisionModel) -> None:
    result = read_words(clip, ["cat", "flag"], ["{}", "red {}"])
    with torch.inference_mode():
        mean = clip.encode_text(["cat", "flag"]) + clip.encode_text(["red cat", "red flag"])
    torch.testing.assert_close(result.vectors_md, torch.nn.functional.normalize(mean, dim=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 3}, "k is 3: input should be greater than or equal to 8"),
        ({"k": 1000}, "k is 1000: input should be less than or equal to 100"),
        ({"q": 0}, "q is 0"),
        ({"templates": "a {}"}, "templates is 'a {}': input should be a valid tuple"),
        ({"templates": ()}, "templates is .*at least 1 item"),
        ({"templates": ["a"]}, "give sentences"),
        ({"words": "no/such/list"}, "there is no word list"),
        ({"concepts": ConceptSet.from_sets({"x": ["a", "b"]}, ["a", "b", "c"])}, "the concepts are over 3 images"),
    ],
)
def test_settings_are_checked_first(planted: Index, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConceptError, match=message):
        label(planted, **options)  # type: ignore[arg-type]


@pytest.mark.usefixtures("world")
def test_what_cannot_be_named_is_refused(planted: Index, tmp_path: Path) -> None:
    with pytest.raises(IndexingError, match="no layer"):
        label(planted, layers="nope")
    with pytest.raises(ConceptError, match="keeps no vectors"):
        label(make_index(tmp_path / "bare", activations(), vectors=False))
    with pytest.raises(ConceptError, match="30 images: too few"):
        label(make_index(tmp_path / "small", activations()[:30], k=30))
    with pytest.raises(ModelError, match="no text tower"):
        label_features(planted, WORDS, load_model("mini:supervised", device="cpu"))


@pytest.mark.usefixtures("world")
def test_a_k_that_the_index_does_not_allow_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConceptError, match=r"k is 50, but .* keeps lists of 20"):
        label(make_index(tmp_path / "short", activations(), k=20), k=50)
    with pytest.raises(ConceptError, match="keeps lists of 5, but names need at least 8 top images"):
        label(make_index(tmp_path / "shorter", activations(), k=5))


@pytest.mark.usefixtures("world")
def test_the_summary_counts_the_names_of_rank_1(planted: Index) -> None:
    names = label(planted, concepts=meanings())
    summary = names.summary().set_index("source")
    words = best_of(names).loc[range(50)]
    assert summary.loc["words", ["layer", "count", "of"]].tolist() == ["acts", (~words["abstained"]).sum(), 50]
    assert summary.loc["words", "median_auc"] == words["auc"].median()
    assert summary.loc["words", "low"] < summary.loc["words", "share"] < summary.loc["words", "high"]
    assert f"acts, by words: {summary.loc['words', 'count']} of 50 tested features are named" in names.text()
    assert "acts:1  flag (1.00) | flag (1.00)" in names.text().splitlines()
    page = names._repr_html_()
    assert f"<td>{summary.loc['words', 'count']} of 50</td>" in page
    assert [axes.get_title() for axes in names.figure().axes] == ["words", "concepts"]
