"""The report in a real browser: from file://, without a network, failing on any console error or failed request."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from conceptprobe.report import write_report

pytestmark = pytest.mark.browser

FEATURES, K, DEAD = 60, 4, (5, 59)
CHUNK = 16  # cards that are made at once
LAYERS = ("blocks.0.mlp.hidden", "blocks.1.mlp.hidden")
HOSTILE = {
    "skull": "<img src=x onerror=window.hacked=1>",
    "coffin": "</script><script>window.hacked=2</script>",
    "guitar": "\"' onmouseover=window.hacked=3 x='",
    "radio": "\u202eشعار مقلوب\u2028new\nline",
    "cat": "x" * 10_000,
    "education": "javascript:window.hacked=4",
}


@pytest.fixture(scope="module")
def indices(make_index):
    rng = np.random.default_rng(3)
    return [
        make_index(rng.normal(size=(18, FEATURES)), spec=spec, layers=LAYERS, k=K, dead=DEAD)
        for spec in ("mini:clip", "mini:supervised")
    ]


@pytest.fixture(scope="module")
def report(indices, tmp_path_factory) -> Path:
    return write_report(tmp_path_factory.mktemp("report") / "out", indices)


@pytest.fixture(scope="module")
def hostile_report(make_index, tmp_path_factory) -> Path:
    shared = list(HOSTILE.values())
    tags = dict(zip(HOSTILE, (shared[:1], shared[:1], shared[1:2], shared[1:2], shared[4:5], shared[4:5]), strict=True))
    acts = np.random.default_rng(4).normal(size=(18, 30))
    indices = [make_index(acts, spec=spec, k=5, labels=HOSTILE, tags=tags) for spec in ("<b>bold</b>", "y" * 300)]
    return write_report(tmp_path_factory.mktemp("hostile") / "out", indices, title="<script>window.hacked=5</script>")


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(offline=True, viewport={"width": 1400, "height": 900}) as context:
        yield context


@pytest.fixture
def visit(context: BrowserContext) -> Iterator[Callable[..., Page]]:
    """Open a page; at the end of the test nothing may have gone wrong on any."""
    wrong: list[str] = []

    def request_made(request):
        if not request.url.startswith("file:"):
            wrong.append(f"request to {request.url}")

    def open_page(path: Path, fragment: str = "", cards: bool = True) -> Page:
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
        page.on("request", request_made)
        page.on("dialog", lambda dialog: wrong.append(f"dialog: {dialog.message}"))
        page.goto(path.as_uri() + fragment)
        if cards:
            page.wait_for_selector(".card")
        return page

    yield open_page
    assert wrong == []


def layer_page(report: Path, number: int = 0) -> Path:
    return report.parent / "layers" / f"{number:03d}-{LAYERS[number]}.html"


def features(page: Page, column: int = 0) -> list[int]:
    cards = page.locator(".column").nth(column).locator(".card")
    return [int(number) for number in cards.evaluate_all("cards => cards.map(card => card.dataset.feature)")]


def expected(index, keep, order=lambda feature: feature) -> list[int]:
    """Live features whose top image ids satisfy `keep`, in order."""
    rows, _ = index.top_rows(LAYERS[0])
    ids = index.images["id"].to_numpy()
    return sorted((f for f in range(FEATURES) if f not in DEAD and keep(ids[rows[f]])), key=order)


def assert_fits(page: Page) -> None:
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= page.viewport_size["width"], f"the page scrolls sideways: {width}"


def test_pages_open_and_load_their_sheets(visit, report, context):
    loaded = []
    context.on("requestfinished", lambda request: loaded.append(request.url))
    for path in (report, layer_page(report)):
        loaded.clear()
        page = visit(path)
        page.wait_for_load_state("load")
        page.wait_for_timeout(100)
        assert any(url.endswith(".webp") for url in loaded)
        assert_fits(page)


def test_no_link_is_dead(visit, report):
    for path in (report, layer_page(report), layer_page(report, 1)):
        addresses = visit(path).eval_on_selector_all("a", "links => links.map(link => link.href)")
        assert len(addresses) > 5
        for address in addresses:
            assert Path(unquote(urlsplit(address).path)).is_file(), address


def test_cards_are_made_as_they_come_near(visit, report):
    page = visit(layer_page(report))
    assert len(features(page)) < FEATURES - len(DEAD)
    for _ in range(20):
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(30)
    assert features(page) == features(page, 1) == [f for f in range(FEATURES) if f not in DEAD]


def test_filter_finds_labels_and_tags_at_the_beginning_of_words_in_both_columns(visit, report, indices):
    page = visit(layer_page(report))
    box = page.get_by_label("Filter")
    for text, labels in {
        "skull": {"skull"},
        "MUSIC": {"guitar", "radio"},
        "cat": {"cat"},
        "death fac": {"skull"},
    }.items():
        box.fill(text)
        for column, index in enumerate(indices):
            found = expected(index, lambda ids, labels=labels: any(id_.split("/")[0] in labels for id_ in ids))
            assert 0 < len(found) < FEATURES
            head = page.locator(".column").nth(column).locator(".shown")
            expect(head).to_have_text(f"{len(found)} of 58 features")
            assert features(page, column)[:CHUNK] == found[:CHUNK]
    box.fill(":7")
    assert features(page) == features(page, 1) == [7]
    box.fill(":5")
    expect(page.locator(".empty").first).to_have_text("Feature 5 is dead.")
    box.fill("zebra")
    assert features(page) == []
    box.fill("")
    assert features(page)[:3] == [0, 1, 2]


def test_sort_orders_every_column_by_itself(visit, report, indices):
    page = visit(layer_page(report))
    for column, index in enumerate(indices):
        rows, _ = index.top_rows(LAYERS[0])
        label = index.images["label"].to_numpy()
        count = {f: len(set(label[rows[f]])) for f in range(FEATURES)}
        top = index.stats(LAYERS[0])["max"]
        for sort, order in {
            "max": lambda f, top=top: -top[f],
            "few": lambda f, count=count, top=top: (count[f], -top[f]),
            "many": lambda f, count=count, top=top: (-count[f], -top[f]),
            "number": lambda f: f,
        }.items():
            page.get_by_label("Sort").select_option(sort)
            assert features(page, column)[:CHUNK] == expected(index, lambda ids: True, order)[:CHUNK]
    page.get_by_label("Sort").select_option("tag")
    bits = "conceptprobe.layer.columns[0].features.map(f => [f.feature, f.tags.length ? f.tags[0][4] : 0])"
    strength = dict(page.evaluate(bits))
    shown = [strength[f] for f in features(page)]
    assert shown == sorted(shown, reverse=True)
    assert shown[0] == max(strength.values()) > 0


def test_the_address_restores_the_view(visit, report):
    page = visit(layer_page(report))
    page.get_by_label("Sort").select_option("max")
    page.get_by_label("Filter").fill("music & <b>")
    page.get_by_label("Filter").fill("music")
    again = visit(layer_page(report), page.evaluate("location.hash"))  # page.url may lag behind
    assert again.get_by_label("Filter").input_value() == "music"
    assert again.get_by_label("Sort").input_value() == "max"
    assert features(again) == features(page)
    assert features(again, 1) == features(page, 1)
    again.locator(".layers a").nth(1).click()
    expect(again.get_by_role("heading", level=1)).to_have_text(LAYERS[1])
    assert again.get_by_label("Filter").input_value() == "music"


def test_a_tag_filters_by_itself(visit, report):
    page = visit(layer_page(report), "#sort=tag")
    tag = page.locator(".tag").first
    name = tag.locator(".tag-name").inner_text()
    tag.click()
    assert page.get_by_label("Filter").input_value() == name
    assert page.locator(".match").count() > 0


def test_a_permalink_shows_its_feature(visit, report):
    page = visit(layer_page(report), "#model=mini%3Asupervised&feature=57")
    card = page.locator(".column").nth(1).locator(".card.linked")
    expect(card).to_be_in_viewport()
    expect(card.locator(".feature-id")).to_have_text(f"{LAYERS[0]}:57")
    assert page.locator(".linked").count() == 1
    page.goto(page.evaluate("location.href").replace("57", "59"))
    expect(page.locator(".column").nth(1).locator(".dead .numbers")).to_be_visible()


def test_dead_features_are_folded_away_at_the_end(visit, report):
    page = visit(layer_page(report), "#filter=music")
    column = page.locator(".column").first
    expect(column.locator(".dead")).to_be_hidden()
    column.get_by_role("link", name="2 dead").click()
    assert column.locator(".numbers").inner_text().split() == [":5", ":59"]
    expect(column.locator(".numbers")).to_be_in_viewport()
    assert page.get_by_label("Filter").input_value() == ""


def test_the_overview_leads_to_a_feature(visit, report):
    page = visit(report)
    link = page.locator(".examples .feature-id").first
    name = link.inner_text()
    link.click()
    expect(page.locator(".card.linked .feature-id")).to_have_text(name)


def test_focus_fans_a_stack_out(visit, report, indices):
    page = visit(layer_page(report))
    stack = page.locator(".stack:has(.badge)").first
    stack.focus()
    fan = page.locator(".fan")
    expect(fan).to_be_visible()
    words = stack.get_attribute("aria-label")
    assert fan.locator(".fan-name").inner_text() == words.split(":")[0]
    assert fan.locator(".fan-tile").count() == int(stack.locator(".badge").inner_text()) >= 2
    assert fan.locator("figcaption").first.inner_text().split()[::-1] == words.split(": ")[1].split(", ")[0].split()
    page.locator(".column").first.locator(".card").nth(14).locator(".stack").first.focus()
    expect(fan).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(fan).to_be_hidden()


def test_hostile_texts_do_nothing(visit, hostile_report):
    layer = hostile_report.parent / "layers" / "000-blocks.0.mlp.hidden.html"
    for path in (hostile_report, layer):
        page = visit(path)
        page.wait_for_timeout(200)
        assert page.evaluate("window.hacked") is None
        assert page.locator("img[src=x], bdi b").count() == 0
        for width in (380, 1400):
            page.set_viewport_size({"width": width, "height": 800})
            assert_fits(page)
        heights = page.locator(".card").evaluate_all("cards => cards.map(card => card.offsetHeight)")
        assert max(heights) < 600
    names = set()
    for stack in page.locator(".stack").all()[:16]:
        stack.focus()
        names.add(page.locator(".fan-name").inner_text())
        box = page.locator(".fan").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 1400
    assert HOSTILE["skull"] in names
    page.get_by_label("Filter").fill('<img src=x onerror="window.hacked=6">')
    assert page.evaluate("window.hacked") is None


def test_a_phone_shows_one_model_at_a_time(visit, report, context):
    page = visit(layer_page(report))
    page.set_viewport_size({"width": 380, "height": 800})
    assert_fits(page)
    columns = page.locator(".column")
    expect(columns.nth(0)).to_be_visible()
    expect(columns.nth(1)).to_be_hidden()
    page.get_by_label("Model").select_option("mini:supervised")
    expect(columns.nth(0)).to_be_hidden()
    expect(columns.nth(1).locator(".card").first).to_be_visible()
    assert "model=mini" in page.evaluate("location.hash")
    page.goto(report.as_uri())
    assert_fits(page)


def test_sources_without_labels_show_plain_images(visit, make_index, tmp_path):
    index = make_index(np.random.default_rng(5).normal(size=(18, 6)), k=12, drop=("label", "tags", "style"))
    report = write_report(tmp_path / "out", [index])
    page = visit(report, cards=False)
    assert page.get_by_role("heading", name="A first look").count() == 0
    page = visit(report.parent / "layers" / "000-blocks.0.mlp.hidden.html")
    card = page.locator(".card").first
    assert card.locator(".badge").count() == 0
    assert card.locator(".stack").count() == 8
    card.get_by_role("button", name="12 images").click()
    assert card.locator(".stack").count() == 12
    assert page.locator("#sort option[value=few]").count() == 0


def test_missing_images_show_the_placeholder(visit, make_index, tmp_path):
    index = make_index(np.random.default_rng(6).normal(size=(18, 6)), source_spec="folder:/nowhere")
    report = write_report(tmp_path / "out", [index])
    page = visit(report.parent / "layers" / "000-blocks.0.mlp.hidden.html")
    tile = page.locator(".tile").first
    assert "missing.svg" in tile.evaluate("tile => getComputedStyle(tile).backgroundImage")
