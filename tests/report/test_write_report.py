from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conceptprobe.errors import OutputError
from conceptprobe.indexing import open_index
from conceptprobe.report import ReportError, write_report
from conceptprobe.report.pictures.thumbnails import LARGE_TILE, shrink, write_sheet
from conceptprobe.report.scripts import write_data

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


def test_every_link_of_every_page_leads_to_a_file_of_the_report(make_index, make_source, tmp_path):
    source = make_source()
    indices = [
        make_index(RANDOM, layers=("a", "b/c"), source=source),
        make_index(-RANDOM, spec="mini:supervised", layers=("a",), source=source),
    ]
    index_html = write_report(tmp_path / "report", indices)
    assert index_html == tmp_path / "report" / "index.html"
    pages = sorted(page.name for page in (tmp_path / "report").glob("*.html"))
    assert pages == ["concept.html", "explorer.html", "feature.html", "index.html"]  # no contrast, nothing to compare
    for page in pages:
        found = Links((tmp_path / "report" / page).read_text())
        assert not found.inline
        for link in found.links:
            address = link.partition("#")[0]
            assert not address or (tmp_path / "report" / address).is_file(), (page, link)


def test_the_report_says_what_was_run(make_index, tmp_path, read_data):
    index = make_index(RANDOM, dead=(1, 5), bottom=2)
    write_report(tmp_path / "report", [index, make_index(RANDOM)], title="Squares & co")
    assert "Squares &amp; co" in (tmp_path / "report" / "index.html").read_text()
    report = read_data(tmp_path / "report", "report")
    first, second = report["models"]
    assert [first["key"], second["key"]] == ["clip", "clip-2"]
    assert [first["label"], second["label"]] == ["mini:clip", "mini:clip (2)"]
    assert first["fingerprint"] == index.manifest.model.fingerprint
    assert first["counts"] == {"listed": 18, "indexed": 18, "skipped": 0}
    (layer,) = first["layers"]
    assert (layer["dead"], layer["width"], layer["start"], layer["verdicts"]) == (2, 8, 0, None)
    assert second["layers"][0]["start"] == 8
    assert report["counts"]["features"] == 16


def test_every_tile_of_a_sheet_shows_its_image(make_index, image_folder, tmp_path, read_data):
    write_report(tmp_path / "report", [make_index(RANDOM)])
    images = read_data(tmp_path / "report", "images")
    ids = read_data(tmp_path / "report", "images/0")["id"]
    assert images["width"].tolist() == [255] * 18
    assert images["height"].tolist() == [round(255 * 30 / 40)] * 18
    for number, image_id in enumerate(ids):
        with Image.open(tmp_path / "report" / "thumbs" / f"{number // 16}.webp") as sheet:
            assert sheet.size == (160, 160)  # 4 x 4 tiles as large as the images' longer side
            row, column = divmod(number % 16, 4)
            shown = sheet.convert("RGB").getpixel((40 * column + 20, 40 * row + 20))
        with Image.open(image_folder / image_id) as original:
            assert np.abs(np.subtract(shown, original.getpixel((20, 15)))).max() < 12


def test_large_images_become_small_tiles(tmp_path):
    side = write_sheet({5: shrink(Image.new("RGB", (1200, 600), "red"), LARGE_TILE)}, tmp_path / "sheet.webp")
    assert side == LARGE_TILE
    with Image.open(tmp_path / "sheet.webp") as sheet:
        assert sheet.size == (4 * side, 4 * side)
        assert sheet.getpixel((side + side // 2, side + side // 2))[0] > 240
        assert sheet.getpixel((side + side // 2, side + 10))[3] == 0


def test_the_same_indices_give_the_same_bytes(make_index, tmp_path):
    indices = [make_index(RANDOM)]
    for name in ("one", "two"):
        write_report(tmp_path / name, indices)
    files = [path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) > 10
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_a_source_that_is_gone_leaves_placeholders_and_a_note(make_index, make_source, tmp_path, read_data):
    source = make_source()
    index = make_index(RANDOM, source=source)
    write_report(tmp_path / "report", [index])
    assert read_data(tmp_path / "report", "report")["missing"]["reasons"] == []
    Path(source.spec.removeprefix("table:")).write_bytes(b"")
    write_report(tmp_path / "report", [index], images="copy", maps=True)
    report = read_data(tmp_path / "report", "report")
    assert "the images cannot be opened" in report["missing"]["reasons"][0]
    assert source.spec in report["missing"]["reasons"][0]
    assert not report["has"]["maps"]
    assert any("has no activation maps" in caveat for caveat in report["caveats"])
    assert read_data(tmp_path / "report", "images")["width"].tolist() == [0] * 18
    assert read_data(tmp_path / "report", "images/0")["file"] == [None] * 18


def test_an_image_that_vanished_leaves_one_placeholder(make_index, make_source, tmp_path, read_data):
    index = make_index(RANDOM, source=make_source())
    images = index.images
    images.loc[1, "id"] = "cat/gone.png"
    images.to_parquet(index.path / "images.parquet")
    write_report(tmp_path / "report", [open_index(index.path)])
    (reason,) = read_data(tmp_path / "report", "report")["missing"]["reasons"]
    assert "cat/gone.png" in reason
    ids = read_data(tmp_path / "report", "images/0")["id"]
    shown = read_data(tmp_path / "report", "images")["width"] > 0
    assert [id_ for id_, own in zip(ids, shown, strict=True) if not own] == ["cat/gone.png"]


def test_top_images_are_copied_as_they_are_or_linked(make_index, image_folder, tmp_path, read_data):
    index = make_index(np.eye(18)[:, :4], k=1)
    top = set(index.images["id"][:4])
    for choice in ("copy", "link"):
        write_report(tmp_path / choice, [index], images=choice)
        assert read_data(tmp_path / choice, "report")["has"]["full_images"] == choice
        chunk = read_data(tmp_path / choice, "images/0")
        for id_, file in zip(chunk["id"], chunk["file"], strict=True):
            if id_ not in top:
                assert file is None
            elif choice == "copy":
                assert (tmp_path / choice / file).read_bytes() == (image_folder / id_).read_bytes()
            else:
                assert file == (image_folder / id_).as_uri()
    write_report(tmp_path / "thumbs", [index])
    assert read_data(tmp_path / "thumbs", "images/0")["file"] is None
    assert not (tmp_path / "thumbs" / "images").exists()


def test_a_folder_of_the_user_is_never_replaced(make_index, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ReportError, match="not a report"):
        write_report(tmp_path, [make_index(RANDOM)])
    with pytest.raises(OutputError, match="not a folder"):
        write_report(tmp_path / "notes.txt", [make_index(RANDOM)])
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_earlier_report_is_replaced_whole(make_index, tmp_path, read_data):
    write_report(tmp_path / "report", [make_index(RANDOM), make_index(RANDOM, spec="other")])
    assert (tmp_path / "report" / "data" / "features" / "1-0-0.js").exists()
    write_report(tmp_path / "report", [make_index(RANDOM, layers=("new",))])
    assert not (tmp_path / "report" / "data" / "features" / "1-0-0.js").exists()
    assert read_data(tmp_path / "report", "report")["models"][0]["layers"][0]["name"] == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_report_that_fails_leaves_what_was_there(make_index, tmp_path, monkeypatch):
    write_report(tmp_path / "report", [make_index(RANDOM)], title="first")
    monkeypatch.setattr("conceptprobe.report.write.write_pages", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_report(tmp_path / "report", [make_index(RANDOM)], title="second")
    assert "first" in (tmp_path / "report" / "index.html").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_impossible_reports_are_refused(make_index, tmp_path):
    with pytest.raises(ReportError, match="at least one index"):
        write_report(tmp_path / "report", [])
    with pytest.raises(ReportError, match=r"images is '.*': input should be 'thumbs', 'copy' or 'link'"):
        write_report(tmp_path / "report", [make_index(RANDOM)], images="all")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["</script><script>", "\u2028\u2029", "'\"\\", "\ud800", "<!--", "شعار\u202eabc"])
def test_scripts_are_ascii_and_hold_no_markup(tmp_path, text, read_data):
    write_data(tmp_path / "data", "a/b", [text])
    written = (tmp_path / "data" / "a" / "b.js").read_bytes()
    assert written.isascii()
    assert not set(b"<>&") & set(written)
    assert read_data(tmp_path, "a/b") == [text]
