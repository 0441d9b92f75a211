"""The explorer: search, filters, sort, keyboard, address, selection and export, in a browser."""

import csv
import io
import json
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from conceptprobe.concepts.naming.names import FeatureNames
from conceptprobe.concepts.scoring.scores import score_features
from conceptprobe.report import write_report
from conceptprobe.report.data.features import NAME_COLUMNS

pytestmark = pytest.mark.browser

LABELS = ("cat", "coffin", "education", "guitar", "radio", "skull")  # in the order of the images, three of each
LAYERS = ("blocks.0.mlp.hidden", "blocks.1.mlp.hidden")
FEATURES, K, DEAD = 40, 6, (5, 39)
SPECS = ("mini:clip", "mini:supervised")
WORDS = {0: "castanets", 7: "=2+3", 12: "crème brûlée"}


def plant() -> np.ndarray:
    """Every other feature fires on the images of a label, the rest on any."""
    rng = np.random.default_rng(3)
    acts_nf = rng.normal(size=(18, FEATURES))
    for feature in range(0, FEATURES, 2):
        at = 3 * (feature // 2 % len(LABELS))
        acts_nf[at : at + 3, feature] += 6 + rng.random(3)
    return acts_nf


def name_features(index) -> FeatureNames:
    rows = [
        (layer, feature, "mean", "words", 1, word, 1.5, 0.75, 0.01, 0.02, False, "labels", 3, "")
        for layer in index.layers
        for feature, word in WORDS.items()
    ]
    manifest = index.manifest
    settings = {
        "model": manifest.model.spec, "source": manifest.source.spec, "scorer": "mini:clip", "words": 2, "k": 5,
        "fingerprints": {"model": manifest.model.fingerprint, "source": manifest.source.fingerprint},
        "layers": list(index.layers), "pooling": "mean", "q": 0.05, "seed": 0, "templates": ["{}"],
        "test_images": 9, "choosing_images": 9,
    }  # fmt: skip
    return FeatureNames(pd.DataFrame(rows, columns=["layer", "feature", "pooling", *NAME_COLUMNS]), settings)


@pytest.fixture(scope="module")
def indices(make_index, make_source):
    source, acts = make_source(), plant()
    return [make_index(acts, spec=spec, layers=LAYERS, k=K, dead=DEAD, source=source) for spec in SPECS]


@pytest.fixture(scope="module")
def scores(indices):
    return [score_features(index, k=3, draws=2000, visual=None) for index in indices]


@pytest.fixture(scope="module")
def report(indices, scores, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("report") / "out"
    return write_report(out, indices, scores=scores, names=[name_features(indices[0])]).parent


@pytest.fixture(scope="module")
def table(report, read_data, scores) -> pd.DataFrame:
    """What the report was made from, a row a feature in its order, with the key of its links."""
    keys = [model["key"] for model in read_data(report, "report")["models"]]
    frames = [one.frame.assign(model=key) for one, key in zip(scores, keys, strict=True)]
    frame = pd.concat(frames, ignore_index=True)
    return frame.assign(key=frame["model"] + "/" + frame["layer"] + ":" + frame["feature"].astype(str))


@pytest.fixture
def explorer(visit, report):
    return lambda fragment="": visit(report / "explorer.html", fragment, ready="#grid[aria-busy=false]")


def shown(page: Page) -> list[str]:
    """The keys of the cards, in reading order, when all are there."""
    page.wait_for_selector("#grid[aria-busy=false]")
    return page.locator("#grid .card").evaluate_all("cards => cards.map(card => card.dataset.key)")


def state(page: Page) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(page.evaluate("location.hash")[1:]).items()}


def top_labels(indices, key: str) -> set[str]:
    model, _, feature = key.partition("/")
    index = indices[0 if "clip" in model else 1]
    return {id_.split("/")[0] for id_ in index.top(feature, K).ids}


def assert_starts(page: Page, keys: list[str]) -> None:
    found = shown(page)
    assert 0 < len(found) <= len(keys)
    assert found == keys[: len(found)]


def test_all_features_are_there_with_the_best_evidence_first(explorer, table):
    page = explorer()
    expect(page.locator("#shown")).to_have_text("160 features")
    assert_starts(page, table.sort_values("llr", ascending=False, kind="stable")["key"].tolist())


@pytest.mark.parametrize("text", ["guitar", "GUITAR", "guit", "giutar", "huitar", "guittar", "guita"])
def test_search_forgives_an_error_and_an_unfinished_word(explorer, table, indices, text):
    page = explorer()
    page.locator("#q").fill(text)
    expected = {key for key in table["key"] if "guitar" in top_labels(indices, key)}
    expected |= set(table["key"][table["concept"] == "guitar"])
    page.wait_for_function(
        "count => document.getElementById('shown').textContent.startsWith(count)", arg=f"{len(expected)} "
    )
    assert set(shown(page)) <= expected
    by_concept = set(table["key"][table["concept"] == "guitar"])
    assert set(shown(page)[: len(by_concept)]) == by_concept, "features of the concept come first"


def test_search_looks_at_names_tags_ids_layers_and_addresses(explorer, table, indices):
    page = explorer()
    box, count = page.locator("#q"), page.locator("#shown")
    box.fill("castanet")
    assert shown(page) == [f"{table['model'][0]}/{layer}:0" for layer in LAYERS]
    box.fill("creme brulee")
    assert {key.rpartition(":")[2] for key in shown(page)} == {"12"}
    box.fill("death")
    listed = [key for key in shown(page) if top_labels(indices, key) & {"skull", "coffin"}]
    assert listed == shown(page) != []
    box.fill("radio wax png")  # an image's id
    page.wait_for_function("() => document.querySelectorAll('#grid .card').length > 0")
    assert all("radio" in top_labels(indices, key) for key in shown(page))
    box.fill("blocks.1 castanets")
    assert shown(page) == [f"{table['model'][0]}/{LAYERS[1]}:0"]
    box.fill(":7")
    assert sorted(shown(page)) == sorted(table["key"][table["feature"] == 7])
    box.fill(f"{LAYERS[1]}:7")
    assert len(shown(page)) == 2
    box.fill(table["key"][99])
    assert shown(page) == [table["key"][99]]
    box.fill("cation")  # not the end of "education"
    expect(count).to_have_text("0 of 160 features")
    expect(page.locator("#none")).to_contain_text("No feature fits “cation”")


def test_filters_narrow_and_their_counts_add_up(explorer, table):
    page = explorer()
    filters = page.locator("#filters")
    for verdict, rows in table.groupby("verdict"):
        row = filters.locator(".option", has_text=verdict)
        expect(row.locator(".of")).to_have_text(str(len(rows)))
    filters.get_by_label("object").check()
    objects = table[table["verdict"] == "object"]
    assert len(objects) > 10
    expect(page.locator("#shown")).to_have_text(f"{len(objects)} of 160 features")
    layer = filters.locator(".option", has_text=LAYERS[1])
    expect(layer.locator(".of")).to_have_text(str((objects["layer"] == LAYERS[1]).sum()))
    layer.get_by_role("checkbox").check()
    filters.get_by_label("mini:clip").check()
    kept = objects[(objects["layer"] == LAYERS[1]) & (objects["model"] == table["model"][0])]
    assert set(shown(page)) == set(kept["key"])
    page.get_by_role("button", name="object").click()  # a chip takes its filter away
    assert page.locator("#shown").inner_text() == "40 of 160 features"
    page.get_by_role("button", name="Clear all").click()
    expect(page.locator("#shown")).to_have_text("160 features")


def test_filters_by_numbers_concept_tag_and_name(explorer, table, indices):
    page = explorer()
    count = page.locator("#shown")

    def fill(label: str, text: str, rows: int) -> None:
        page.get_by_label(label, exact=True).fill(text)
        page.get_by_label(label, exact=True).press("Tab")
        expect(count).to_have_text(f"{rows} of 160 features")
        page.get_by_label(label, exact=True).fill("")
        page.get_by_label(label, exact=True).press("Tab")

    fill("q at most", "0.05", int((table["q"] <= 0.05).sum()))
    fill("Fires at least, percent of the images", "50", int((table["firing_rate"] >= 0.5).sum()))
    fill("Fires at most, percent of the images", "50", int((table["firing_rate"] <= 0.5).sum()))
    page.get_by_label("has a name").check()
    expect(count).to_have_text("6 of 160 features")
    page.get_by_label("has a name").uncheck()
    page.get_by_label("Concept", exact=True).fill("GUITAR")
    page.get_by_label("Concept", exact=True).press("Tab")
    assert state(page)["concept"] == "guitar"
    assert set(table["key"][table["concept"] == "guitar"]) <= set(shown(page))
    page.get_by_label("Concept", exact=True).fill("")
    page.get_by_label("Tag", exact=True).fill("death")
    page.get_by_label("Tag", exact=True).press("Tab")
    found = shown(page)
    assert found
    for key in found:
        index = indices[0 if "clip" in key else 1]
        assert sum(id_.split("/")[0] in ("skull", "coffin") for id_ in index.top(key.partition("/")[2], K).ids) >= 2


@pytest.mark.parametrize(("column", "up"), [("q", True), ("llr", False), ("firing_rate", False), ("max", False)])
def test_sort_by_any_number_both_ways(explorer, table, indices, column, up):
    if column == "max":
        table = table.assign(max=np.concatenate([index.stats(layer)["max"] for index in indices for layer in LAYERS]))
    page = explorer()
    page.locator("#sort").select_option(column)
    assert_starts(page, table.sort_values(column, ascending=up, kind="stable", na_position="last")["key"].tolist())
    page.locator("#turn").click()
    assert_starts(page, table.sort_values(column, ascending=not up, kind="stable", na_position="last")["key"].tolist())
    page.locator("#sort").select_option("number")
    assert_starts(page, table["key"].tolist())


def test_only_the_cards_near_the_window_exist_and_all_come_by(explorer, table):
    page = explorer("#sort=number")
    assert len(shown(page)) < 60
    seen = set(shown(page))
    for _ in range(40):
        page.mouse.wheel(0, 700)
        page.wait_for_timeout(30)
        seen |= set(shown(page))
        assert page.locator("#grid .card").count() < 60
    assert seen == set(table["key"])


def test_the_keyboard_moves_selects_opens_and_searches(explorer, visit, report):
    page = explorer()
    keys = shown(page)
    columns = page.locator("#grid .card").evaluate_all(
        "cards => new Set(cards.map(card => card.getBoundingClientRect().x)).size"
    )
    active = page.locator("#grid .card.active")
    for key, position in [
        ("j", 0),
        ("j", 1),
        ("k", 0),
        ("ArrowDown", columns),
        ("ArrowRight", columns + 1),
        ("ArrowUp", 1),
    ]:
        page.keyboard.press(key)
        assert active.get_attribute("data-key") == keys[position]
        assert page.evaluate("document.activeElement.dataset.key") == keys[position]
    for _ in range(30):
        page.keyboard.press("ArrowDown")
    expect(active).to_be_in_viewport()
    page.keyboard.press("x")
    expect(active.get_by_role("checkbox")).to_be_checked()
    page.keyboard.press("?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("next feature")
    page.keyboard.press("j")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.type("skull?x")
    assert page.locator("#q").input_value() == "skull?x"
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    assert page.locator("#q").input_value() == ""
    page.keyboard.press("j")
    first = active.get_attribute("data-key")
    page.keyboard.press("Enter")
    page.wait_for_selector("#feature[aria-busy=false]")
    assert page.evaluate("decodeURIComponent(location.hash.slice(1))") == first


def test_the_address_restores_the_view(explorer, visit, report):
    page = explorer()
    page.locator("#q").fill("music & <b>")
    page.locator("#q").fill("gui")
    page.locator("#filters").get_by_label("object").check()
    page.locator("#sort").select_option("max")
    page.locator("#turn").click()
    page.locator("#turn").press("j")
    page.keyboard.press("j")
    again = explorer(page.evaluate("location.hash"))
    assert again.locator("#q").input_value() == "gui"
    assert again.locator("#sort").input_value() == "max"
    assert again.locator("#filters").get_by_label("object").is_checked()
    assert shown(again) == shown(page)
    assert again.locator(".card.active").get_attribute("data-key") == shown(page)[1]


def test_back_and_forward_go_through_the_views(explorer):
    page = explorer()
    all_of_them = shown(page)
    page.locator("#filters").get_by_label("object").check()
    objects = shown(page)
    page.locator("#q").press_sequentially("gui")
    found = shown(page)
    assert len({str(all_of_them), str(objects), str(found)}) == 3
    page.go_back()
    expect(page.locator("#q")).to_have_value("")
    assert shown(page) == objects
    page.go_back()
    expect(page.locator("#shown")).to_have_text("160 features")
    page.go_forward()
    page.go_forward()
    assert shown(page) == found


def test_the_position_is_in_the_address_and_comes_back_from_a_feature(explorer):
    page = explorer("#sort=number")
    page.evaluate("window.scrollTo(0, 2500)")
    page.wait_for_function("() => location.hash.includes('at=')")
    first = page.evaluate("Math.min(...[...document.querySelectorAll('.card')].map(card => card.position))")
    card = page.locator("#grid .card").nth(12)
    key = card.get_attribute("data-key")
    card.locator(".feature-id").click(position={"x": 5, "y": 60})
    page.wait_for_selector("#feature[aria-busy=false]")
    page.go_back()
    page.wait_for_selector("#grid[aria-busy=false]")
    expect(page.locator(f'.card[data-key="{key}"]')).to_be_in_viewport()
    assert page.evaluate("Math.min(...[...document.querySelectorAll('.card')].map(card => card.position))") >= first - 8


def test_a_selection_stays_with_its_notes_and_is_exported(explorer, table, scores, report):
    page = explorer("#sort=number&q=:7")
    for box in page.locator("#grid").get_by_role("checkbox").all():
        box.check()
    expect(page.locator(".selection-bar")).to_contain_text("4 features selected")
    page.get_by_role("button", name="Notes").click()
    page.get_by_role("dialog").locator("textarea").first.fill('@SUM(1), "quoted"\nsecond line')
    page.get_by_role("button", name="Close").click()

    again = explorer("#selected=1&sort=number")
    assert shown(again) == table["key"][table["feature"] == 7].tolist()
    with again.expect_download() as download:
        again.get_by_role("button", name="Export CSV").click()
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_bytes().decode(), newline="")))
    assert [row["key"] for row in rows] == shown(again)
    known = table[table["feature"] == 7]
    for row, (_, score) in zip(rows, known.iterrows(), strict=True):
        assert (row["layer"], int(row["index"]), row["verdict"]) == (score["layer"], 7, score["verdict"])
        assert row["concept"] == score["concept"]
        for column in ("llr", "p", "q", "firing_rate"):
            assert np.float32(float(row[column])) == np.float32(score[column]), column
    assert rows[0]["note"] == '\'@SUM(1), "quoted"\nsecond line'
    assert [row["name"] for row in rows] == ["'=2+3", "'=2+3", "", ""]
    with again.expect_download() as download:
        again.get_by_role("button", name="Export JSON").click()
    data = json.loads(Path(download.value.path()).read_text())
    assert [row["key"] for row in data["features"]] == shown(again)
    assert data["features"][0]["note"] == '@SUM(1), "quoted"\nsecond line'
    assert data["features"][0]["name"] == "=2+3"
    assert [model["spec"] for model in data["models"]] == list(SPECS)
    link = again.context.new_page()
    link.goto(data["features"][0]["link"])
    expect(link.locator(".feature-key")).to_have_text(f"{LAYERS[0]}:7")
    again.get_by_role("button", name="Clear").click()
    expect(again.locator(".selection-bar")).to_be_hidden()


def test_without_storage_a_selection_lasts_as_long_as_the_page(explorer, context):
    context.add_init_script(
        "Object.defineProperty(window, 'localStorage', { get() { throw new Error('no storage'); } });"
    )
    page = explorer()
    page.locator("#grid").get_by_role("checkbox").first.check()
    expect(page.locator(".selection-bar")).to_contain_text("1 feature selected")
    page.get_by_role("button", name="Clear", exact=True).click()
    expect(page.locator(".selection-bar")).to_be_hidden()


def test_a_card_shows_what_the_catalogue_says(explorer, table, indices):
    row = table.iloc[2]
    page = explorer("#q=" + row["key"].replace("/", "%2F").replace(":", "%3A"))
    card = page.locator("#grid .card")
    expect(card.locator(".verdict")).to_contain_text(row["verdict"])
    expect(card.locator(".card-title")).to_have_text(row["concept"])
    expect(card.locator(".hits")).to_have_text(f"{row['hits']}/3")
    assert card.locator(".tile").count() == 6
    label = card.locator(".card-images").get_attribute("aria-label")
    assert set(label.removeprefix("Top images: ").split(", ")) == top_labels(indices, row["key"])
    assert card.locator(".tile").first.evaluate("tile => tile.style.backgroundImage").count("thumbs/") == 1


def test_a_phone_folds_the_filters_away(explorer, context):
    page = explorer()
    page.set_viewport_size({"width": 390, "height": 800})
    expect(page.locator("#filters")).to_be_hidden()
    page.get_by_role("button", name="Filters").click()
    page.locator("#filters").get_by_label("object").check()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert (
        page.evaluate(
            "new Set([...document.querySelectorAll('.card')].map(card => card.getBoundingClientRect().x)).size"
        )
        == 1
    )


def test_features_that_cannot_be_tested_are_not_filed_as_unresolved(make_index, tmp_path, visit):
    acts_nf = plant()[:, :6]
    acts_nf[:, 3] = np.arange(18) % 2  # nine images share the end of its list of three
    index = make_index(acts_nf, dead=(5,))
    scores = score_features(index, k=3, draws=2000, visual=None)
    assert scores.frame.loc[3, ["verdict", "tested"]].tolist() == ["unresolved", False]
    counts = scores.summary().set_index("verdict")["count"]
    page = visit(write_report(tmp_path / "out", [index], scores=[scores]).parent / "explorer.html", "", ".card")
    for verdict in ("unresolved", "untested", "dead", "object"):
        row = page.locator("#filters .option", has_text=verdict)
        assert row.locator(".of").text_content() == str(counts[verdict]), verdict
    page.locator("#filters .option", has_text="untested").locator("input").check()
    expect(page.locator("#shown")).to_contain_text("1 of 6")
    assert shown(page) == ["clip/blocks.0.mlp.hidden:3"]
