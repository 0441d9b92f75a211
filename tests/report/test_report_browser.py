"""The report as a whole, in a browser: every page opens, no link is dead, and nothing in the data can harm it."""

import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from conceptprobe.concepts.comparison.contrast import contrast
from conceptprobe.concepts.scoring.scores import score_features
from conceptprobe.images import load_images
from conceptprobe.report import write_report

pytestmark = pytest.mark.browser

LAYER, FEATURES = "blocks.0.mlp.hidden", 24
SPECS = ("mini:clip", "mini:supervised")
PAGES = ("index", "explorer", "feature", "concept", "compare")
READY = {"explorer": "#grid .card", "feature": "#feature .panel"}
HOSTILE = {
    "skull": "<img src=x onerror=window.hacked=1>",
    "coffin": "</script><script>window.hacked=2</script>",
    "guitar": "\"' onmouseover=window.hacked=3 x='",
    "radio": "\u202eشعار مقلوب\u2028new\nline 🎸",
    "cat": "x" * 10_000,
    "education": "javascript:window.hacked=4",
}
HOSTILE_ID = "../a b/<b>%2e#?&=\n'\"" + "y" * 900


@pytest.fixture(scope="module")
def report(make_index, make_source, tmp_path_factory) -> Path:
    """Two models with scores and a contrast, half of whose features fire on a label."""
    source, rng = make_source(), np.random.default_rng(3)
    acts = [rng.normal(size=(18, FEATURES)) for _ in SPECS]
    for feature in range(0, FEATURES, 2):
        acts[0][3 * (feature // 2 % 6) :, feature][:3] += 6
    indices = [make_index(one, spec=spec, k=9, dead=(5,), source=source) for one, spec in zip(acts, SPECS, strict=True)]
    scores = [score_features(index, k=3, draws=500, visual=None) for index in indices]
    found = contrast(*indices, scores=scores, resamples=2)
    return write_report(tmp_path_factory.mktemp("report") / "out", indices, scores=scores, contrasts=[found]).parent


@pytest.fixture(scope="module")
def hostile_report(make_index, make_source, tmp_path_factory) -> Path:
    tags = {label: (text, "music") for label, text in HOSTILE.items()}
    source = make_source(labels=HOSTILE, tags=tags, captions=HOSTILE, ids={"cat/ink.png": HOSTILE_ID})
    acts = np.random.default_rng(4).normal(size=(18, 30))
    indices = [make_index(acts, spec=spec, source=source, k=5) for spec in ("<b>bold</b>", "y" * 300)]
    scores = [score_features(index, k=3, draws=500, visual=None) for index in indices]
    out = tmp_path_factory.mktemp("hostile") / "out"
    return write_report(out, indices, scores=scores, title="<script>window.hacked=5</script>").parent


@pytest.fixture
def open_page(visit):
    return lambda report, page, fragment="": visit(report / f"{page}.html", fragment, ready=READY.get(page, "main"))


def assert_fits(page: Page) -> None:
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"], f"the page scrolls sideways: {width}"


def assert_harmless(page: Page) -> None:
    page.wait_for_timeout(150)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img[src=x], bdi b, h1 script, a[href^='javascript:' i]").count() == 0
    for width in (390, 1400):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(50)
        assert_fits(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_every_page_opens_and_fits_a_phone_and_a_desk(open_page, report, name, scheme):
    page = open_page(report, name)
    page.emulate_media(color_scheme=scheme)
    expect(page.get_by_role("heading", level=1).first).to_be_attached()
    assert page.locator("nav[aria-label=Pages] a").count() >= 4
    for width in (390, 1600):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(50)
        assert_fits(page)


@pytest.mark.parametrize("name", PAGES)
def test_no_link_is_dead(open_page, report, name):
    page = open_page(report, name)
    page.wait_for_timeout(200)
    addresses = page.eval_on_selector_all("a", "links => links.map(link => link.href)")
    assert len(addresses) > 5
    for address in addresses:
        assert Path(unquote(urlsplit(address).path)).is_file(), address


def test_the_pages_of_the_bar_lead_to_each_other(open_page, report):
    page = open_page(report, "index")
    names = page.locator("nav[aria-label=Pages] a").all_inner_texts()
    for name in names:
        page.locator("nav[aria-label=Pages]").get_by_role("link", name=name, exact=True).click()
        expect(page.locator("nav[aria-label=Pages] a[aria-current=page]")).to_have_text(name)


def test_thumbnails_are_loaded(open_page, report, context):
    loaded = []
    context.on("requestfinished", lambda request: loaded.append(request.url))
    for name in ("explorer", "feature"):
        loaded.clear()
        open_page(report, name).wait_for_load_state("load")
        open_page(report, name).wait_for_timeout(100)
        assert any(url.endswith(".webp") for url in loaded)


@pytest.mark.parametrize("name", ["index", "explorer", "feature", "concept"])
def test_hostile_texts_do_nothing(open_page, hostile_report, name):
    assert_harmless(open_page(hostile_report, name))


def test_hostile_texts_are_shown_as_they_are(open_page, hostile_report):
    page = open_page(hostile_report, "explorer")
    heights = page.locator("#grid .card").evaluate_all("cards => cards.map(card => card.offsetHeight)")
    assert len(set(heights)) == 1
    assert heights[0] < 450
    page.locator("#q").fill(HOSTILE["skull"])
    titles = set(page.locator(".card-title").all_inner_texts())
    assert HOSTILE["skull"] in titles
    page.get_by_label("Tag", exact=True).fill(HOSTILE["skull"])
    page.get_by_label("Tag", exact=True).press("Tab")
    assert_harmless(page)
    page.set_viewport_size({"width": 1400, "height": 900})
    page.locator("#grid").get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Notes").click()
    page.get_by_role("dialog").locator("textarea").fill("<img src=x onerror=window.hacked=7>")
    page.get_by_role("button", name="Close").click()
    assert_harmless(page)


def test_hostile_texts_of_a_feature_are_shown_as_they_are(open_page, hostile_report):
    page = open_page(hostile_report, "feature")
    assert page.locator("bdi").evaluate_all("all => all.every(one => one.childElementCount === 0)")
    for picture in page.locator(".panel .picture").all()[:16]:
        picture.focus()
        box = page.locator(".preview").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 1400
        assert box["height"] < 500
    assert_harmless(page)


@pytest.mark.parametrize(
    "fragment",
    [
        "#%",
        "#<img src=x onerror=window.hacked=8>",
        "#q=%E0%A4%A&sort=nothing&at=-5&qmax=x&model=none",
        "#javascript:window.hacked=9",
    ],
)
@pytest.mark.parametrize("name", ["explorer", "feature"])
def test_a_hostile_address_does_nothing(visit, report, name, fragment):
    assert_harmless(visit(report / f"{name}.html", fragment))


def test_without_labels_scores_and_vectors_images_are_plain(open_page, make_index, tmp_path):
    index = make_index(
        np.random.default_rng(5).normal(size=(18, 6)), k=12, vectors=False, drop=("label", "tags", "style")
    )
    report = write_report(tmp_path / "out", [index]).parent
    page = open_page(report, "explorer")
    assert page.locator("#grid .card").count() == 6
    assert page.locator("#sort option[value=q]").count() == 0
    assert page.locator("#sort").input_value() == "max"
    page.locator("#q").fill("radio/wax")  # of an id, for there is nothing else
    expect(page.locator("#shown")).not_to_have_text("6 features")
    page = open_page(report, "feature")
    assert page.locator(".badge").count() == 0
    assert page.get_by_text("By label").is_hidden()
    assert "/" in page.locator(".picture").first.get_attribute("aria-label")
    assert page.get_by_role("heading", name="Concepts").count() == 0


def test_a_feature_without_an_image_has_a_card_and_a_page(open_page, make_index, tmp_path, read_data):
    acts = np.random.default_rng(0).normal(size=(18, 3))
    acts[:, 1] = np.nan
    report = write_report(tmp_path / "out", [make_index(acts, k=6)]).parent
    key = read_data(report, "report")["models"][0]["key"]
    page = open_page(report, "explorer", "#sort=number")
    card = page.locator("#grid .card").nth(1)
    expect(card.locator(".card-images")).to_have_attribute("aria-label", "No image")
    page = open_page(report, "feature", f"#{key}/{LAYER}:1")
    expect(page.get_by_text("No image has a finite activation.")).to_be_visible()


def test_missing_images_show_the_placeholder(open_page, make_index, make_source, tmp_path, image_folder):
    broken = tmp_path / "squares"
    shutil.copytree(image_folder, broken)
    index = make_index(np.random.default_rng(6).normal(size=(18, 6)), source=load_images(f"folder:{broken}"))
    shutil.rmtree(broken)
    report = write_report(tmp_path / "out", [index]).parent
    tile = open_page(report, "explorer").locator(".tile").first
    assert "missing.svg" in tile.evaluate("tile => getComputedStyle(tile).backgroundImage")
    tile = open_page(report, "feature").locator(".tile").first
    assert "missing.svg" in tile.evaluate("tile => getComputedStyle(tile).backgroundImage")
