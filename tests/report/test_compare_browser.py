"""The page that puts two models side by side, in a real browser."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pytest
from playwright.sync_api import Page, expect

pytestmark = pytest.mark.browser
READY = "html[data-ready]"


@pytest.fixture
def compare(world: Any, visit: Callable[..., Page]) -> Callable[..., Page]:
    return lambda fragment="": visit(world.report / "compare.html", fragment, READY)


def pairs_of(page: Page) -> list[tuple[str, str, float]]:
    """The listed pairs: both features and r."""
    rows = []
    for row in page.locator("#pairs .pair").all():
        first, second = row.locator(".feature-link").all_text_contents()
        rows.append((first, second, float(row.locator(".link b").text_content() or "nan")))
    return rows


def test_pairs_are_those_that_the_contrast_matched(world: Any, compare: Callable[..., Page]) -> None:
    page = compare("#sort=r")
    while page.locator("#more").is_visible():
        page.locator("#more").click()
    shown = pairs_of(page)
    matches = world.contrast.matches
    matches = matches[(matches["side"] == "a") & matches["matched"]]
    expected = {(f"{r.layer}:{r.feature}", f"{r.other_layer}:{r.other_feature}"): r.r for r in matches.itertuples()}
    assert {pair[:2] for pair in shown} == set(expected)
    assert all(r == pytest.approx(expected[a, b], abs=0.006) for a, b, r in shown)
    assert [r for *_, r in shown] == sorted((r for *_, r in shown), reverse=True)
    assert page.locator("#count").text_content() == f"{len(expected)} matched pairs"


def test_filters_and_order_are_in_the_address(world: Any, compare: Callable[..., Page]) -> None:
    page = compare()
    page.locator("#layer").select_option("blocks.1.mlp.hidden")
    page.locator("#sort").select_option("low")
    page.locator("#concepts").check()
    assert "layer=blocks.1.mlp.hidden" in page.url
    shown = pairs_of(page)
    scores = [own.frame.set_index(["layer", "feature"])["concept"].astype(str) for own in world.scores]
    assert shown
    for a, b, _ in shown:
        first, second = (a.rpartition(":"), b.rpartition(":"))
        assert first[0] == "blocks.1.mlp.hidden"
        assert scores[0][first[0], int(first[2])] != scores[1][second[0], int(second[2])]
    again = compare(page.url[page.url.index("#") :])
    assert pairs_of(again) == shown
    assert again.locator("#concepts").is_checked()
    page.go_back()
    expect(page.locator("#concepts")).not_to_be_checked()
    assert len(pairs_of(page)) > len(shown)


def test_nothing_that_fits_is_said_in_words(compare: Callable[..., Page]) -> None:
    page = compare("#numbers=1")
    assert pairs_of(page) == []
    assert page.locator("#count").text_content() == "0 matched pairs of 56"
    expect(page.locator("#chosen")).to_contain_text("No pair")


def test_a_click_on_a_point_shows_both_features(world: Any, compare: Callable[..., Page]) -> None:
    page = compare("#score=max")
    before = page.locator("#chosen .feature-link").all_text_contents()
    points = page.locator("#scatter svg [aria-label=dot]").first.locator("circle")
    assert points.count() == 56
    for point in points.all()[::7]:
        box = point.bounding_box()
        assert box is not None
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        chosen = page.locator("#chosen .feature-link").all_text_contents()
        if chosen != before:
            break
    assert chosen != before
    assert unquote(page.url.rpartition("pair=")[2]) == f"clip/{chosen[0]}"
    for model, link in zip(("clip", "supervised"), page.locator("#chosen .feature-link").all(), strict=True):
        text = link.text_content()
        assert unquote(link.get_attribute("href") or "") == f"feature.html#{model}/{text}"
        layer, _, feature = (text or "").rpartition(":")
        index = world.indices[("clip", "supervised").index(model)]
        largest = index.stats(layer)["max"][int(feature)]
        shown = page.locator("#chosen .half").nth(("clip", "supervised").index(model)).locator("dd").all_text_contents()
        assert any(value == f"{float(f'{largest:.3g}'):g}" for value in shown), (largest, shown)
    again = compare(page.url[page.url.index("#") :])
    assert again.locator("#chosen .feature-link").all_text_contents() == chosen


def test_a_pair_can_be_shown_from_the_keyboard(compare: Callable[..., Page]) -> None:
    page = compare()
    row = page.locator("#pairs .pair").nth(3)
    wanted = row.locator(".feature-link").all_text_contents()
    row.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert page.locator("#chosen .feature-link").all_text_contents() == wanted


def test_concepts_stand_under_the_models_that_hold_them(world: Any, compare: Callable[..., Page]) -> None:
    page = compare()
    lists = page.locator(".holding-list").all()
    names = [[name.strip() for name in own.locator("h4").all_text_contents()] for own in lists]
    assert names[0] == ["kite"]
    assert names[1] == ["lamp"]
    table = world.contrast.concepts.pivot(index="concept", columns="model", values="state")
    assert set(names[2]) == set(table.index[(table == "held").all(axis=1)])
    expect(lists[0].locator(".absence")).to_have_text("surely none in mini:supervised")
    held = world.contrast.concepts.query("model == 'mini:clip' and concept == 'kite'").iloc[0]
    facts = lists[0].locator(".facts").text_content()
    assert facts == f"{held['hits']}/{held['k']} images, LLR {held['llr']:.1f}, {held['held']} features"
    page.locator("#find").fill("LA")
    assert [own.locator("h4").count() for own in page.locator(".holding-list").all()] == [0, 1, 0]
    link = page.locator(".holding-list h4 a").first
    link.click()
    expect(page.locator("#name")).to_have_text("lamp")
