"""The page of a feature, in a browser: every part says what the index and the results say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from conceptprobe.concepts.comparison.contrast import contrast
from conceptprobe.concepts.naming.names import FeatureNames
from conceptprobe.concepts.scoring.scores import score_features
from conceptprobe.images import load_images
from conceptprobe.indexing import build_index
from conceptprobe.models import load_model
from conceptprobe.report import write_report
from conceptprobe.report.data.features import NAME_COLUMNS
from conceptprobe.visualization.results.record import Natural, VisualizationRecord
from conceptprobe.visualization.results.visualizations import Visualizations

pytestmark = pytest.mark.browser

LAYER, K, SHOWN = "blocks.5.mlp.hidden", 12, 70


@pytest.fixture(scope="module")
def model():
    return load_model("mini:supervised@random", device="cpu")


@pytest.fixture(scope="module")
def index(model, make_source, tmp_path_factory):
    path = tmp_path_factory.mktemp("index") / "own"
    return build_index(model, make_source(), LAYER, path, k=K, bottom=3, workers=0, batch_size=18)


@pytest.fixture(scope="module")
def scores(index):
    return score_features(index, k=4, draws=200, visual=None)


def name_feature(index) -> FeatureNames:
    rows = [
        (LAYER, SHOWN, "mean", "words", 1, "tone", 1.5, 0.75, 0.01, 0.02, False, "labels", 3, ""),
        (LAYER, SHOWN, "mean", "words", 2, "sound", 1.2, 0.51, 0.4, 0.45, True, "labels", 3, "not better than chance"),
        (LAYER, SHOWN, "mean", "concepts", 1, "music", 3.5, 0.8, 0.001, 0.002, False, "labels", 6, ""),
    ]
    manifest = index.manifest
    settings = {
        "model": manifest.model.spec, "source": manifest.source.spec, "scorer": "mini:clip", "words": 2, "k": 5,
        "fingerprints": {"model": manifest.model.fingerprint, "source": manifest.source.fingerprint},
        "layers": [LAYER], "pooling": "mean", "q": 0.05, "seed": 0, "templates": ["{}"],
        "test_images": 9, "choosing_images": 9,
    }  # fmt: skip
    return FeatureNames(pd.DataFrame(rows, columns=["layer", "feature", "pooling", *NAME_COLUMNS]), settings)


def visualize_feature(index) -> Visualizations:
    """Two of the feature, of which the first is red."""
    natural = Natural("own", 18, 2.5, 0.875, "top list", 3.25, 4, 700)
    record = VisualizationRecord(
        f"{LAYER}:{SHOWN}", LAYER, SHOWN, "mean", 0, 0, 0, {"name": "fourier"}, 200, 8, (32, 32),
        {"spec": "mini:supervised", "fingerprint": index.manifest.model.fingerprint}, 1.25, natural,
        tuple(np.arange(200.0)), None, {},
    )  # fmt: skip
    images = np.zeros((2, 32, 32, 3), np.uint8)
    images[0, :, :, 0] = 250
    return Visualizations(images, (record, replace(record, restart=1)), np.repeat(images[:, None], 2, axis=1))


@pytest.fixture(scope="module")
def report(index, scores, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report") / "out"
    given = {"names": [name_feature(index)], "visualizations": [visualize_feature(index)], "maps": True}
    return write_report(out, [index], scores=[scores], **given).parent


@pytest.fixture(scope="module")
def key(report, read_data) -> str:
    return read_data(report, "report")["models"][0]["key"]


@pytest.fixture
def feature(visit, report, key):
    """A function that opens the page of a feature."""

    def visit_feature(number: int = SHOWN) -> Page:
        return visit(report / "feature.html", f"#{key}/{LAYER}:{number}", ready="#feature[aria-busy=false] .panel")

    return visit_feature


def panel(page: Page, heading: str):
    return page.locator("section.panel", has=page.get_by_role("heading", name=heading, exact=True))


def say(value: float, digits: int = 3) -> str:
    """As format.js writes a number of a usual size."""
    return f"{float(f'{value:.{digits}g}'):g}".replace("-", "−")


def test_top_images_are_the_indexs_one_by_one_and_by_label(feature, index):
    page = feature()
    images = panel(page, "Top images")
    images.get_by_text("One by one").click()
    top = index.top(f"{LAYER}:{SHOWN}", K)
    pictures = images.locator(".picture")
    assert [words.split(": ")[0] for words in pictures.evaluate_all("all => all.map(one => one.ariaLabel)")] == [
        id_.split("/")[0] for id_ in top.ids
    ]
    assert images.locator(".caption b").all_inner_texts() == [say(value) for value in top.values]
    images.get_by_text("By label").click()
    labels = list(dict.fromkeys(id_.split("/")[0] for id_ in top.ids))
    assert images.locator(".caption bdi").all_inner_texts() == labels
    counts = [sum(id_.startswith(f"{label}/") for id_ in top.ids) for label in labels]
    assert images.locator(".badge").all_inner_texts() == [str(count) for count in counts if count > 1]
    again = feature(SHOWN + 1)
    assert panel(again, "Top images").get_by_label("By label").is_checked()


def test_the_patch_of_a_max_list_is_outlined(feature, index):
    page = feature()
    images = panel(page, "Top images")
    images.get_by_text("One by one").click()
    images.get_by_text("max", exact=True).click()
    top = index.top(f"{LAYER}:{SHOWN}", K, "max")
    assert images.locator(".caption b").all_inner_texts() == [say(value) for value in top.values]
    rows, columns = index.manifest.layers[LAYER].grid
    tile = images.locator(".picture .tile").first.evaluate("t => ({ x: t.offsetWidth - 4, y: t.offsetHeight - 4 })")
    patches = images.locator(".patch").evaluate_all(
        "all => all.map(p => Object.fromEntries(['left', 'top', 'width'].map(s => [s, parseFloat(p.style[s])])))"
    )
    assert tile["x"] == tile["y"] > 30
    assert len(patches) == K
    for patch, position in zip(patches, top.positions, strict=True):
        row, column = divmod(int(position), columns)
        assert patch["left"] == pytest.approx(100 * column / columns, abs=0.01)  # the whole width is seen
        assert patch["width"] == pytest.approx(100 / columns, abs=0.01)
        # Squares of 40 x 30: three quarters of the tile's height, or a square that is padded to the whole of it.
        whole = patch["top"] == pytest.approx(100 * row / rows, abs=0.3)
        assert whole or patch["top"] == pytest.approx(12.5 + 75 * row / rows, abs=0.3)


def test_an_image_under_the_pointer_or_the_focus_is_shown_large_with_its_map(feature, index, report, read_data):
    page = feature()
    images = panel(page, "Top images")
    images.get_by_text("One by one").click()
    expect(images.locator(".aside")).to_contain_text("map of activations")
    preview = page.locator(".preview")
    images.locator(".picture").first.hover()
    expect(preview).to_be_visible()
    expect(preview.locator(".preview-id")).to_have_text(index.top(f"{LAYER}:{SHOWN}", 1).ids[0])
    size = preview.locator("canvas.heat").evaluate("canvas => [canvas.height, canvas.width]")
    assert size == list(index.manifest.layers[LAYER].grid)
    brightest = read_data(report, f"maps/0-0-{SHOWN // 64}")["maps"][SHOWN % 64, 0].argmax()
    left = preview.locator(".patch").evaluate("patch => parseFloat(patch.style.left)")
    assert left == pytest.approx(100 * (brightest % size[1]) / size[1], abs=0.01)
    pixels = preview.locator("canvas.heat").evaluate(
        "canvas => [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data]"
    )
    assert len(set(pixels[::4])) > 1
    panel(page, "Across its range").locator(".picture").first.focus()
    expect(preview).to_be_visible()
    assert preview.locator("canvas").count() == 0, "maps are of top images"
    page.keyboard.press("Escape")
    expect(preview).to_be_hidden()
    images.locator(".picture").nth(5).focus()
    expect(preview).to_be_in_viewport()
    page.keyboard.press("Escape")
    expect(preview).to_be_hidden()
    images.get_by_text("By label").click()
    stack = images.locator(".picture.stack").first
    stack.hover()
    expect(preview.locator("figure")).to_have_count(int(stack.locator(".badge").inner_text()))


def test_the_strip_and_the_controls_are_the_indexs(feature, index):
    page = feature()
    name = f"{LAYER}:{SHOWN}"
    tenths = panel(page, "Across its range").locator(".tenth")
    assert tenths.count() == 10
    for tenth, top in zip(tenths.all(), index.strip(name), strict=True):
        labels = tenth.locator(".picture").evaluate_all("all => all.map(one => one.ariaLabel.split(':')[0])")
        assert labels == [id_.split("/")[0] for id_ in top.ids]
        if labels:
            assert tenth.locator(".strip-head span").inner_text() == say(top.values[0], 2)
    bottom = panel(page, "Least active")
    assert bottom.locator(".caption b").all_inner_texts() == [say(value) for value in index.bottom(name, 3).values]
    assert panel(page, "Random images, as a control").locator(".picture").count() == 16


def test_evidence_names_and_concepts_are_those_of_the_scores(feature, scores, report, read_data):
    row = scores.frame.iloc[SHOWN]
    page = feature()
    expect(page.locator(".feature-line .verdict")).to_contain_text(row["verdict"])
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "tone" if row["verdict"] == "unresolved" else row["concept"]
    )
    evidence = panel(page, "Evidence")
    expect(evidence.locator("li").first).to_have_text(f"{row['reason']}.")
    expect(evidence.locator("li").nth(1)).to_contain_text(
        f"{row['hits']} of its first 4 images are of {row['concept']}"
    )
    tests = evidence.locator("tbody").first.locator("tr")
    assert tests.nth(0).locator(".number").inner_text() == say(row["p_random"], 2)
    assert tests.nth(1).locator(".number").inner_text() == say(row["p_hub"], 2)
    assert tests.nth(2).locator(".number").inner_text() == "–"
    evidence.get_by_text("With shorter and longer lists").click()
    curve = scores.curve[scores.curve["feature"] == SHOWN]
    assert evidence.locator("details tbody tr td:first-child").all_inner_texts() == [str(k) for k in curve["k"]]
    table = read_data(report, f"features/0-0-{SHOWN // 64}")["table"][SHOWN % 64]
    concepts = read_data(report, "concepts")["name"]
    shown = panel(page, "Concepts").locator("tbody tr")
    assert shown.locator("td:first-child a").all_inner_texts() == [concepts[line[0]] for line in table]
    assert shown.locator("td:nth-child(2)").all_inner_texts() == [f"{line[1]}/4" for line in table]
    names = panel(page, "Names").locator("tbody tr")
    assert names.count() == 3
    expect(names.nth(1)).to_contain_text("not better than chance")
    assert names.locator("td:nth-child(3)").all_inner_texts() == ["0.75", "0.51", "0.8"]


def test_the_histogram_has_its_thresholds_and_a_table(feature, index, report, read_data):
    page = feature()
    chart = page.locator("figure.chart")
    assert "top 4 from" in chart.get_by_role("img").get_attribute("aria-label")
    chart.get_by_text("Numbers behind the chart").click()
    counts = read_data(report, f"features/0-0-{SHOWN // 64}")["histogram"]["counts"][SHOWN % 64]
    cells = chart.locator("tbody tr td:nth-child(4)").all_inner_texts()
    assert [int(cell) for cell in cells[:40]] == counts.tolist()
    assert sum(counts) == 18


def test_visualizations_have_their_numbers_and_play(feature):
    page = feature()
    shown = panel(page, "Visualizations")
    assert shown.locator("figure").count() == 2
    first = shown.locator("figure").first
    facts = dict(zip(first.locator("dt").all_inner_texts(), first.locator("dd").all_inner_texts(), strict=True))
    assert facts["activation"] == "1.25"
    assert facts["natural best"] == "2.5"
    assert facts["above"] == "88 %"
    assert facts["z"] == "3.25"
    assert facts["rank"] == "4 of 700"
    assert first.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    assert "animation" in first.locator("img").get_attribute("src")
    first.get_by_role("button").click()
    assert "animation" not in first.locator("img").get_attribute("src")
    assert first.locator("img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 32


def test_nothing_moves_by_itself_where_motion_is_not_wanted(browser, report, key):
    with browser.new_context(offline=True, reduced_motion="reduce") as context:
        page = context.new_page()
        page.goto(f"{(report / 'feature.html').as_uri()}#{key}/{LAYER}:{SHOWN}")
        image = page.locator(".optimised img").first
        expect(image).to_be_visible()
        assert "animation" not in image.get_attribute("src")
        page.locator(".optimised").first.get_by_role("button", name="Play").click()
        assert "animation" in image.get_attribute("src")


def test_neighbours_lead_on(feature, index, key):
    page = feature()
    rows = panel(page, "Neighbours in this layer").locator("li")
    frame = index.neighbours(f"{LAYER}:{SHOWN}", 10)
    expected = [(f"{row.layer}:{row.feature}", row.correlation) for row in frame.itertuples()]
    assert rows.locator("a").all_inner_texts() == [one for one, _ in expected]
    assert rows.locator("b.number").all_inner_texts() == [say(r, 2) for _, r in expected]
    rows.locator("a").nth(2).click()
    expect(page.locator(".feature-key")).to_have_text(expected[2][0])
    assert page.evaluate("location.hash") == f"#{key}/{expected[2][0]}"
    page.go_back()
    expect(page.locator(".feature-key")).to_have_text(f"{LAYER}:{SHOWN}")


def test_keys_go_to_the_next_and_the_previous_feature(feature, visit, report, key):
    page = feature(63)  # the last of its chunk
    for press, number in [("j", 64), ("ArrowRight", 65), ("k", 64), ("ArrowLeft", 63)]:
        page.keyboard.press(press)
        expect(page.locator(".feature-key")).to_have_text(f"{LAYER}:{number}")
    assert str(63) in page.title()
    page.keyboard.press("x")
    expect(page.get_by_role("button", name="Selected")).to_have_attribute("aria-pressed", "true")
    explorer = visit(report / "explorer.html", "#selected=1", ready="#grid .card")
    assert explorer.locator(".card").evaluate_all("cards => cards.map(card => card.dataset.key)") == [
        f"{key}/{LAYER}:63"
    ]


def test_a_list_of_the_explorer_is_gone_through_in_its_order(visit, report):
    page = visit(report / "explorer.html", "#sort=max", ready="#grid .card")
    keys = page.locator(".card").evaluate_all("cards => cards.map(card => card.dataset.key)")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_selector("#feature[aria-busy=false] .panel")
    page.keyboard.press("j")
    expect(page.locator(".feature-key")).to_have_text(keys[1].partition("/")[2])
    page.keyboard.press("Escape")
    page.wait_for_selector("#grid .card")
    assert page.locator("#sort").input_value() == "max"


def test_lines_that_reproduce_the_page(feature, context):
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = feature()
    lines = panel(page, "Reproduce")
    assert f"{LAYER}:{SHOWN}" in lines.locator("pre").nth(0).inner_text()
    assert f"{LAYER}:{SHOWN}" in lines.locator("pre").nth(1).inner_text()
    assert "{" not in lines.locator("pre").nth(1).inner_text()
    lines.get_by_role("button", name="Copy").first.click()
    expect(lines.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == lines.locator("pre").nth(0).inner_text()


def test_a_match_leads_to_the_other_model(make_index, make_source, tmp_path, visit, read_data):
    rng = np.random.default_rng(1)
    acts, source = rng.normal(size=(18, 30)), make_source()
    order = rng.permutation(30)
    indices = [
        make_index(acts, spec="one:a", source=source, k=8),
        make_index(acts[:, order] + 0.01 * rng.normal(size=(18, 30)), spec="two:b", source=source, k=8),
    ]
    scores = [score_features(index, k=4, draws=200, visual=None) for index in indices]
    found = contrast(*indices, scores=scores, resamples=2)
    report = write_report(tmp_path / "out", indices, scores=scores, contrasts=[found]).parent
    keys = [model["key"] for model in read_data(report, "report")["models"]]
    page = visit(report / "feature.html", f"#{keys[1]}/blocks.0.mlp.hidden:7", ready=".panel")
    link = panel(page, "Closest in the other model").locator("a")
    assert link.all_inner_texts() == [f"blocks.0.mlp.hidden:{order[7]}"]
    link.click()
    expect(page.locator(".feature-key")).to_have_text(f"blocks.0.mlp.hidden:{order[7]}")
    expect(page.locator(".feature-line .model")).to_have_text("one:a")


def test_duplicates_are_shown_once_until_all_are_wanted(model, image_folder, tmp_path, visit, read_data):
    """Every square twice, under two ids."""
    files = sorted(image_folder.rglob("*.png")) * 2
    table = {
        "id": [f"{i:02}" for i in range(36)],
        "label": [file.parent.name for file in files],
        "path": list(map(str, files)),
    }
    pd.DataFrame(table).to_parquet(tmp_path / "images.parquet")
    source = load_images(f"table:{tmp_path / 'images.parquet'}")
    index = build_index(model, source, LAYER, tmp_path / "index", k=8, workers=0, batch_size=36)
    report = write_report(tmp_path / "out", [index]).parent
    key = read_data(report, "report")["models"][0]["key"]
    page = visit(report / "feature.html", f"#{key}/{LAYER}:{SHOWN}", ready=".panel")
    images = panel(page, "Top images")
    images.get_by_text("One by one").click()
    values = [say(value) for value in index.top(f"{LAYER}:{SHOWN}", 8).values]
    assert values[::2] == values[1::2]
    assert images.locator(".caption b").all_inner_texts() == values[::2]
    expect(images.locator(".aside")).to_contain_text("4 duplicates of equal content")
    images.get_by_text("All", exact=True).click()
    assert images.locator(".caption b").all_inner_texts() == values


def test_a_click_opens_the_whole_image_where_the_report_has_it(make_index, tmp_path, visit, read_data):
    index = make_index(np.random.default_rng(2).normal(size=(18, 3)), k=4)
    report = write_report(tmp_path / "out", [index], images="copy").parent
    key = read_data(report, "report")["models"][0]["key"]
    page = visit(report / "feature.html", f"#{key}/blocks.0.mlp.hidden:1", ready=".panel")
    panel(page, "Top images").get_by_text("One by one").click()
    with page.expect_popup() as popup:
        panel(page, "Top images").locator(".picture").first.click()
    popup.value.wait_for_load_state()
    assert popup.value.evaluate("document.images[0].naturalWidth") == 40


def test_an_unknown_feature_is_said_to_be_so(visit, report):
    page = visit(report / "feature.html", "#nowhere/<b>x</b>:1", ready=".notice")
    expect(page.get_by_role("alert")).to_contain_text("This report holds no feature nowhere/<b>x</b>:1.")
    page.get_by_role("link", name="All features").click()
    page.wait_for_selector("#grid .card")
