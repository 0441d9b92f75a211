from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from conceptprobe.report import ReportError, write_report
from conceptprobe.report.scripts import write_script
from conceptprobe.report.thumbnails import write_sheet

RANDOM = np.random.default_rng(2).normal(size=(18, 8))


class Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.inline = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.links += [attributes[name] for name in ("href", "src") if name in attributes]
        self.inline += [name for name in attributes if name.startswith("on") or name == "style"]
        if tag == "script" and "src" not in attributes:
            self.inline.append(tag)


def test_every_link_of_every_page_leads_to_a_file_of_the_report(make_index, tmp_path):
    indices = [make_index(RANDOM, layers=("a", "b/c")), make_index(-RANDOM, spec="mini:supervised", layers=("a",))]
    index_html = write_report(tmp_path / "report", indices)
    assert index_html == tmp_path / "report" / "index.html"
    pages = [index_html, *(tmp_path / "report" / "layers").glob("*.html")]
    assert len(pages) == 3
    for page in pages:
        found = Links(page.read_text())
        assert not found.inline
        for link in found.links:
            assert link.startswith("#") or (page.parent / link).is_file(), (page, link)


def test_the_overview_says_what_was_run(make_index, tmp_path):
    text = write_report(tmp_path / "report", [make_index(RANDOM, dead=(1, 5))], title="Squares & co").read_text()
    for words in ("Squares &amp; co", "mini:clip", "0123456789ab<", "19 listed", "18 indexed", "1 skipped", "k = 18"):
        assert words in text
    assert "conceptprobe index build --model mini:clip --images" in text


def test_every_tile_of_a_sheet_shows_its_image(make_index, image_folder, tmp_path, read_script):
    write_report(tmp_path / "report", [make_index(RANDOM)])
    images = read_script(tmp_path / "report" / "data" / "images.js")
    assert images["missing"] == []
    assert len(images["id"]) == 18
    for number, image_id in enumerate(images["id"]):
        with Image.open(tmp_path / "report" / "thumbs" / f"{number // 16}.webp") as sheet:
            assert sheet.size == (160, 160)  # 4 x 4 tiles as large as the images' longer side
            row, column = divmod(number % 16, 4)
            shown = sheet.convert("RGB").getpixel((40 * column + 20, 40 * row + 20))
        with Image.open(image_folder / image_id) as original:
            assert np.abs(np.subtract(shown, original.getpixel((20, 15)))).max() < 12


def test_large_images_become_small_tiles(tmp_path):
    write_sheet({5: Image.new("RGB", (1200, 600), "red")}, tmp_path / "sheet.webp")
    with Image.open(tmp_path / "sheet.webp") as sheet:
        assert sheet.size == (384, 384)
        assert sheet.getpixel((96 + 48, 96 + 48))[0] > 240
        assert sheet.getpixel((96 + 48, 96 + 10))[3] == 0


def test_features_per_layer_cuts_by_number(make_index, tmp_path, read_script):
    write_report(tmp_path / "report", [make_index(RANDOM)], features_per_layer=3)
    layer = read_script(tmp_path / "report" / "data" / "000-blocks.0.mlp.hidden.js")
    assert [feature["feature"] for feature in layer["columns"][0]["features"]] == [0, 1, 2]


def test_the_same_indices_give_the_same_bytes(make_index, tmp_path):
    indices = [make_index(RANDOM)]
    for name in ("one", "two"):
        write_report(tmp_path / name, indices)
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) > 10
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_source_that_is_gone_leaves_placeholders_and_a_note(make_index, tmp_path, read_script):
    index = make_index(RANDOM, source_spec=f"folder:{tmp_path}/nowhere")
    text = write_report(tmp_path / "report", [index]).read_text()
    assert "18 images are shown as a placeholder" in text
    assert f"folder:{tmp_path}/nowhere" in text
    assert read_script(tmp_path / "report" / "data" / "images.js")["missing"] == list(range(18))


def test_an_image_that_vanished_leaves_one_placeholder(make_index, tmp_path, monkeypatch):
    index = make_index(RANDOM)
    index.images.loc[4, "id"] = "cat/gone.png"
    text = write_report(tmp_path / "report", [index]).read_text()
    assert "1 image is shown as a placeholder" in text
    assert "cat/gone.png" in text


def test_a_folder_of_the_user_is_never_replaced(make_index, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ReportError, match="not a report"):
        write_report(tmp_path, [make_index(RANDOM)])
    with pytest.raises(ReportError, match="not a folder"):
        write_report(tmp_path / "notes.txt", [make_index(RANDOM)])
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_earlier_report_is_replaced_whole(make_index, tmp_path):
    write_report(tmp_path / "report", [make_index(RANDOM, layers=("old",))])
    write_report(tmp_path / "report", [make_index(RANDOM, layers=("new",))])
    assert [path.name for path in (tmp_path / "report" / "layers").iterdir()] == ["000-new.html"]
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_report_that_fails_leaves_what_was_there(make_index, tmp_path, monkeypatch):
    write_report(tmp_path / "report", [make_index(RANDOM)], title="first")
    monkeypatch.setattr("conceptprobe.report.write.write_html", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(tmp_path / "report", [make_index(RANDOM)], title="second")
    assert "first" in (tmp_path / "report" / "index.html").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


@pytest.mark.parametrize(
    ("arguments", "message"), [({}, "at least one index"), ({"features_per_layer": 0}, "1 or more")]
)
def test_impossible_reports_are_refused(make_index, tmp_path, arguments, message):
    with pytest.raises(ReportError, match=message):
        write_report(tmp_path / "report", [make_index(RANDOM)] if arguments else [], **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["</script><script>", "\u2028\u2029", "'\"\\", "\ud800", "<!--", "شعار‮abc"])
def test_scripts_are_ascii_and_hold_no_markup(tmp_path, text, read_script):
    write_script(tmp_path / "x.js", "images", [text])
    written = (tmp_path / "x.js").read_bytes()
    assert written.isascii()
    assert not set(b"<>&") & set(written)
    assert read_script(tmp_path / "x.js") == [text]
