"""Names, labels and ids that are markup, scripts, very long, right to left: nothing runs, and every page holds."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import pytest
from playwright.sync_api import Page, expect

from conceptprobe.report import write_report

pytestmark = pytest.mark.browser
READY = "html[data-ready]"
OBJECTS = (
    "<img src=x onerror=window.hacked=1>",
    "</script><script>window.hacked=2</script>",
    "\"' onmouseover=window.hacked=3 x='",
    "javascript:window.hacked=4",
    "\u202eشعار مقلوب",
    "👩🏽‍🚀👨‍👩‍👧‍👦" * 30,
    "x" * 10_000,
    "two\nlines\r\nand\ttabs\u2028here",
    "a/b?c=d#e&f%25%",
    "<svg onload=window.hacked=5>",
    "{{ 7 * 7 }} ${7 * 7}",
    "\\u003cb\\u003e &lt;b&gt; $x^2$",
)
GROUPS = ("<b onclick=window.hacked=6>tools</b>", "جماعة" * 60, "=cmd|' /C calc'!A0")
TITLE = "<script>window.hacked=7</script>" + "t" * 3_000
SPECS = ("<i>clip</i>", "y" * 400)
IDS = {
    0: "<img src=y onerror=window.hacked=8>.png", 8: "z" * 3_000, 16: "javascript:window.hacked=9", 24: "new\nline.png",
    32: "../../etc/passwd", 40: "100%\u202e.png",
}  # fmt: skip
EMPTY = 28
PAGES = ("index.html", "explorer.html", "compare.html", "concept.html")


@pytest.fixture(scope="module")
def hostile(make_world: Callable[..., Any]) -> Any:
    return make_world(OBJECTS, GROUPS, title=TITLE, specs=SPECS, ids=IDS, empty=(EMPTY,), gone=(1, 9, 50))


@pytest.fixture(scope="module")
def keys(hostile: Any, read_data: Callable[..., Any]) -> list[str]:
    """The models' names in links."""
    return [model["key"] for model in read_data(hostile.report, "report")["models"]]


def open_quietly(visit: Callable[..., Page], hostile: Any, file: str, fragment: str = "") -> Page:
    ready = {"explorer.html": ".card", "feature.html": "h1"}.get(file, READY)
    return visit(hostile.report / file, fragment, ready)


def check(page: Page, hostile: Any) -> None:
    """Nothing ran, nothing was made of what looks like markup, nothing is wider than the window, no link is dead."""
    assert page.evaluate("window.hacked") is None
    scripts = page.evaluate("[...document.scripts].map((node) => node.getAttribute('src') || '')")
    assert all(src.startswith(("static/", "data/")) for src in scripts), scripts
    names = page.evaluate("[...document.querySelectorAll('*')].flatMap((node) => node.getAttributeNames())")
    assert not [name for name in names if name.startswith("on")]
    assert page.locator("main :is(i, script), main img:not(#artifacts img)").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    for href in page.evaluate("[...document.querySelectorAll('a')].map((node) => node.getAttribute('href'))"):
        parts = urlsplit(href or "#")
        assert parts.scheme in ("", "blob"), href
        assert not parts.path or (hostile.report / unquote(parts.path)).is_file(), href


def check_at_both_widths(page: Page, hostile: Any) -> None:
    for details in page.locator("details").all():
        details.evaluate("(node) => { node.open = true; }")
    check(page, hostile)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_timeout(150)
    check(page, hostile)


@pytest.mark.parametrize("file", PAGES)
def test_pages_hold(file: str, hostile: Any, visit: Callable[..., Page]) -> None:
    page = open_quietly(visit, hostile, file)
    check_at_both_widths(page, hostile)
    shown = page.locator("bdi", has_text="<img src=x onerror=window.hacked=1>")
    assert file == "explorer.html" or shown.count() > 0


def test_concept_pages_hold(hostile: Any, read_data: Callable[..., Any], visit: Callable[..., Page]) -> None:
    names = read_data(hostile.report, "concepts")["name"]
    assert len(names) == len(OBJECTS) + len(GROUPS)
    page = open_quietly(visit, hostile, "concept.html", f"#{quote(names[0], safe='')}")
    page.set_viewport_size({"width": 390, "height": 844})
    for name in names:
        page.evaluate("(address) => { location.hash = address; }", quote(name, safe=""))
        expect(page.locator("#name bdi")).to_have_text(name, use_inner_text=False)
        check(page, hostile)
    check_at_both_widths(page, hostile)


@pytest.mark.parametrize("model", [0, 1])
def test_feature_pages_hold(model: int, hostile: Any, keys: list[str], visit: Callable[..., Page]) -> None:
    page = open_quietly(visit, hostile, "feature.html", f"#{quote(keys[model])}/blocks.0.mlp.hidden:0")
    for feature in (8, EMPTY, 29, 0):
        page.evaluate("(address) => { location.hash = address; }", f"{keys[model]}/blocks.0.mlp.hidden:{feature}")
        expect(page.locator("main")).to_contain_text(f"blocks.0.mlp.hidden:{feature}")
        check(page, hostile)
    check_at_both_widths(page, hostile)


@pytest.mark.parametrize("file", [*PAGES, "feature.html"])
def test_addresses_that_mean_nothing_do_no_harm(file: str, hostile: Any, visit: Callable[..., Page]) -> None:
    page = visit(hostile.report / file, "#<img src=x onerror=window.hacked=1>", "main")
    for address in ("%", "a/b/c:99999999", "javascript:window.hacked=2", "with=%&layer=<b>&pair=x", "?model=y&sort=z"):
        page.wait_for_timeout(100)
        check(page, hostile)
        page.evaluate("(address) => { location.hash = address; }", address)
    check(page, hostile)


def test_a_chart_tells_hostile_names_as_they_are(hostile: Any, visit: Callable[..., Page]) -> None:
    page = open_quietly(visit, hostile, "compare.html")
    point = page.locator("#scatter svg [aria-label=dot]").first.locator("circle").last
    point.scroll_into_view_if_needed()
    box = point.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("svg [aria-label=tip] text").first).to_contain_text("<i>clip</i>")
    check(page, hostile)


def test_a_saved_table_starts_no_formula(world: Any, visit: Callable[..., Page]) -> None:
    page = visit(world.report / "index.html", "", READY)
    rows = [["=1+1", "a,b", 'say "x"', -2.5, None], ["+x", "@y", "-z", "line\nbreak", "plain"]]
    text = page.evaluate("(rows) => conceptprobe.charts.csv(rows)", rows)
    assert text == '\'=1+1,"a,b","say ""x""",-2.5,\r\n\'+x,\'@y,\'-z,"line\nbreak",plain\r\n'


def test_missing_images_are_said_and_have_a_placeholder(
    hostile: Any, read_data: Callable[..., Any], visit: Callable[..., Page]
) -> None:
    page = open_quietly(visit, hostile, "index.html")
    expect(page.locator("#missing")).to_contain_text("placeholder")
    names = read_data(hostile.report, "concepts")["name"]
    page = open_quietly(visit, hostile, "concept.html", f"#{quote(names[0], safe='')}")
    assert page.locator("#images .tile.missing").count() == 1


@dataclass(frozen=True)
class Hostile:
    """A report of hostile texts."""

    report: Path


@pytest.fixture(scope="module")
def hostile_probes(make_probe: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A report of a probe whose every text is hostile."""
    names = ("bent", "torn", "left", "right", "score", "flips", "heat", "photo", "image 0", "share bent", "Theirs",
             "Us, 2026", "Bent by hand.", "table:images", "shares", "How far does it bend?")  # fmt: skip
    texts = dict(zip(names, (*OBJECTS, *GROUPS, IDS[0]), strict=True))
    texts["blocks.1.mlp.hidden"] = SPECS[1]
    texts |= {"Bent by hand.": "<script>window.hacked=1</script>" * 400, "How far does it bend?": TITLE}
    result = make_probe({SPECS[0]: "1" * 64, OBJECTS[3]: "2" * 64}, probe=OBJECTS[0], texts=texts)
    report = tmp_path_factory.mktemp("hostile") / "report"
    write_report(report, probes=[result, make_probe({SPECS[1]: "3" * 64}, probe="../../x", texts=texts)], title=TITLE)
    return Hostile(report)


@pytest.mark.parametrize("number", [-1, 0, 1])
def test_probe_pages_hold(
    number: int, hostile_probes: Any, read_data: Callable[..., Any], visit: Callable[..., Page]
) -> None:
    keys = [own["key"] for own in read_data(hostile_probes.report, "report")["probes"]]
    assert {path.name for path in (hostile_probes.report / "probes").iterdir() if path.is_dir()} == {*keys}
    fragment = f"#{quote(keys[number])}" if number >= 0 else ""
    page = open_quietly(visit, hostile_probes, "probes.html", fragment)
    check_at_both_widths(page, hostile_probes)
    assert page.locator("bdi", has_text="<script>window.hacked=7</script>").count() > 0


def test_the_overview_of_hostile_probes_holds(hostile_probes: Any, visit: Callable[..., Page]) -> None:
    check_at_both_widths(open_quietly(visit, hostile_probes, "index.html"), hostile_probes)


def test_addresses_of_probes_that_mean_nothing_do_no_harm(hostile_probes: Any, visit: Callable[..., Page]) -> None:
    page = visit(hostile_probes.report / "probes.html", "#<img src=x onerror=window.hacked=1>", READY)
    for address in (
        "%",
        "..-..-x?series=99.x&layer=<b>&measure=9&at=0:<i>&pair=7-8&view=z",
        "javascript:window.hacked=2",
    ):
        page.evaluate("(address) => { location.hash = address; }", address)
        page.wait_for_timeout(150)
        check(page, hostile_probes)
