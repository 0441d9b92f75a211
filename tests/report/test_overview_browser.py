"""The overview in a real browser."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from scipy.stats import binomtest

from conceptprobe.report import write_report

pytestmark = pytest.mark.browser
READY = "html[data-ready]"
LAYERS = ("blocks.0.mlp.hidden", "blocks.1.mlp.hidden")


def rows_of(page: Page, title: str) -> list[list[str]]:
    """The table behind a chart."""
    rows = page.locator("figure.chart", has=page.get_by_role("heading", name=title)).locator("tbody tr")
    return [row.locator("td").all_text_contents() for row in rows.all()]


def test_models_are_counted_as_their_scores_say(world: Any, visit: Callable[..., Page]) -> None:
    page = visit(world.report / "index.html", "", READY)
    for glance, scores in zip(page.locator(".glance").all(), world.scores, strict=True):
        summary = scores.summary()
        for verdict in ("object", "conceptual", "polysemantic", "unresolved"):
            count = summary.loc[summary["verdict"] == verdict, "count"].sum()
            figure = glance.locator(f".figure[data-verdict={verdict}]")
            assert figure.locator("b").text_content() == f"{count:,}"
            href = figure.get_attribute("href")
            assert href is not None
            assert href.startswith("explorer.html#model=")
    table = page.locator("#layers tbody tr").all()
    assert [row.locator("td.number").nth(1).text_content() for row in table] == ["7"] * 4


def test_each_chart_shows_the_numbers_of_the_contrast(world: Any, visit: Callable[..., Page]) -> None:
    page = visit(world.report / "index.html", "", READY)
    for figure in page.locator("figure.chart").all():
        picture = figure.get_by_role("img").first
        assert len(picture.get_attribute("aria-label") or "") > 20
        expect(picture.locator("svg")).to_be_visible()
        assert figure.locator(".behind tbody tr").count() > 0
    rows = rows_of(page, "How many features stand for an object, how many for a concept?")
    models = world.contrast.models
    models = models[(models["layer"] != "all") & models["measure"].isin(["object", "conceptual", "polysemantic"])]
    assert len(rows) == len(models) == 12
    found = {tuple(row[:3]): [float(cell) for cell in row[3:6]] for row in rows}
    for row in models.itertuples():
        assert found[row.layer, row.model, row.measure] == pytest.approx([row.value, row.low, row.high], abs=1e-4)
    differences = rows_of(page, "Where does mini:clip differ from mini:supervised?")
    depth = rows_of(page, "Which is more abstract?")
    assert len(differences) + len(depth) == len(world.contrast.frame)
    row = world.contrast.frame.query("layer == 'all' and measure == 'abstraction'").iloc[0]
    numbers = [float(cell.replace("−", "-")) for cell in depth[-1][1:6]]
    assert depth[-1][0] == "all layers"
    assert numbers == pytest.approx(row[["a", "b", "difference", "low", "high"]].astype(float).tolist(), abs=1e-4)
    assert page.evaluate("document.querySelectorAll('style, [onclick]').length") == 0


def test_bars_are_as_high_as_their_shares(world: Any, visit: Callable[..., Page]) -> None:
    page = visit(world.report / "index.html", "", READY)
    chart = page.locator("figure.chart", has=page.get_by_role("heading", name="How many features stand"))
    boxes = [bar.bounding_box() for bar in chart.locator("svg [aria-label=rect] rect").all()]
    heights = sorted(box["height"] for box in boxes if box is not None and box["height"] > 0)
    shares = world.contrast.models
    chosen = (shares["layer"] != "all") & shares["measure"].isin(["object", "conceptual"])
    shares = np.sort(shares.loc[chosen, "value"])
    np.testing.assert_allclose(np.array(heights) / heights[-1], shares / shares[-1], atol=0.02)


def test_pointing_at_a_bar_tells_its_number(world: Any, visit: Callable[..., Page]) -> None:
    page = visit(world.report / "index.html", "", READY)
    bar = page.locator("figure.chart", has_text="How many features stand").locator("svg [aria-label=rect] rect").first
    bar.scroll_into_view_if_needed()
    box = bar.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    expect(page.locator("figure.chart svg [aria-label=tip] text").first).to_contain_text("mini:clip")


def test_a_chart_fits_its_place_again_when_the_window_changes(world: Any, visit: Callable[..., Page]) -> None:
    page = visit(world.report / "index.html", "", READY)
    picture = page.locator(".charts .plot svg").first
    before = int(picture.get_attribute("width") or 0)
    page.set_viewport_size({"width": 500, "height": 900})
    expect(page.locator(".charts .plot svg").first).not_to_have_attribute("width", str(before))
    assert int(page.locator(".charts .plot svg").first.get_attribute("width") or 0) < 500
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_every_link_leads_somewhere(world: Any, visit: Callable[..., Page]) -> None:
    page = visit(world.report / "index.html", "", READY)
    links = [link.get_attribute("href") or "" for link in page.locator("a").all()]
    assert len(links) > 20
    for href in links:
        parts = urlsplit(href)
        assert parts.scheme == "", href
        assert not parts.path or (world.report / parts.path).is_file(), href


def test_examples_are_the_features_with_the_strongest_evidence(world: Any, visit: Callable[..., Page]) -> None:
    page = visit(world.report / "index.html", "", READY)
    scores = world.scores[0].frame
    best = scores[scores["verdict"] == "conceptual"].nlargest(1, "llr").iloc[0]
    first = page.locator("#conceptual .by-model").first.locator(".card").first
    assert first.get_attribute("data-key") == f"clip/{best['layer']}:{best['feature']}"
    cards = page.locator("#object .by-model").first.locator(".card")
    titles = [card.get_attribute("aria-label") or "" for card in cards.all()]
    assert all(", object, " in title for title in titles)


def test_what_was_run_can_be_copied(world: Any, visit: Callable[..., Page]) -> None:
    page = visit(world.report / "index.html", "", READY)
    commands = page.locator("#commands code").text_content() or ""
    assert re.search(r"^conceptprobe report ", commands, re.M), commands
    assert world.indices[0].manifest.model.fingerprint[:12] in page.locator("#runs").inner_text()
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.get_by_role("button", name="Copy the commands").click()
    page.wait_for_function("window.copied !== undefined")
    assert page.evaluate("window.copied") == commands


def test_words_of_the_contrast_are_there_with_its_caveats(world: Any, visit: Callable[..., Page]) -> None:
    page = visit(world.report / "index.html", "", READY)
    words = page.locator("#contrasts").inner_text()
    assert "only in mini:clip: 1 (kite)" in words
    for caveat in world.contrast.caveats:
        assert caveat in words


def test_a_report_of_an_index_alone_has_what_an_index_knows(
    make_index: Callable[..., Any], tmp_path: Path, visit: Callable[..., Page]
) -> None:
    index = make_index(np.random.default_rng(0).normal(size=(18, 12)), layers=LAYERS, dead=(3,))
    page = visit(write_report(tmp_path / "out", [index]), "", READY)
    assert page.locator("figure.chart h3").all_text_contents() == ["How many features are dead?"]
    assert page.locator("#contrasts").is_hidden()
    assert page.locator("#examples").is_hidden()
    low, high = binomtest(1, 12).proportion_ci(method="wilson")
    rows = rows_of(page, "How many features are dead?")
    assert [row[:3] for row in rows] == [[layer, "mini:clip", "dead"] for layer in LAYERS]
    for row in rows:
        assert [float(cell) for cell in row[3:]] == pytest.approx([1 / 12, low, high, 12], abs=1e-4)


def test_scores_without_a_contrast_have_wilson_intervals(
    world: Any, tmp_path: Path, visit: Callable[..., Page]
) -> None:
    report = write_report(tmp_path / "out", [world.indices[0]], scores=[world.scores[0]], concepts=world.concepts)
    page = visit(report, "", READY)
    rows = rows_of(page, "How many features stand for an object, how many for a concept?")
    summary = world.scores[0].summary().set_index(["layer", "verdict"])
    assert len(rows) == 6
    for layer, _, verdict, *numbers in rows:
        expected = summary.loc[(layer, verdict), ["share", "low", "high"]].to_numpy(float)
        assert [float(number) for number in numbers[:3]] == pytest.approx(expected, abs=1e-4)
    (depth, *_) = rows_of(page, "Are deeper layers more abstract?")
    own = world.scores[0].frame.query("layer == @depth[0] and verdict in ('object', 'conceptual')")["abstraction"]
    half = 1.959964 * own.std(ddof=1) / np.sqrt(len(own))
    expected = [own.mean(), max(0, own.mean() - half), own.mean() + half]
    assert [float(number) for number in depth[3:6]] == pytest.approx(expected, abs=1e-3)
