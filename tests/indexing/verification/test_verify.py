import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import load_file, save_file

from conceptprobe.errors import OutputError
from conceptprobe.images import load_images
from conceptprobe.indexing import IndexingError, Verification, build_index, load_verification, verify_index
from conceptprobe.indexing.storage.manifest import Counts, Manifest, hash_files
from conceptprobe.models import load_model
from tests.indexing.index_files import make_folder, picture

LAYER = "layers/final"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("verify")
    make_folder(root / "images", 30)
    (root / "images" / "class0" / "0012a.png").write_bytes(b"")
    build_index(
        load_model("mini:supervised@random", device="cpu"), load_images(f"folder:{root / 'images'}"), "final",
        root / "index", k=12, bottom=40, batch_size=8, workers=0, growable=True,
    )  # fmt: skip
    return root / "index"


@pytest.fixture
def index(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "index")
    return tmp_path / "index"


def problems(index: Path, **settings: Any) -> str:
    return "\n".join(verify_index(index, **settings).problems)


def resign(index: Path, **changes: Any) -> None:
    """Make the hashes right again, as if the index had been made wrong."""
    replace(Manifest.read(index), files=hash_files(index), **changes).write(index)


def test_a_good_index(index: Path) -> None:
    found = verify_index(index)
    assert found.ok
    assert found.problems == ()
    assert "16 images run again" in found.checked[-1]
    assert int(found.checked[-1].split()[4]) > 1000


FILES = [
    "images.parquet", "skipped.parquet", "state.safetensors", f"{LAYER}/top.safetensors", f"{LAYER}/bottom.safetensors",
    f"{LAYER}/stats.safetensors", f"{LAYER}/strips.safetensors", f"{LAYER}/images.faiss", f"{LAYER}/features.faiss",
    f"{LAYER}/sample-mean.bin", f"{LAYER}/sample-max.bin", f"{LAYER}/sample-max-positions.bin",
]  # fmt: skip


def test_every_file_is_named_when_it_is_damaged(index: Path) -> None:
    assert sorted(Manifest.read(index).files) == sorted(FILES)
    for name in FILES:
        whole = (index / name).read_bytes()
        data = bytearray(whole)
        data[len(data) // 2] ^= 4
        (index / name).write_bytes(data)
        assert problems(index, images_again=0) == f"{name} has changed"
        (index / name).unlink()
        assert problems(index, images_again=0) == f"{name} is missing"
        (index / name).write_bytes(whole)
    (index / "notes.txt").write_text("x")
    assert problems(index, images_again=0) == "notes.txt is not a file of the index"


def swap(arrays: dict[str, np.ndarray], name: str) -> None:
    arrays[name][5, [0, 1]] = arrays[name][5, [1, 0]]


def put(place: tuple, value: float) -> Callable[[dict[str, np.ndarray], str], None]:
    def change(arrays: dict[str, np.ndarray], name: str) -> None:
        arrays[name][place] = value

    return change


def double(arrays: dict[str, np.ndarray], name: str) -> None:
    arrays[name][5, 1] = arrays[name][5, 0]


def again(arrays: dict[str, np.ndarray], name: str) -> None:
    arrays[name][4, 0, 0] = arrays[name][4, 9, 0]


DAMAGES = [
    ("top", "mean.values", swap, "final, mean, top: values are out of order, or ties not by id (feature 5; 1 of 192)"),
    ("top", "mean.rows", swap, "final, mean: the top list is not that of the image vectors (feature 5"),
    ("top", "mean.rows", double, "an image is listed twice (feature 5"),
    ("top", "max.rows", put((7, 11), -1), "a list has not an entry for each of its images (feature 7"),
    ("top", "max.rows", put((7, 3), 30), "a row is not one of the 30 images (feature 7"),
    ("top", "max.values", put((7, 3), np.nan), "a listed value is not finite (feature 7"),
    ("top", "max.positions", put((9, 3), 36), "a position is no patch (feature 9"),
    ("top", "max.values", put((9, 0), 1e6), "max is not the first of the top list (feature 9"),
    ("top", "mean.values", lambda a, n: a[n].__imul__(1.0001), "mean, state.safetensors: the top list is another"),
    ("bottom", "mean.values", swap, "final, mean, bottom: values are out of order"),
    ("bottom", "max.values", put((9, 0), -1e6), "min is not the first of the bottom list (feature 9"),
    ("bottom", "max.positions", put((9, 35), 0), "a position is no patch (feature 9"),
    ("stats", "mean.count", put((3,), 29), "counts do not add up to 30 images (feature 3"),
    ("stats", "mean.mean", put((3,), 1e3), "mean is not between min and max (feature 3"),
    ("stats", "mean.mean", lambda a, n: a[n].__iadd__(1e-3), "the mean is not that of the image vectors"),
    ("stats", "max.std", put((3,), 1e3), "std is not possible for min and max (feature 3"),
    ("stats", "max.firing_rate", put((3,), 0.512345), "firing_rate is no share of the images (feature 3"),
    ("stats", "max.firing_rate", lambda a, n: a[n].fill(0.1), "firing_rate is not that of the top list"),
    ("stats", "max.high_rate", put((3,), np.nan), "high_rate is no number, or is one of no images (feature 3"),
    ("stats", "max.high_rate", put((3,), 1.5), "high_rate is no share (feature 3"),
    ("stats", "max.quantiles", put((2, 3), 99.0), "quantiles are out of order or out of range (feature 3"),
    ("strips", "mean.rows", again, "an image is there twice (feature 4"),
    ("strips", "mean.rows", put((4, 2, 0), 31), "a row is not one of the 30 images (feature 4"),
    ("strips", "mean.rows", put((4, 2, 2), -1), "a tenth has too many or too few images (feature 4"),
    ("strips", "mean.rows", put((4, 2, 1), -1), "a tenth has a gap (feature 4"),
    ("strips", "mean.values", put((4, 2, 0), 1e9), "a value is out of range (feature 4"),
    ("strips", "mean.values", put((4, 9, 2), -1e9), "values are out of order (feature 4"),
    ("strips", "max.positions", put((4, 9, 0), -1), "a position is no patch (feature 4"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "name", "damage", "message"), DAMAGES, ids=range(len(DAMAGES)))
def test_every_invariant_is_checked(
    kind: str, name: str, damage: Callable[[dict[str, np.ndarray], str], None], message: str, index: Path
) -> None:
    path = index / LAYER / f"{kind}.safetensors"
    arrays = load_file(path)
    damage(arrays, name)
    save_file(arrays, path)
    resign(index)
    assert message in problems(index, images_again=0)


def test_tables_that_do_not_fit(index: Path) -> None:
    table = pq.read_table(index / "images.parquet")
    for changed, message in [
        (table.slice(1), "images.parquet has 29 rows, the manifest counts 30"),
        (table.take(pa.array([1, 0, *range(2, 30)])), "images.parquet: ids are out of order"),
        (
            table.drop_columns("content_hash").append_column("content_hash", pa.array(["x"] * 30)),
            "a content hash is none",
        ),
        (table.drop_columns("id"), "images: cannot be read (KeyError"),
    ]:
        pq.write_table(changed, index / "images.parquet")
        resign(index)
        assert message in problems(index, images_again=0)
    pq.write_table(table, index / "images.parquet")
    pq.write_table(pa.table({"id": table["id"].slice(0, 1), "reason": [""]}), index / "skipped.parquet")
    resign(index, counts=Counts(32, 30, 1))
    found = problems(index, images_again=0)
    assert "counts do not add up" in found
    assert "1 images are both indexed and skipped, such as 'class0/0000.png'" in found
    assert "a reason is missing" in found


def test_images_that_are_run_again(index: Path, made: Path, tmp_path: Path) -> None:
    clip = load_model("mini:clip@random", device="cpu")
    assert "mini:clip@random is not the model that" in problems(index, model=clip)
    shutil.copytree(made.parent / "images", tmp_path / "images")
    images = load_images(f"folder:{tmp_path / 'images'}")
    assert verify_index(index, images=images, images_again=30).ok
    picture(77).save(tmp_path / "images" / "class0" / "0003.png")
    (tmp_path / "images" / "class1" / "0004.png").write_bytes(b"")
    found = verify_index(index, images=images, images_again=30).problems
    assert sorted(found) == [
        "'class0/0003.png' is not the image that was indexed",
        "'class1/0004.png' was indexed and cannot be read: empty file",
    ]
    (tmp_path / "images" / "class1" / "0004.png").unlink()
    assert "class1/0004.png" in problems(index, images=load_images(images.spec), images_again=30)


def test_values_that_the_model_does_not_give(index: Path, tmp_path: Path) -> None:
    model = load_model("mini:supervised@random", device="cpu")
    images = load_images(Manifest.read(index).source.spec)
    with model.intervene({"blocks.5.mlp.hidden": lambda acts: acts * 1.05}):
        other = build_index(model, images, "final", tmp_path / "other", batch_size=8, workers=0)
    assert verify_index(other.path).checked[-1] == (
        "no image run again: the model alone does not give these activations"
    )
    resign(other.path, model=replace(other.manifest.model, intervened=False))
    assert "values of 'class" in problems(other.path)
    assert "are not what the model gives, such as" in problems(other.path)


def test_a_source_that_is_gone_is_no_problem_of_the_index(index: Path) -> None:
    resign(index, source=replace(Manifest.read(index).source, spec="folder:gone"))
    found = verify_index(index)
    assert found.ok
    assert "no image run again: " in found.checked[-1]
    with pytest.raises(IndexingError, match="does not exist"):
        verify_index(index / "no")


def test_images_that_would_be_decoded_otherwise_are_not_compared(index: Path) -> None:
    source = replace(Manifest.read(index).source, fast_decode="nvjpeg")
    resign(index, source=source)
    found = verify_index(index)
    assert found.ok
    assert found.checked[-1] == "no image run again: images were decoded by nvjpeg, here they would be by scaled"


def test_without_faiss_the_rest_is_checked(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    found = verify_index(index)
    assert found.ok
    assert "vectors only by their hashes: FAISS is not installed" in found.checked
    assert "16 images run again" in found.checked[-1]


def test_a_verification_is_a_table_that_can_be_saved(index: Path, tmp_path: Path) -> None:
    (index / "notes<b>.md").write_text("mine")
    found = verify_index(index)
    assert found.frame.to_dict("list") == {
        "result": ["checked", "wrong"],
        "text": [f"{len(FILES)} files", "notes<b>.md is not a file of the index"],
    }
    assert found.summary().to_dict("records") == [{"index": str(index), "ok": False, "checked": 1, "wrong": 1}]
    assert "notes&lt;b&gt;.md is not a file" in found._repr_html_()
    assert load_verification(found.save(tmp_path / "saved")) == found
    fine = Verification(index, (), ("1 files",))
    assert load_verification(fine.save(tmp_path / "saved")) == fine
    with pytest.raises(OutputError, match="conceptprobe index verify INDEX --out"):
        load_verification(index)
