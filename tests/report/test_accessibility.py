"""axe-core on every kind of page, light and dark, wide and narrow."""

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

pytestmark = pytest.mark.browser
READY = "html[data-ready]"
# Preloading would fetch the style sheets, which the page's policy forbids.
OPTIONS = {"preload": False, "resultTypes": ["violations"]}
PAGES = {
    "overview": ("index.html", "", READY),
    "explorer": ("explorer.html", "", ".card"),
    "feature": ("feature.html", "#clip/blocks.0.mlp.hidden:8", "h1"),
    "dead feature": ("feature.html", "#clip/blocks.0.mlp.hidden:29", "h1"),
    "concept": ("concept.html", "#tools", READY),
    "all concepts": ("concept.html", "", READY),
    "compare": ("compare.html", "", READY),
    "all probes": ("probes.html", "", READY),
    "probe": ("probes.html", "#odd?view=apart", READY),
}


def serious(page: Page, **options: object) -> list[str]:
    """What axe-core calls serious or critical: the rule, and where."""
    violations = Axe().run(page, options={**OPTIONS, **options}).response["violations"]
    return [
        f"{found['id']}: {found['help']}: {node['target']} {node['html'][:160]}"
        for found in violations
        if found["impact"] in ("serious", "critical")
        for node in found["nodes"]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", PAGES)
def test_no_page_has_a_serious_violation(kind: str, world: Any, probed: Any, visit: Callable[..., Page]) -> None:
    file, fragment, ready = PAGES[kind]
    page = visit((probed if file == "probes.html" else world).report / file, fragment, ready)
    assert serious(page) == []
    page.emulate_media(color_scheme="dark")
    assert serious(page, runOnly=["color-contrast"]) == []
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 390, "height": 844})
    for details in page.locator("details").all()[:3]:
        details.evaluate("(node) => { node.open = true; }")
    assert serious(page) == []


def test_the_checker_finds_what_is_wrong(world: Any, visit: Callable[..., Page]) -> None:
    page = visit(world.report / "compare.html", "", READY)
    page.evaluate("document.getElementById('lead').style.color = 'color-mix(in srgb, var(--page) 90%, black)'")
    page.evaluate("document.getElementById('find').closest('label').replaceWith(document.getElementById('find'))")
    page.evaluate("document.getElementById('find').removeAttribute('placeholder')")
    assert {found.partition(":")[0] for found in serious(page)} == {"color-contrast", "label"}


@pytest.mark.parametrize("kind", [kind for kind in PAGES if kind != "all probes"])  # which has a link a probe only
def test_the_keyboard_reaches_what_can_be_done(kind: str, world: Any, probed: Any, visit: Callable[..., Page]) -> None:
    file, fragment, ready = PAGES[kind]
    page = visit((probed if file == "probes.html" else world).report / file, fragment, ready)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    seen = set()
    for _ in range(8):
        page.keyboard.press("Tab")
        seen.add(page.evaluate("document.activeElement.outerHTML.slice(0, 300)"))
        assert page.evaluate("document.activeElement.matches(':focus-visible')")
    assert "#content" not in page.url
    assert len(seen) > 3


def test_motion_stops_where_it_is_not_wanted(world: Any, visit: Callable[..., Page]) -> None:
    page = visit(world.report / "index.html", "", READY)
    page.emulate_media(reduced_motion="reduce")
    durations = "[...document.querySelectorAll('*')].map((n) => getComputedStyle(n).transitionDuration)"
    assert set(page.evaluate(durations)) == {"0s"}
