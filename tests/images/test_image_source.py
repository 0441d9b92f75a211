import gc
import pickle
import tracemalloc
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from conceptprobe.errors import ConceptProbeError
from conceptprobe.images import ImageSource, SourceError, UnknownImageError, UnreadableImageError, load_images
from conceptprobe.images.readers import TarReader

unique_ids = st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True, max_size=30)


def make_source(ids, background="white"):
    """A source whose row i has i bytes, so that the reader shows where a row went."""
    places = np.arange(len(ids), dtype=np.int64)
    reader = TarReader(("nowhere",), np.zeros(len(ids), np.int32), places, places)
    return ImageSource("made:up", pa.table({"id": pa.array(ids, pa.string())}), reader, background)


@settings(deadline=None)  # the first example waits for arrow's functions to be loaded
@given(unique_ids)
def test_order_is_by_code_point_and_the_reader_follows(ids):
    source = make_source(ids)
    assert source.table["id"].to_pylist() == sorted(ids)
    assert source.reader.size.tolist() == [ids.index(id) for id in sorted(ids)]


@given(unique_ids, st.text(st.characters(exclude_categories=["Cs"])))
def test_row_of_finds_every_id_and_no_other(ids, other):
    source = make_source(ids)
    assert [source.row_of(id) for id in sorted(ids)] == list(range(len(ids)))
    if other not in ids:
        with pytest.raises(UnknownImageError, match="nearest ids"):
            source.row_of(other)


@given(unique_ids, st.data())
def test_subset_keeps_the_order_and_is_the_source_of_those_images(ids, data):
    source = make_source(ids)
    rows = data.draw(st.lists(st.integers(0, len(ids) - 1), unique=True)) if ids else []
    part = source.subset(rows)
    assert part.table["id"].to_pylist() == [sorted(ids)[row] for row in sorted(rows)]
    assert part.reader.size.tolist() == [source.reader.size[row] for row in sorted(rows)]
    assert (part.fingerprint == source.fingerprint) == (len(rows) == len(ids))


@given(st.permutations(["a", "b", "c", "d"]))
def test_repeated_ids_are_named(order):
    with pytest.raises(SourceError, match="2 rows repeat the id of another row, for example 'a', 'c'"):
        make_source([*order, "c", "a"])


def test_rows_outside():
    for row in (-1, 2):
        with pytest.raises(IndexError, match="of 2 images"):
            make_source(["a", "b"]).load(row)


@pytest.fixture
def folder(tmp_path, write_images):
    write_images(tmp_path, ["cat/a.png", "cat/b.png", "dog/c.png"])
    return tmp_path


def test_fingerprint_is_stable(folder, tmp_path_factory):
    fingerprint = load_images(f"folder:{folder}").fingerprint
    moved = tmp_path_factory.mktemp("elsewhere") / "set"
    folder.rename(moved)
    again = load_images(f"folder:{moved}", background="#FFFFFF")
    assert again.fingerprint == fingerprint
    assert pickle.loads(pickle.dumps(again)).fingerprint == fingerprint


def test_fingerprint_does_not_depend_on_chunks():
    ids = [f"{i:06}" for i in range(70_000)]
    whole = make_source(ids)
    chunked = pa.concat_tables([whole.table.slice(0, 12_345), whole.table.slice(12_345)])
    assert ImageSource("made:up", chunked, whole.reader).fingerprint == whole.fingerprint


def test_fingerprint_sees_every_change_but_one_of_equal_size(folder):
    def fingerprint(background="white"):
        return load_images(f"folder:{folder}", background=background).fingerprint

    seen = [fingerprint(), fingerprint("black")]
    data = (folder / "cat" / "a.png").read_bytes()
    (folder / "cat" / "a.png").write_bytes(data + b"\0")
    seen.append(fingerprint())
    (folder / "metadata.csv").write_text("file_name,caption\ncat/a.png,a cat\n")
    seen.append(fingerprint())
    (folder / "cat" / "b.png").rename(folder / "cat" / "bb.png")
    seen.append(fingerprint())
    (folder / "cat" / "bb.png").unlink()
    seen.append(fingerprint())
    assert len(set(seen)) == len(seen)


class Loaded(torch.utils.data.Dataset):
    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def __getitem__(self, row):
        try:
            loaded = self.source.load(row)
        except UnreadableImageError as error:
            return str(error)
        return f"{loaded.content_hash} {loaded.image.tobytes().hex()}"


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_loader_workers_read_the_same(folder, context):
    (folder / "cat" / "bad.png").write_bytes(b"no image")
    emoji = load_images("mini:emoji/noto")
    for source in (load_images(f"folder:{folder}"), emoji.subset(range(40))):
        loader = torch.utils.data.DataLoader(
            Loaded(source), batch_size=None, num_workers=1, multiprocessing_context=context
        )
        assert list(loader) == list(Loaded(source))


@pytest.mark.parametrize("family", ["folder", "zip", "hf"])
def test_a_listing_keeps_no_python_object_an_image(tmp_path, family):
    count = 5000
    names = [f"{i % 7}/{i:06}.png" for i in range(count)]
    spec = f"folder:{tmp_path}"
    if family == "folder":
        for folder in range(7):
            (tmp_path / str(folder)).mkdir()
        for name in names:
            (tmp_path / name).touch()
    elif family == "zip":
        with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
            for name in names:
                archive.writestr(name, b"")
        spec += "/x.zip"
    else:
        pq.write_table(pa.table({"image": [b""] * count, "label": names}), tmp_path / "x.parquet", row_group_size=100)
        spec = f"hf:{tmp_path}"
    load_images(spec)  # what is imported and cached at the first call
    tracemalloc.start()
    try:
        source = load_images(spec)
        gc.collect()
        kept = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(source) == count
    assert kept < 45 * count  # the smallest text takes 49 bytes; arrow's own memory is not counted, numpy's is


def test_errors_survive_pickling():
    error = pickle.loads(pickle.dumps(UnreadableImageError("truncated")))
    assert str(error) == "truncated"
    assert isinstance(error, ConceptProbeError)


def test_repr(folder):
    assert repr(load_images(f"folder:{folder}")) == f"ImageSource('folder:{folder}', 3 images, columns: id, label)"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("fodler:x", "did you mean folder:x"),
        ("/data/images", "a folder is written folder:/data/images"),
        ("folder:", "nothing follows 'folder'"),
        ("folder", "nothing follows 'folder'"),
        ("", "use mini:emoji, folder:PATH, wds:PATTERN, hf:PATH#SPLIT or table:FILE"),
    ],
)
def test_specs_that_are_none(spec, message):
    with pytest.raises(SourceError, match=message):
        load_images(spec)


def test_bad_background_is_an_error_before_work(folder):
    with pytest.raises(SourceError, match="'whiet' is not a colour"):
        load_images(f"folder:{folder}", background="whiet")
