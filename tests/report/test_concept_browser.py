"""The page of a concept, in a real browser."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
READY = "html[data-ready]"


@pytest.fixture
def concept(world: Any, visit: Callable[..., Page]) -> Callable[..., Page]:
    return lambda fragment="": visit(world.report / "concept.html", fragment, READY)


def test_an_object_has_its_images_and_its_group(concept: Callable[..., Page]) -> None:
    page = concept("#boat")
    expect(page.locator("#name")).to_have_text("boat")
    expect(page.locator("#lead")).to_contain_text("8 images of 96, 3.58 bits")
    assert page.locator("#images .tile").count() == 8
    assert {tile.get_attribute("aria-label") for tile in page.locator("#images .tile").all()} == {"boat"}
    assert page.locator("#trail a").all_text_contents() == ["animals"]
    page.locator("#trail a").click()
    expect(page.locator("#name")).to_have_text("animals")
    narrower = page.locator("#relatives .panel").nth(1).locator("a.chip bdi").all_text_contents()
    assert sorted(narrower) == ["boat", "eel", "horn", "kite"]
    page.go_back()
    expect(page.locator("#name")).to_have_text("boat")


def test_its_features_are_those_of_both_models_with_their_scores(world: Any, concept: Callable[..., Page]) -> None:
    page = concept("#boat?scored=1")
    rows = page.locator("#features tr").all()
    shown = set()
    for row in rows:
        model = (row.locator(".whose").text_content() or "").strip()
        layer, _, feature = (row.locator(".feature-link").text_content() or "").rpartition(":")
        scores = world.scores[("mini:clip", "mini:supervised").index(model)].frame
        own = scores[(scores["layer"] == layer) & (scores["feature"] == int(feature))].iloc[0]
        numbers = row.locator("td.number").all_text_contents()
        assert numbers[0] == f"{own['hits']}/{own['k']}"
        assert float(numbers[1]) == pytest.approx(own["llr"], rel=5e-3)
        assert own["verdict"] in (row.locator(".verdict").text_content() or "")
        shown.add((model, layer, int(feature)))
    expected = {
        (scores.settings["model"], row.layer, row.feature)
        for scores in world.scores
        for row in scores.frame.itertuples()
        if row.concept == "boat" and row.verdict in ("object", "conceptual", "polysemantic")
    }
    assert shown == expected
    assert len(expected) == 4


def test_filters_are_in_the_address(concept: Callable[..., Page]) -> None:
    page = concept("#boat")
    page.locator("#model").select_option(label="mini:supervised")
    page.locator("#layer").select_option("blocks.1.mlp.hidden")
    page.locator("#sort").select_option("hits")
    assert page.url.endswith("#boat?model=supervised&layer=blocks.1.mlp.hidden&sort=hits")
    links = page.locator("#features .feature-link")
    shown = links.all_text_contents()
    assert shown
    assert all(text.startswith("blocks.1.mlp.hidden:") for text in shown)
    hits = [int((text or "").split("/")[0]) for text in page.locator("#features td:nth-child(4)").all_text_contents()]
    assert hits == sorted(hits, reverse=True)
    again = concept(page.url[page.url.index("#") :])
    assert again.locator("#features .feature-link").all_text_contents() == shown
    page.locator("#scored").check()
    assert page.locator("#count").text_content() == "1 feature"


def test_features_and_points_lead_to_their_pages(world: Any, concept: Callable[..., Page]) -> None:
    page = concept("#boat?scored=1")
    first = page.locator("#features .feature-link").first
    assert (first.get_attribute("href") or "").startswith("feature.html#clip/blocks.")
    points = page.locator("#where svg [aria-label=dot]").first.locator("circle")
    assert points.count() == 4
    box = points.last.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 4, box["y"] + 4)
    page.mouse.click(box["x"] + 4, box["y"] + 4)
    page.wait_for_url(re.compile(r"feature\.html#supervised/blocks\.\d\.mlp\.hidden:1$"))


def test_without_a_name_all_concepts_are_listed(world: Any, concept: Callable[..., Page]) -> None:
    page = concept()
    expect(page.locator("#one")).to_be_hidden()
    assert page.locator("#concepts tr").count() == 15
    page.locator("#find").fill("OA")
    assert sorted(page.locator("#concepts a").all_text_contents()) == ["boat", "goat"]
    page.locator("#concepts a", has_text="goat").click()
    expect(page.locator("#name")).to_have_text("goat")
    expect(page.locator("#count")).to_contain_text("feature")


def test_an_unknown_concept_is_said_to_be_unknown(concept: Callable[..., Page]) -> None:
    page = concept("#no%20such%20<b>thing</b>")
    expect(page.get_by_role("alert")).to_have_text("No concept of this report is called no such <b>thing</b>.")
    expect(page.locator("#one")).to_be_hidden()
    page.evaluate("location.hash = '#cat'")
    expect(page.locator("#name")).to_have_text("cat")
    assert page.get_by_role("alert").count() == 0
