"""Probe pages in a real browser."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Locator, Page, expect

from conceptprobe.report import write_report

pytestmark = pytest.mark.browser
READY = "html[data-ready]"


def figure(page: Page, title: str) -> Locator:
    return page.locator("figure.chart", has=page.get_by_role("heading", name=title, exact=True))


def rows_of(page: Page, title: str) -> list[list[str]]:
    """The table behind a chart."""
    return [row.locator("td").all_text_contents() for row in figure(page, title).locator("tbody tr").all()]


def numbers(cells: list[str]) -> list[float]:
    return [np.nan if cell == "–" else float(cell.replace("−", "-")) for cell in cells]


def open_probe(visit: Callable[..., Page], probed: Any, fragment: str = "#odd") -> Page:
    return visit(probed.report / "probes.html", fragment, READY)


def test_the_list_names_each_probe_with_its_headline(probed: Any, visit: Callable[..., Page]) -> None:
    page = open_probe(visit, probed, "")
    cards = page.locator(".probe-card")
    assert cards.locator("h2").all_text_contents() == ["How far does it bend?"] * 2
    assert cards.locator(".eyebrow").all_text_contents() == ["odd", "odd (2)"]
    own = probed.results[0].curves.query("metric == 'score' and series == 'bent' and x == 0.5")
    shown = cards.first.locator(".value b").all_text_contents()
    assert numbers(shown) == pytest.approx(own["value"].tolist(), abs=5e-4)
    assert "score, bent, share bent 0.5" in cards.first.inner_text()
    cards.nth(1).get_by_role("link").click()
    expect(page.locator("#eyebrow")).to_have_text("odd (2)")
    expect(page.locator("#about")).to_contain_text("far:away")
    page.go_back()
    expect(page.locator("#list")).to_be_visible()


def test_curves_and_differences_are_the_results(probed: Any, visit: Callable[..., Page]) -> None:
    page = open_probe(visit, probed)
    result = probed.results[0]
    for metric in ("score", "flips"):
        found = rows_of(page, metric)
        expected = result.curves[result.curves["metric"] == metric]
        assert len(found) == len(expected)
        for row, own in zip(found, expected.itertuples(), strict=True):
            assert [row[0], row[2]] == [own.series, own.model]
            assert numbers([row[1], *row[3:]]) == pytest.approx([own.x, own.value, own.low, own.high, own.n], rel=1e-3)
        found = rows_of(page, f"{metric}: mini:clip − mini:supervised")
        expected = result.differences[result.differences["metric"] == metric]
        assert len(found) == len(expected)
        for row, own in zip(found, expected.itertuples(), strict=True):
            assert numbers([row[1], *row[3:]]) == pytest.approx([own.x, own.value, own.low, own.high, own.n], rel=1e-3)


def test_points_stand_where_their_values_are(probed: Any, visit: Callable[..., Page]) -> None:
    page = open_probe(visit, probed, "#odd?view=apart&series=1")
    dots = figure(page, "score").locator("svg [aria-label=dot] circle").all()
    own = probed.results[0].curves.query("metric == 'score' and series == 'bent'")
    centres = np.array([[float(dot.get_attribute(name) or 0) for name in ("cx", "cy")] for dot in dots])
    assert len(centres) == len(own) == 6
    for axis, column, sign in ((0, "x", 1), (1, "value", -1)):
        values = own[column].to_numpy()
        slope, offset = np.polyfit(values, centres[:, axis], 1)
        assert sign * slope > 0
        np.testing.assert_allclose(slope * values + offset, centres[:, axis], atol=0.5)
    assert figure(page, "score").locator("svg [aria-label=area] path").count() == 2  # a band a model
    assert (
        figure(page, "score").locator("svg [aria-label=rule] line[stroke-dasharray]").count()
        + figure(page, "score").locator("svg [aria-label=rule][stroke-dasharray] line").count()
        == 2
    )


def test_series_can_be_chosen_and_the_address_keeps_it(probed: Any, visit: Callable[..., Page]) -> None:
    page = open_probe(visit, probed)
    expect(figure(page, "score").locator(".plot svg")).to_have_count(1)
    page.get_by_label("side by side").check(force=True)
    expect(figure(page, "score").locator(".plot svg")).to_have_count(2)
    page.get_by_label("torn", exact=True).uncheck()
    expect(figure(page, "score").locator(".plot svg")).to_have_count(1)
    assert {row[0] for row in rows_of(page, "score")} == {"clean", "bent"}
    assert page.url.endswith("#odd?view=apart&series=1.3.4")
    other = open_probe(visit, probed, "#" + page.url.partition("#")[2])
    assert {row[0] for row in rows_of(other, "score")} == {"clean", "bent"}
    for name in ("left", "right"):
        page.get_by_label(name, exact=True).uncheck()
    expect(figure(page, "flips")).to_have_count(0)
    page.get_by_label("bent", exact=True).click()
    expect(page.get_by_label("bent", exact=True)).to_be_checked()  # one stays
    for _ in range(4):
        page.go_back()
    expect(page.get_by_label("torn", exact=True)).to_be_checked()


def test_survival_is_split_by_verdict(probed: Any, visit: Callable[..., Page]) -> None:
    page = open_probe(visit, probed)
    result = probed.results[0]
    for measure in ("r", "kept"):
        page.get_by_label(measure, exact=True).check(force=True)
        own = result.survival[result.survival["measure"] == measure]
        difference = own["verdict"] == "conceptual - object"
        for title, expected in (
            (f"{measure} by verdict", own[~difference]), (f"{measure}: conceptual − object", own[difference])
        ):  # fmt: skip
            expect(figure(page, title)).to_be_visible()
            found = {(row[0], float(row[1]), row[2], row[3]): numbers(row[4:]) for row in rows_of(page, title)}
            assert len(found) == len(expected)
            for row in expected.itertuples():
                assert found[row.series, row.x, row.model, row.verdict] == pytest.approx(
                    [row.value, row.low, row.high, row.features], rel=1e-3
                )


def test_the_features_at_the_ends_lead_to_their_pages(probed: Any, visit: Callable[..., Page]) -> None:
    page = open_probe(visit, probed, "#odd?measure=1")
    page.locator("#extreme-tools select").select_option("bent, share bent 0.25")
    features = probed.results[0].features.query("series == 'bent' and x == 0.25")
    for panel, spec in zip(page.locator(".extreme").all(), ("mini:clip", "mini:supervised"), strict=True):
        own = features[features["model"] == spec].sort_values("r", ascending=False).dropna()
        links = panel.locator(".feature-link")
        expected = [*own["feature"].head(8), *own["feature"].tail(8)[::-1]]
        assert [re.search(r":(\d+)$", link)[1] for link in links.all_text_contents()] == [str(n) for n in expected]  # type: ignore[index]
        values = numbers(panel.locator(".kept").all_text_contents())
        assert values == pytest.approx([*own["r"].head(8), *own["r"].tail(8)[::-1]], abs=5e-4)
        verdicts = panel.locator(".verdict").evaluate_all("(nodes) => nodes.map((node) => node.dataset.verdict)")
        assert verdicts == [*own["verdict"].head(8), *own["verdict"].tail(8)[::-1]]
    first = page.locator(".extreme .feature-link").first
    name = first.text_content()
    first.click()
    page.wait_for_url("**/feature.html#clip/*")
    expect(page.locator("main")).to_contain_text(name or "?")


def test_a_model_without_an_index_has_features_without_links(probed: Any, visit: Callable[..., Page]) -> None:
    page = open_probe(visit, probed, "#odd-2")
    panels = page.locator(".extreme")
    expect(panels.nth(0).locator(".feature-link")).to_have_count(16)
    expect(panels.nth(1).locator(".feature-link")).to_have_count(0)
    expect(panels.nth(1)).to_contain_text("blocks.1.mlp.hidden:")
    colours = page.locator("#about .dot").evaluate_all(
        "(nodes) => nodes.map((n) => getComputedStyle(n).backgroundColor)"
    )
    assert len(set(colours)) == 2


def test_pictures_have_words_and_a_scale(probed: Any, visit: Callable[..., Page]) -> None:
    page = open_probe(visit, probed)
    pictures = page.locator("#artifacts img")
    assert all(image.get_attribute("alt") for image in pictures.all())
    page.locator("#artifacts").scroll_into_view_if_needed()
    for image in pictures.all():
        image.scroll_into_view_if_needed()
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("(node) => node.naturalWidth") > 0
    heat = page.locator(".artifact", has_text="heat").locator(".scale")
    values = np.stack([array for name, array in probed.results[0].artifacts.items() if name.endswith("heat")])
    ends = numbers([heat.locator("span").nth(at).text_content() or "" for at in (0, 1)])
    assert ends == pytest.approx([values.min(), values.max()], rel=5e-3)
    expect(page.locator(".artifact", has_text="vector")).to_contain_text("the shape of no picture")


def test_published_figures_stand_apart(probed: Any, visit: Callable[..., Page]) -> None:
    page = open_probe(visit, probed)
    section = page.get_by_role("region", name="Published figures, for comparison").first
    assert section.locator("tbody tr td, tbody tr th").all_text_contents() == ["Theirs", "70 %", "Them 2020", "paper"]
    assert page.locator("#curves").inner_text().count("70 %") == 0
    expect(page.locator("#caveats")).to_contain_text("Bent by hand.")


def test_tables_can_be_saved(probed: Any, visit: Callable[..., Page]) -> None:
    page = open_probe(visit, probed)
    links = page.locator("#files a")
    assert links.all_text_contents() == ["curves.csv", "differences.csv", "features.csv", "survival.csv", "rows.csv"]
    with page.expect_download() as saved:
        links.first.click()
    pd.testing.assert_frame_equal(
        pd.read_csv(saved.value.path()), probed.results[0].curves, check_dtype=False, check_exact=True
    )
    behind = figure(page, "score").locator(".behind")
    behind.locator("summary").click()
    with page.expect_download() as saved:
        behind.get_by_role("button", name="Save as CSV").click()
    table = pd.read_csv(saved.value.path())
    own = probed.results[0].curves.query("metric == 'score'")
    np.testing.assert_allclose(table["score"], own["value"], rtol=1e-5)


def test_the_keyboard_goes_from_probe_to_probe(probed: Any, visit: Callable[..., Page]) -> None:
    page = open_probe(visit, probed)
    page.keyboard.press("j")
    expect(page.locator("#eyebrow")).to_have_text("odd (2)")
    page.keyboard.press("k")
    expect(page.locator("#eyebrow")).to_have_text("odd")


def test_every_link_leads_somewhere(probed: Any, visit: Callable[..., Page]) -> None:
    for file, fragment in (("probes.html", ""), ("probes.html", "#odd"), ("index.html", "")):
        page = visit(probed.report / file, fragment, READY)
        for link in page.locator("a").all():
            parts = urlsplit(link.get_attribute("href") or "")
            assert parts.scheme == ""
            assert not parts.path or (probed.report / parts.path).is_file(), parts
    assert page.locator("#probes .probe-card").count() == 2


def test_an_address_of_no_probe_says_so(probed: Any, visit: Callable[..., Page]) -> None:
    page = open_probe(visit, probed, "#nothing")
    expect(page.locator("#unknown")).to_contain_text("No probe of this report is called nothing")
    expect(page.locator("#list")).to_be_visible()


def test_a_report_of_probes_alone_opens(
    make_probe: Callable[..., Any], tmp_path: Path, visit: Callable[..., Page]
) -> None:
    models = {"far:one": "1" * 64, "far:two": "2" * 64, "far:three": "3" * 64}
    result = make_probe(models)
    page = visit(write_report(tmp_path / "out", probes=[result]), "", READY)
    expect(page.locator("#lead")).to_contain_text("1 probe of how models behave")
    assert page.locator("nav a").all_text_contents() == ["Overview", "Probes"]
    page.locator(".probe-card a").click()
    expect(page.locator("#question")).to_have_text("How far does it bend?")
    page.locator("#tools select").select_option("far:two − far:three")
    own = result.differences.query("first == 'far:two' and second == 'far:three' and metric == 'score'")
    found = rows_of(page, "score: far:two − far:three")
    assert [numbers(row[3:4])[0] for row in found] == pytest.approx(own["value"].tolist(), rel=1e-3)
    expect(page.locator("#extremes-note")).to_contain_text("no index of these models")
