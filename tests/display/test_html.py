"""Results as HTML for notebooks."""

import base64
import io
import pickle
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conceptprobe.concepts.comparison.contrast import Contrast
from conceptprobe.concepts.scoring.scores import FeatureScores
from conceptprobe.indexing import TopImages
from conceptprobe.indexing.top_images import MOST_SHOWN as MOST_IMAGES
from conceptprobe.visualization.results.record import Natural, VisualizationRecord
from conceptprobe.visualization.results.visualizations import MOST_SHOWN as MOST_VISUALIZATIONS
from conceptprobe.visualization.results.visualizations import Visualizations

LAYER = "blocks.0.mlp.hidden"
HOSTILE = "<script>window.hacked=1</script>\"'&\n<img src=x onerror=alert(1)>" + "x" * 10_000
SAFE_TAGS = {
    "b", "bdi", "br", "details", "div", "figcaption", "figure", "img", "p", "span", "summary", "table", "tbody", "td",
    "th", "thead", "tr",
}  # fmt: skip


class Reader(HTMLParser):
    """Tags with their attributes, and texts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read(html: str) -> Reader:
    """The parsed HTML, of which every tag and attribute is one that a result needs."""
    reader = Reader(html)
    assert {tag for tag, _ in reader.tags} <= SAFE_TAGS
    for _, attributes in reader.tags:
        assert set(attributes) <= {"alt", "aria-label", "role", "scope", "src", "style"}
        assert (attributes.get("src") or "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
    return reader


def picture(attributes: dict[str, str | None]) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode((attributes["src"] or "").partition(",")[2])))


def test_top_images_show_the_images_in_their_order(make_index: Callable[..., Any]) -> None:
    acts = np.random.default_rng(0).normal(size=(18, 3))
    index = make_index(acts)
    top = index.top(f"{LAYER}:1", 5)
    reader = read(top._repr_html_())
    images = reader.of("img")
    assert [image["alt"] for image in images] == list(top.ids)
    for image, id_ in zip(images, top.ids, strict=True):
        label, _, style = id_.partition("/")
        kinds = ("skull", "coffin", "guitar", "radio", "cat", "education")
        expected = (40 * kinds.index(label), 80 * ("ink.png", "oil.png", "wax.png").index(style), 120)
        pixel = picture(image).convert("RGB").getpixel((10, 10))
        np.testing.assert_allclose(pixel, expected, atol=6)
    for value in top.values:
        assert f"{value:.4g}" in reader.texts


def test_where_a_list_is_from_does_not_make_it_another_list(make_index: Callable[..., Any]) -> None:
    index = make_index(np.random.default_rng(0).normal(size=(18, 3)), bottom=2)
    values = np.array([2.0, 1.0], np.float32)
    assert TopImages(("a", "b"), values, origin=index.path) == TopImages(("a", "b"), values)
    assert "origin" not in repr(index.top(f"{LAYER}:1"))
    assert pickle.loads(pickle.dumps(index.top(f"{LAYER}:1"))).origin == index.path
    similar = index.similar_images(index.images["id"][0])
    for found in (index.bottom(f"{LAYER}:1"), *index.strip(f"{LAYER}:1"), index.search(LAYER, np.ones(3)), similar):
        assert found.origin == index.path


def test_images_that_are_gone_leave_their_ids(make_index: Callable[..., Any], tmp_path: Path) -> None:
    index = make_index(np.random.default_rng(0).normal(size=(18, 3)), ids={"cat/ink.png": HOSTILE})
    lone = TopImages((HOSTILE, "b"), np.array([2.5, np.nan], np.float32))
    for top in (lone, TopImages(lone.ids, lone.values, origin=tmp_path / "nothing"),
                TopImages(lone.ids, lone.values, np.array([3, 4], np.int32), index.path)):  # fmt: skip
        reader = read(top._repr_html_())
        assert "Some images cannot be shown." in " ".join(reader.texts)
        assert any(text.startswith("<script>window.hacked=1</script>") and len(text) <= 200 for text in reader.texts)
    assert "2.5, patch 3" in reader.texts
    assert len(reader.of("img")) == 1


def test_long_lists_are_cut_and_empty_ones_say_so() -> None:
    long = TopImages(tuple(f"image {i}" for i in range(100)), np.arange(100, dtype=np.float32)[::-1])
    text = " ".join(read(long._repr_html_()).texts)
    assert f"{100 - MOST_IMAGES} more are not shown" in text
    assert f"image {MOST_IMAGES - 1}" in text
    assert f"image {MOST_IMAGES}" not in text.split("more are not shown")[0].split()
    assert "0 images, best first" in " ".join(read(TopImages((), np.zeros(0, np.float32))._repr_html_()).texts)


def test_scores_show_the_counts_of_their_summary(world: Any) -> None:
    scores = world.scores[0]
    reader = read(scores._repr_html_())
    for row in scores.summary().itertuples():
        assert f"{row.count:,} ({100 * row.share:.1f} %)" in reader.texts
    best = scores.frame[scores.frame["verdict"] == "conceptual"].nlargest(1, "llr").iloc[0]
    assert f"{best['layer']}:{best['feature']}" in reader.texts
    assert f"{best['llr']:.3g}" in reader.texts


def test_scores_with_hostile_names_stay_text(world: Any) -> None:
    scores = world.scores[0]
    frame = scores.frame.assign(concept=HOSTILE, layer="<b>layer</b>")
    reader = read(FeatureScores(frame, scores.curve, {**scores.settings, "model": HOSTILE})._repr_html_())
    assert any(text.startswith("<script>window.hacked=1</script>") for text in reader.texts)
    assert max(len(text) for text in reader.texts) <= 300
    assert "<b>layer</b>" in reader.texts


def test_a_contrast_shows_its_words_and_every_difference(world: Any) -> None:
    own = world.contrast
    reader = read(own._repr_html_())
    for line in own.text().splitlines():
        assert line in reader.texts or not line
    rows = re.findall(r"<tr><td>", own._repr_html_())
    assert len(rows) == len(own.frame)
    row = own.frame.iloc[0]
    assert f"{100 * row['difference']:.3g}" in reader.texts
    named = Contrast(
        own.frame.assign(layer=HOSTILE), own.models, own.concepts.assign(concept=HOSTILE), own.matches,
        {**own.settings, "models": [HOSTILE, "<i>b</i>"]}, (HOSTILE,),
    )  # fmt: skip
    assert "</script>" in " ".join(read(named._repr_html_()).texts)


def record(target: str, natural: Natural | None = None) -> VisualizationRecord:
    return VisualizationRecord(
        target, LAYER, 3, "mean", 0, 0, 0, {"name": "fourier"}, 4, 1, (20, 20),
        {"spec": "mini:clip", "fingerprint": "f"}, 1.25, natural, (0.5, 1.25), None, {},
    )  # fmt: skip


def test_visualizations_show_their_images_and_numbers() -> None:
    images = np.random.default_rng(0).integers(0, 255, (2, 20, 20, 3)).astype(np.uint8)
    images[0] = (200, 30, 90)
    natural = Natural("i", 1000, 1.0, 0.9995, "vectors", 9.0, 1, 768)
    reader = read(Visualizations(images, (record(HOSTILE), record(f"{LAYER}:3", natural)))._repr_html_())
    shown = reader.of("img")
    assert len(shown) == 2
    np.testing.assert_allclose(picture(shown[0]).getpixel((5, 5)), (200, 30, 90), atol=6)
    assert "activation 1.25" in reader.texts
    assert "above all 1,000, rank 1 of 768" in reader.texts


def test_many_visualizations_are_cut() -> None:
    images = np.zeros((MOST_VISUALIZATIONS + 3, 8, 8, 3), np.uint8)
    reader = read(Visualizations(images, tuple(record(f"{LAYER}:{i}") for i in range(len(images))))._repr_html_())
    assert len(reader.of("img")) == MOST_VISUALIZATIONS
    assert "3 more images are not shown" in reader.texts


@pytest.mark.parametrize("spec", ["folder:/nowhere/at/all", "dataset:mine"])
def test_a_source_that_is_gone_is_said(make_index: Callable[..., Any], spec: str) -> None:
    index = make_index(np.random.default_rng(1).normal(size=(18, 3)))
    manifest = index.path / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(text.replace(index.manifest.source.spec, spec).replace(
        index.manifest.source.fingerprint, "0" * 64))  # fmt: skip
    reader = read(index.top(f"{LAYER}:0", 3)._repr_html_())
    assert reader.of("img") == []
    assert spec in " ".join(reader.texts)
