import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from conceptprobe.images import SourceError, UnreadableImageError, load_images, metadata


@pytest.fixture
def images(tmp_path, write_images):
    return write_images(tmp_path, ["pics/a.png", "pics/b.png", "c.png"])


@pytest.mark.parametrize("column", ["path", "image", "file_name"])
def test_csv(tmp_path, images, column):
    (tmp_path / "t.csv").write_text(
        f"{column},label,tags,score\npics/b.png,01,dead|music,0.5\nc.png,,,1\npics/a.png,NA,x,2\n", encoding="utf-8-sig"
    )
    source = load_images(f"table:{tmp_path / 't.csv'}")
    assert source.table.to_pydict() == {
        "id": ["c.png", "pics/a.png", "pics/b.png"],
        "label": [None, "NA", "01"],
        "tags": [[], ["x"], ["dead", "music"]],
        "score": [1.0, 2.0, 0.5],
    }
    assert [source.reader.read(row) for row in range(3)] == [images[id] for id in source.table["id"].to_pylist()]


def test_parquet_with_ids_of_its_own(tmp_path, images):
    table = pa.table(
        {
            "id": [3, 1, 2],
            "path": ["c.png", "pics/a.png", str(tmp_path / "pics" / "b.png")],
            "label": pa.array(["x", "y", "x"]).dictionary_encode(),
            "tags": pa.array([["a"], None, []], pa.large_list(pa.large_string())),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    source = load_images(f"table:{tmp_path / 't.parquet'}")
    assert source.table.to_pydict() == {
        "id": ["1", "2", "3"],
        "path": ["pics/a.png", str(tmp_path / "pics" / "b.png"), "c.png"],
        "label": ["y", "x", "x"],
        "tags": [[], [], ["a"]],
    }
    assert source.table.schema.field("label").type == pa.string()
    assert [source.reader.read(row) for row in range(3)] == [images[id] for id in ("pics/a.png", "pics/b.png", "c.png")]


def test_jsonl(tmp_path, images):
    (tmp_path / "t.jsonl").write_text('{"path": "c.png", "tags": ["a"], "label": 4}\n')
    assert load_images(f"table:{tmp_path / 't.jsonl'}").table.to_pydict() == {
        "id": ["c.png"],
        "tags": [["a"]],
        "label": ["4"],
    }


def test_a_missing_file_is_one_bad_image(tmp_path, images):
    (tmp_path / "t.csv").write_text("path\nc.png\nnope.png\n")
    source = load_images(f"table:{tmp_path / 't.csv'}")
    with pytest.raises(UnreadableImageError, match="file is missing"):
        source.load(source.row_of("nope.png"))
    assert source.load(source.row_of("c.png")).image.size == (4, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\nc.png,x\n", "no column of paths, only file, label: name it path, image or file_name"),
        ("path,label\n", "has no rows"),
        ("path,label\nc.png,x\n,y\n", "1 rows have no path, the first is row 1"),
        ("path\nimages/c.png\nimages/d.png\n", "no file at the first 2 paths"),
        ("path,id\nc.png,1\npics/a.png,\n", "1 rows have no id, the first is row 1"),
        ("path\nc.png\nc.png\n", "1 rows repeat the id of another row, for example 'c.png'"),
    ],
)
def test_bad_tables(tmp_path, images, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(SourceError, match=message):
        load_images(f"table:{tmp_path / 't.csv'}")


def test_embedded_images_are_not_paths(tmp_path):
    table = pa.table({"image": [{"bytes": b"...", "path": "a.png"}]})
    pq.write_table(table, tmp_path / "t.parquet")
    with pytest.raises(SourceError, match="'image' must hold paths, not struct"):
        load_images(f"table:{tmp_path / 't.parquet'}")


def test_a_column_that_cannot_be_text(tmp_path, images):
    pq.write_table(pa.table({"path": ["c.png"], "label": [{"name": "x"}]}), tmp_path / "t.parquet")
    with pytest.raises(SourceError, match="the column 'label' of type struct"):
        load_images(f"table:{tmp_path / 't.parquet'}")
    pq.write_table(pa.table({"path": ["c.png"], "tags": [5]}), tmp_path / "t.parquet")
    with pytest.raises(SourceError, match="the column 'tags' of type int64"):
        load_images(f"table:{tmp_path / 't.parquet'}")


def test_files_that_are_no_table(tmp_path):
    with pytest.raises(SourceError, match="is not a file"):
        load_images(f"table:{tmp_path / 'nope.csv'}")
    (tmp_path / "t.xlsx").write_text("x")
    with pytest.raises(SourceError, match=r"\.csv, \.jsonl or \.parquet"):
        load_images(f"table:{tmp_path / 't.xlsx'}")
    (tmp_path / "t.parquet").write_text("x")
    with pytest.raises(SourceError, match="cannot be read as a table"):
        load_images(f"table:{tmp_path / 't.parquet'}")


def test_columns_of_one_name_are_refused_and_an_indexs_own_hashes_are_left_out(tmp_path, images):
    (tmp_path / "t.csv").write_text("path,label,note,note\nc.png,1,2,3\n")
    with pytest.raises(SourceError, match="several columns are named 'note': give each a different name"):
        load_images(f"table:{tmp_path / 't.csv'}")
    (tmp_path / "t.csv").write_text("path,content_hash\nc.png,abc\n")
    assert load_images(f"table:{tmp_path / 't.csv'}").table.column_names == ["id"]


def test_rows_are_taken_in_pieces(monkeypatch):
    monkeypatch.setattr(metadata, "TAKEN", 3)
    table = pa.table({"id": [str(i) for i in range(10)]})
    for rows in ([], [4], [9, 0, 0, 5], list(range(9, -1, -1))):
        assert metadata.take_rows(table, np.array(rows, np.int64))["id"].to_pylist() == [str(row) for row in rows]
