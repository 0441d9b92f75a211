import resource
import sys
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import pytest

from conceptprobe.indexing import IndexingError, MissingFaissError
from conceptprobe.indexing.storage.factory import Factory
from conceptprobe.indexing.storage.faiss_files import FlatIndexWriter, map_flat, read_faiss, write_factory, write_flat


@pytest.mark.parametrize("parts", [[7], [3, 4], [1] * 7, [0, 7]])
def test_writes_the_bytes_that_faiss_writes(tmp_path: Path, parts: list[int]) -> None:
    vectors = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    whole = faiss.IndexFlatIP(5)
    whole.add(vectors)
    faiss.write_index(whole, str(tmp_path / "theirs"))
    writer = FlatIndexWriter(tmp_path / "ours", 5)
    for part in np.split(vectors, np.cumsum(parts)[:-1]):
        writer.add(part)
    writer.close()
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    np.testing.assert_array_equal(read_faiss(tmp_path / "ours").reconstruct_n(0, 7), vectors)


@pytest.mark.parametrize("text", ["Flat", "SQ8", "IVF2,Flat"])
def test_an_unknown_layout_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serialize = faiss.serialize_index
    vectors = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    write_factory(tmp_path / "known", vectors, Factory.parse("SQ8"))
    monkeypatch.setattr(faiss, "serialize_index", lambda index: np.append(serialize(index), np.uint8(index.ntotal)))
    write = write_flat if text == "Flat" else partial(write_factory, factory=Factory.parse(text))
    with pytest.raises(IndexingError, match=r"FAISS .* cannot write: install one of the versions"):
        write(tmp_path / "i", vectors)
    assert not (tmp_path / "i").exists()


def test_a_flat_index_of_another_size_or_kind_is_refused(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).standard_normal((9, 5)).astype(np.float32)
    write_flat(tmp_path / "flat", vectors)
    np.testing.assert_array_equal(map_flat(tmp_path / "flat", 5, 9), vectors)
    write_factory(tmp_path / "codes", vectors, Factory.parse("SQ8"))
    (tmp_path / "short").write_bytes((tmp_path / "flat").read_bytes()[:-4])
    for name, width, rows in (("flat", 5, 8), ("flat", 4, 9), ("codes", 5, 9), ("short", 5, 9)):
        with pytest.raises(IndexingError, match=f"no flat FAISS index of {rows} vectors"):
            map_flat(tmp_path / name, width, rows)


def test_what_to_install_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)  # as if it were not installed
    for act in (lambda: FlatIndexWriter(tmp_path / "i", 5), lambda: read_faiss(tmp_path / "i")):
        with pytest.raises(MissingFaissError, match=r"conceptprobe\[cpu\].*conceptprobe\[gpu\]"):
            act()
    assert not list(tmp_path.iterdir())


def test_a_large_index_is_not_read_into_memory(tmp_path: Path) -> None:
    writer = FlatIndexWriter(tmp_path / "i", 1024)
    for _ in range(64):
        writer.add(np.ones((256, 1024), np.float32))
    writer.close()
    assert (tmp_path / "i").stat().st_size > 64 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read_faiss(tmp_path / "i")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10  # KiB
