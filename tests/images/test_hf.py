import io
import json
import multiprocessing
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from conceptprobe.images import SourceError, UnreadableImageError, load_images
from conceptprobe.images import parquet as parquet_module
from conceptprobe.images.readers import DatasetsReader

IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
FEATURES = {"image": {"_type": "Image"}, "label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}


@pytest.fixture
def png(encode):
    return lambda i: encode(Image.new("RGB", (4, 3), (i % 256, 255 - i % 256, i // 256)), "PNG")


@pytest.fixture
def write_parquet(png):
    def write(path, numbers, *, features=FEATURES, rows=3, column="image", **columns):
        """A file as Hugging Face writes it: a struct of bytes and path, and what its columns are in the metadata."""
        images = [{"bytes": png(i), "path": f"{i}.png"} for i in numbers]
        table = pa.table({column: pa.array(images, IMAGE), **columns})
        if features:
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path, row_group_size=rows)
        return path

    return write


def test_a_file_as_hugging_face_writes_it(tmp_path, write_parquet, png):
    path = write_parquet(
        tmp_path / "train.parquet", range(7), label=pa.array([0, 1, -1, 0, 1, None, 2]), text=list("abcdefg")
    )
    source = load_images(f"hf:{path}")
    assert source.table.to_pydict() == {
        "label": ["cat", "dog", None, "cat", "dog", None, None],
        "caption": list("abcdefg"),
        "id": [f"train.parquet:{row:09d}" for row in range(7)],
    }
    assert [source.reader.read(row) for row in range(7)] == [png(i) for i in range(7)]
    assert source.load(5).image.getpixel((0, 0)) == (5, 250, 0)


def test_columns_of_other_kinds(tmp_path, png):
    table = pa.table(
        {
            "img": [png(3), png(4)],  # raw bytes, nothing noted about them
            "fine": pa.array([1, 0]),
            "caption": [["one", "two"], ["three"]],
            "tags": ["a|b", None],
            "objects": [{"box": [1, 2]}, None],
            "feature": [b"blob", b"blob"],
            "id": [20, 10],
        }
    )
    features = {"fine": {"names": ["x", "y"], "_type": "ClassLabel"}}
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "t.parquet")
    source = load_images(f"hf:{tmp_path / 't.parquet'}")
    assert source.table.to_pydict() == {
        "label": ["x", "y"],
        "caption": ["three", "one\ntwo"],
        "tags": [[], ["a", "b"]],
        "id": ["10", "20"],
    }
    assert [source.reader.read(row) for row in range(2)] == [png(4), png(3)]


def test_splits_are_told_by_folders_and_names(tmp_path, write_parquet):
    write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", range(3))
    write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", range(3, 5))
    write_parquet(tmp_path / "data" / "test-00000-of-00001-abcdef01.parquet", [9])
    write_parquet(tmp_path / "other" / "validation" / "0000.parquet", [10])
    assert load_images(f"hf:{tmp_path}#train").table["id"].to_pylist() == [
        f"train-0000{file}-of-00002.parquet:00000000{row}" for file, row in [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    ]
    assert len(load_images(f"hf:{tmp_path}#test")) == 1
    assert len(load_images(f"hf:{tmp_path}#validation")) == 1
    assert len(load_images(f"hf:{tmp_path}/data/t*.parquet")) == 6
    ids = load_images(f"hf:{tmp_path}").table["id"].to_pylist()
    assert ids[0] == "data/test-00000-of-00001-abcdef01.parquet:000000000"
    assert ids[-1] == "other/validation/0000.parquet:000000000"
    with pytest.raises(
        SourceError, match=r"no parquet file of that split .* names hold 0000, data, other, test, train"
    ):
        load_images(f"hf:{tmp_path}#val")


def test_fingerprint_and_place(tmp_path, write_parquet, png):
    path = write_parquet(tmp_path / "a" / "x.parquet", range(9))
    source = load_images(f"hf:{path}")
    elsewhere = write_parquet(tmp_path / "b" / "x.parquet", range(9))
    assert load_images(f"hf:{elsewhere}").fingerprint == source.fingerprint
    assert source.subset(range(8)).fingerprint != source.fingerprint
    images = [{"bytes": png(i) + b"\0" * (i == 4), "path": f"{i}.png"} for i in range(9)]
    table = pa.table({"image": pa.array(images, IMAGE)}).replace_schema_metadata(pq.read_schema(path).metadata)
    pq.write_table(table, path, row_group_size=3)
    assert load_images(f"hf:{path}").fingerprint != source.fingerprint


@pytest.mark.parametrize("step", [1, 1000, 64 << 20])  # bytes: a row at once, some rows, the whole row group
def test_any_order_of_reading_gives_the_same(tmp_path, write_parquet, png, monkeypatch, step):
    monkeypatch.setattr(parquet_module, "STEP", step)
    path = write_parquet(tmp_path / "x.parquet", range(40), rows=16)
    source = load_images(f"hf:{path}")
    for row in [*range(40), *range(39, -1, -1), *np.random.default_rng(0).permutation(40)]:
        assert source.reader.read(row) == png(row)
    some = source.subset([31, 5, 17])
    assert [some.reader.read(row) for row in range(3)] == [png(5), png(17), png(31)]


def test_rows_in_order_unpack_each_row_group_once(tmp_path, write_parquet, monkeypatch):
    source = load_images(f"hf:{write_parquet(tmp_path / 'x.parquet', range(40), rows=16)}")
    opened = []
    original = pq.ParquetFile
    monkeypatch.setattr(parquet_module.pq, "ParquetFile", lambda *a, **k: opened.append(1) or original(*a, **k))
    for row in range(40):
        source.reader.read(row)
    assert len(opened) == 3


def test_a_reader_in_use_can_be_sent_to_a_process(tmp_path, write_parquet, png):
    source = load_images(f"hf:{write_parquet(tmp_path / 'x.parquet', range(10))}")
    source.reader.read(5)
    sent = pickle.loads(pickle.dumps(source))
    assert [sent.reader.read(row) for row in (6, 5, 9)] == [png(6), png(5), png(9)]


def test_bad_rows_and_a_vanished_file(tmp_path, png):
    images = [{"bytes": data} for data in (b"", png(1)[:50], b"<html>", None, png(2))]
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": pa.array([*images, None], IMAGE)}), path, row_group_size=1)
    source = load_images(f"hf:{path}")
    for row, reason in enumerate(("empty file", "truncated", "not an image", "no image in this row")):
        with pytest.raises(UnreadableImageError, match=reason):
            source.load(row)
    assert source.load(4).image.size == (4, 3)
    with pytest.raises(UnreadableImageError, match="no image in this row"):
        source.load(5)
    path.unlink()
    with pytest.raises(UnreadableImageError, match="file is missing"):
        source.load(0)


def test_damaged_pages_are_bad_images_and_others_are_not(tmp_path, write_parquet, png):
    path = write_parquet(tmp_path / "x.parquet", range(9))
    source = load_images(f"hf:{path}")
    about = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = about.dictionary_page_offset or about.data_page_offset
    data[start : start + about.total_compressed_size] = b"\xff" * about.total_compressed_size
    path.write_bytes(data)
    for row in range(9):
        if 3 <= row < 6:
            with pytest.raises(UnreadableImageError, match=r"^parquet: "):
                source.load(row)
        else:
            assert source.reader.read(row) == png(row)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"path": ["a.png"]}, "no column of images, only path.*for paths of files use table:"),
        ({"feature": [b"x"]}, "no column of images, only feature"),
    ],
)
def test_parquet_without_images(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=message):
        load_images(f"hf:{tmp_path / 'x.parquet'}")


def test_files_that_do_not_fit_together(tmp_path, write_parquet):
    write_parquet(tmp_path / "a.parquet", [1])
    write_parquet(tmp_path / "b.parquet", [2], column="picture")
    with pytest.raises(SourceError, match=r"b\.parquet has no column 'image\.bytes'"):
        load_images(f"hf:{tmp_path}")
    write_parquet(tmp_path / "b.parquet", [2], label=["x"])
    write_parquet(tmp_path / "a.parquet", [1], label=[[1]])
    with pytest.raises(SourceError, match="differ in their columns"):
        load_images(f"hf:{tmp_path}")


def test_what_is_no_source(tmp_path):
    (tmp_path / "x.parquet").write_text("x")
    with pytest.raises(SourceError, match="cannot be read as parquet"):
        load_images(f"hf:{tmp_path / 'x.parquet'}")
    with pytest.raises(SourceError, match="no such file or folder"):
        load_images(f"hf:{tmp_path / 'nope' / 'x'}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="no parquet file under"):
        load_images(f"hf:{tmp_path / 'empty'}")
    pq.write_table(pa.table({"image": pa.array([], IMAGE)}), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match="no row in 1 parquet files"):
        load_images(f"hf:{tmp_path / 'x.parquet'}")


def test_images_in_a_table_are_pointed_here(tmp_path, write_parquet):
    path = write_parquet(tmp_path / "x.parquet", range(3))
    with pytest.raises(SourceError, match=f"must hold paths, not struct.*hf:{path}"):
        load_images(f"table:{path}")


def test_without_the_datasets_library(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SourceError, match=r"pip install 'conceptprobe\[hf\]', or give parquet files"):
        load_images("hf:cifar10#train")
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(SourceError, match=r"conceptprobe\[hf\]"):
        load_images(f"hf:{tmp_path}")


@pytest.fixture
def datasets(monkeypatch):
    library = pytest.importorskip("datasets")
    monkeypatch.setattr(library.config, "HF_HUB_OFFLINE", True)
    return library


@pytest.fixture
def saved(tmp_path, datasets):
    """Six images and their classes, of which the saved data set holds rows 5, 1 and 3."""

    def picture(i):
        return Image.new("RGB", (4, 3), (i, 255 - i, 7))

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])})
    rows = {"image": [picture(i) for i in range(6)], "label": [i % 2 for i in range(6)]}
    dataset = datasets.Dataset.from_dict(rows, features=features).select([5, 1, 3])
    return dataset


def test_a_saved_data_set(tmp_path, saved, datasets):
    saved.save_to_disk(tmp_path / "one")
    source = load_images(f"hf:{tmp_path / 'one'}")
    assert source.table.to_pydict() == {"label": ["dog"] * 3, "id": [f"{row:09d}" for row in range(3)]}
    assert [source.load(row).image.getpixel((0, 0))[0] for row in range(3)] == [5, 1, 3]
    data = source.reader.read(0)
    assert Image.open(io.BytesIO(data)).format == "PNG"  # the stored bytes, not decoded and encoded again
    sent = pickle.loads(pickle.dumps(source))
    assert sent.reader.read(0) == data
    assert sent.fingerprint == source.fingerprint == load_images(f"hf:{tmp_path / 'one'}").fingerprint
    assert load_images(saved).fingerprint == source.fingerprint
    assert source.subset([0, 1]).fingerprint != source.fingerprint


def test_splits_of_a_saved_data_set(tmp_path, saved, datasets):
    datasets.DatasetDict({"train": saved, "test": saved.select([0])}).save_to_disk(tmp_path / "two")
    assert len(load_images(f"hf:{tmp_path / 'two'}#train")) == 3
    assert len(load_images(f"hf:{tmp_path / 'two'}#test")) == 1
    for spec in ("", "#val"):
        with pytest.raises(SourceError, match=r"name one of its splits, as in .*#train: train, test"):
            load_images(f"hf:{tmp_path / 'two'}{spec}")


def test_a_name_that_no_hub_or_cache_has(datasets):
    with pytest.raises(SourceError, match="hf:nobody/nothing#train cannot be opened"):
        load_images("hf:nobody/nothing#train")


def test_a_data_set_of_files_and_of_no_images(tmp_path, datasets, png):
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    paths = [str(tmp_path / f"{i}.png") for i in range(2)]
    dataset = datasets.Dataset.from_dict({"image": paths}).cast_column("image", datasets.Image())
    source = load_images(dataset)
    assert [source.reader.read(row) for row in range(2)] == [png(0), png(1)]
    (tmp_path / "1.png").unlink()
    with pytest.raises(UnreadableImageError, match="file is missing"):
        source.load(1)
    with pytest.raises(SourceError, match="the dataset has no column of images, only x"):
        load_images(datasets.Dataset.from_dict({"x": [1]}))


def test_whatever_a_dataset_raises_costs_one_image():
    class Broken:
        def __getitem__(self, position):
            if position == 1:
                raise ValueError("a cell that its feature cannot decode")
            return {"image": {"bytes": b"data", "path": None}}

    reader = DatasetsReader(Broken(), "image", np.arange(2))
    assert reader.read(0) == b"data"
    with pytest.raises(UnreadableImageError, match="dataset: ValueError: a cell that"):
        reader.read(1)


def test_threads_get_the_images_that_they_ask_for(tmp_path, write_parquet, png, monkeypatch):
    monkeypatch.setattr(parquet_module, "STEP", 400)  # a few rows a step
    source = load_images(f"hf:{write_parquet(tmp_path / 'a.parquet', range(200), rows=100)}")
    wanted = [row * 37 % 200 for row in range(600)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(source.read, wanted))
    assert found == [png(row) for row in wanted]


def test_what_is_not_one_table_is_refused():
    datasets = pytest.importorskip("datasets")
    one = datasets.Dataset.from_dict({"image": [b"x"]})
    with pytest.raises(SourceError, match=r"DatasetDict is not a table of images: .*, such as dataset\['train'\]"):
        load_images(datasets.DatasetDict({"train": one}))
    with pytest.raises(SourceError, match="IterableDataset is not a table of images"):
        load_images(one.to_iterable_dataset())


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="needs fork")
def test_a_process_that_is_forked_while_another_thread_reads_can_read(tmp_path, write_parquet, png):
    source = load_images(f"hf:{write_parquet(tmp_path / 'a.parquet', range(5))}")
    source.read(0)
    context = multiprocessing.get_context("fork")
    out = context.SimpleQueue()
    with source.reader._cursor._lock:
        process = context.Process(target=lambda: out.put(source.read(3)))
        process.start()
        process.join(20)
    assert process.exitcode == 0
    assert out.get() == png(3)
