import os
import random

import pytest

from conceptprobe.images import SourceError, UnreadableImageError, load_images


def test_class_folders_give_labels(tmp_path, write_images):
    written = write_images(tmp_path, ["dog/b.png", "cat/a.png", "cat/wild/lynx.PNG", "top.png"])
    source = load_images(f"folder:{tmp_path}")
    assert source.table.to_pydict() == {
        "id": ["cat/a.png", "cat/wild/lynx.PNG", "dog/b.png", "top.png"],
        "label": ["cat", "cat/wild", "dog", None],
    }
    for row, name in enumerate(source.table["id"].to_pylist()):
        assert source.reader.read(row) == written[name]
        assert source.row_of(name) == row


def test_flat_folder_has_no_labels(tmp_path, write_images):
    write_images(tmp_path, ["b.png", "a.png"])
    assert load_images(f"folder:{tmp_path}").table.to_pydict() == {"id": ["a.png", "b.png"]}


def test_hidden_and_foreign_files_do_not_count(tmp_path, write_images):
    write_images(tmp_path, ["a.png", ".hidden.png", ".cache/b.png", "notes.txt", "png", "archive.png.zip"])
    assert load_images(f"folder:{tmp_path}").table["id"].to_pylist() == ["a.png"]


def test_order_of_the_listing_does_not_matter(tmp_path, write_images, monkeypatch):
    write_images(tmp_path, [f"{name}/{i}.png" for name in "ecbda" for i in range(12)])
    reference = load_images(f"folder:{tmp_path}")
    assert reference.table["id"].to_pylist() == sorted(reference.table["id"].to_pylist())
    scandir, generator = os.scandir, random.Random(0)

    class Shuffled:
        def __init__(self, path):
            self.entries = list(scandir(path))
            generator.shuffle(self.entries)

        def __enter__(self):
            return iter(self.entries)

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(os, "scandir", Shuffled)
    for _ in range(5):
        shuffled = load_images(f"folder:{tmp_path}")
        assert shuffled.table.equals(reference.table)
        assert shuffled.fingerprint == reference.fingerprint
        assert [shuffled.reader.read(i) for i in range(60)] == [reference.reader.read(i) for i in range(60)]


def test_links_are_followed_but_not_in_circles(tmp_path, write_images):
    write_images(tmp_path / "store", ["x.png"])
    write_images(tmp_path / "set", ["cat/a.png"])
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "store")
    (tmp_path / "set" / "cat" / "up").symlink_to(tmp_path / "set")
    assert load_images(f"folder:{tmp_path / 'set'}").table["id"].to_pylist() == ["cat/a.png", "dog/x.png"]


def test_names_that_are_not_utf8(tmp_path, encode, photo):
    data = encode(photo, "PNG")
    with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb") as file:
        file.write(data)
    source = load_images(f"folder:{tmp_path}")
    assert source.table["id"].to_pylist() == ["caf\\xe9.png"]
    assert source.reader.read(0) == data


def test_source_outlives_a_change_of_working_directory(tmp_path, write_images, monkeypatch):
    write_images(tmp_path / "set", ["a.png"])
    monkeypatch.chdir(tmp_path)
    source = load_images("folder:set")
    monkeypatch.chdir("/")
    assert source.load(0).image.size == (4, 3)


def test_bad_images_are_listed_and_say_why(tmp_path, write_images):
    write_images(tmp_path, ["a.png", "gone.png"])
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nowhere")
    (tmp_path / "html.jpg").write_text("<html>not found</html>")
    source = load_images(f"folder:{tmp_path}")
    (tmp_path / "gone.png").unlink()
    reasons = {}
    for row, name in enumerate(source.table["id"].to_pylist()):
        try:
            source.load(row)
        except UnreadableImageError as error:
            reasons[name] = str(error)
    assert reasons == {
        "dangling.png": "file is missing",
        "empty.png": "empty file",
        "gone.png": "file is missing",
        "html.jpg": "not an image",
    }
    assert len(source.fingerprint) == 64


def test_csv_sidecar(tmp_path, write_images):
    write_images(tmp_path, ["train/1.png", "train/2.png", "train/3.png"])
    (tmp_path / "metadata.csv").write_text(
        'file_name,label,text,tags,year,id\ntrain/2.png,007,"two,\nlines",dead| music |,1999,z\ntrain/1.png,,,,2001,y\n'
    )
    assert load_images(f"folder:{tmp_path}").table.to_pydict() == {
        "id": ["train/1.png", "train/2.png", "train/3.png"],
        "label": [None, "007", None],
        "tags": [[], ["dead", "music"], []],
        "year": [2001, 1999, None],
        "caption": [None, "two,\nlines", None],
    }


def test_jsonl_sidecars_in_sub_folders(tmp_path, write_images):
    write_images(tmp_path, ["a/1.png", "b/1.png"])
    (tmp_path / "a" / "metadata.jsonl").write_text('{"file_name": "1.png", "tags": ["x", "y"], "caption": "one"}\n')
    (tmp_path / "b" / "metadata.jsonl").write_text('{"file_name": "1.png", "caption": "two"}\n')
    assert load_images(f"folder:{tmp_path}").table.to_pydict() == {
        "id": ["a/1.png", "b/1.png"],
        "label": ["a", "b"],
        "tags": [["x", "y"], []],
        "caption": ["one", "two"],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\na.png,x\n", "no column `file_name`"),
        ("file_name,label\nimages/a.png,x\n", "relative to the sidecar's folder"),
        ("file_name,label\na.png,x,y,z\n", "cannot be read as a table"),
        ("", "cannot be read as a table"),
        ("file_name,label\n", "none of the 0 file names"),
    ],
)
def test_bad_sidecars(tmp_path, write_images, text, message):
    write_images(tmp_path, ["a.png"])
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(SourceError, match=message):
        load_images(f"folder:{tmp_path}")


def test_missing_and_empty_folders(tmp_path):
    with pytest.raises(SourceError, match="no such folder"):
        load_images(f"folder:{tmp_path / 'nope'}")
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match="not a folder"):
        load_images(f"folder:{tmp_path / 'file'}")
    with pytest.raises(SourceError, match=r"no image under .*\.jpg"):
        load_images(f"folder:{tmp_path}")


def test_sidecars_that_do_not_fit_together(tmp_path, write_images):
    write_images(tmp_path, ["a/1.png", "b/2.png"])
    (tmp_path / "a" / "metadata.csv").write_text("file_name,score\n1.png,7\n")
    (tmp_path / "b" / "metadata.csv").write_text("file_name,score\n2.png,high\n")
    with pytest.raises(SourceError, match=r"a/metadata.csv, b/metadata.csv under .* differ in their columns: .*score"):
        load_images(f"folder:{tmp_path}")
