import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import faiss
import numpy as np
import pytest

from conceptprobe.indexing import IndexingError
from conceptprobe.indexing.storage import faiss_files as factory
from conceptprobe.indexing.storage.factory import Factory
from conceptprobe.indexing.storage.faiss_files import on_gpu, read_faiss, search_parameters, trained, write_factory
from conceptprobe.models import Layer

FORMS = ["SQfp16", "SQbf16", "SQ8", "SQ6", "SQ4", "PQ16", "IVF32,Flat", "IVF32,SQfp16", "IVF32,SQ4", "IVF32,PQ16"]


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    """Two thousand vectors of few directions and some noise."""
    rng = np.random.default_rng(0)
    plane = rng.standard_normal((2000, 8)) @ rng.standard_normal((8, 64))
    return (plane + 0.1 * rng.standard_normal(plane.shape)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("text", FORMS)
def test_writes_the_bytes_that_faiss_writes(
    text: str, vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factory, "BLOCK_BYTES", 4 * 64 * 300)  # seven blocks
    theirs = trained(vectors, Factory.parse(text))
    theirs.add(vectors)
    faiss.write_index(theirs, str(tmp_path / "theirs"))
    write_factory(tmp_path / "ours", vectors, Factory.parse(text))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize("text", FORMS)
def test_vectors_come_back(text: str, vectors: np.ndarray, tmp_path: Path) -> None:
    write_factory(tmp_path / "i", vectors, Factory.parse(text))
    index = read_faiss(tmp_path / "i")
    back = index.reconstruct_n(1990, 10)
    size = np.abs(vectors).max()
    allowed = {"Flat": 0, "SQfp16": 2**-11, "SQbf16": 2**-8, "SQ8": 2**-8, "SQ6": 2**-6, "SQ4": 2**-4, "PQ16": 0.3}
    # of several lists every one has a range of its own for its codes, which may be wider than that of all vectors
    assert np.abs(back - vectors[1990:]).max() <= 2 * size * allowed[text.rpartition(",")[2]]


@pytest.mark.slow
def test_the_number_of_threads_changes_nothing(vectors: np.ndarray, tmp_path: Path) -> None:
    before = faiss.omp_get_max_threads()
    try:
        for threads in (1, 2):
            faiss.omp_set_num_threads(threads)
            write_factory(tmp_path / str(threads), vectors, Factory.parse("IVF16,PQ8"))
    finally:
        faiss.omp_set_num_threads(before)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


@pytest.mark.parametrize("text", ["SQfp16", "IVF8,Flat"])
def test_memory_does_not_grow_with_the_vectors(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "BLOCK_BYTES", 1 << 18)
    monkeypatch.setattr(factory, "CODEBOOK", 1)
    peaks = []
    for rows in (2_000, 20_000):
        mapped = np.memmap(tmp_path / "vectors", np.float32, "w+", shape=(rows, 256))
        mapped[:] = np.random.default_rng(0).random((rows, 256), np.float32)
        tracemalloc.start()
        write_factory(tmp_path / "i", mapped, Factory.parse(text))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 1_000_000, peaks  # the vectors grew by 18 MB


@pytest.mark.parametrize("text", ["", "flat", "HNSW32", "IVF0,Flat", "IVF8", "PQ", "OPQ16,PQ16", "IVF8,Flat ", 7])
def test_other_forms_are_refused(text: str) -> None:
    with pytest.raises(IndexingError, match="give Flat"):
        Factory.parse(text)


def test_what_cannot_be_trained_is_refused() -> None:
    layer = Layer("final", width=64, kind="vector", prefix=0, grid=None)
    Factory.parse("IVF100,Flat").check(layer, 100)
    Factory.parse("SQ8").check(layer, 1)
    for text, images, why in [
        ("IVF100,Flat", 99, "at least 100 images"),
        ("PQ16", 255, "at least 256 images"),
        ("IVF300,PQ16", 299, "at least 300 images"),
        ("PQ24", 1000, "no 24 equal parts"),
    ]:
        with pytest.raises(IndexingError, match=why):
            Factory.parse(text).check(layer, images)


def test_how_many_lists_to_look_into(vectors: np.ndarray, tmp_path: Path) -> None:
    write_factory(tmp_path / "i", vectors, Factory.parse("IVF32,Flat"))
    index, exact = read_faiss(tmp_path / "i"), faiss.IndexFlatIP(64)
    exact.add(vectors)
    assert index.nprobe == 2
    assert search_parameters(index, None) is None
    queries = np.random.default_rng(1).standard_normal((50, 64)).astype(np.float32)
    expected = exact.search(queries, 10)[1]

    def recall(nprobe: int | None) -> float:
        found = index.search(queries, 10, params=search_parameters(index, nprobe))[1]
        return np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, expected, strict=True)])

    assert recall(1) < recall(None) < recall(32) == 1
    for wrong in (0, 33):
        with pytest.raises(IndexingError, match="32 inverted lists"):
            search_parameters(index, wrong)
    with pytest.raises(IndexingError, match="no inverted lists"):
        search_parameters(exact, 1)


class FakeGpu:
    """Stands in for faiss-gpu on a machine that has one."""

    StandardGpuResources = object

    def __init__(self, gpus: int, fits: bool = True) -> None:
        self.gpus, self.fits = gpus, fits

    def get_num_gpus(self) -> int:
        return self.gpus

    def index_cpu_to_gpu(self, resources: object, device: int, index: object) -> object:
        if not self.fits:
            raise RuntimeError("out of memory")
        return SimpleNamespace(device=device, index=index)


@pytest.mark.parametrize(("gpus", "fits", "moved"), [(0, True, False), (1, True, True), (2, False, False)])
def test_the_gpu_is_taken_where_there_is_one(
    gpus: int, fits: bool, moved: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conceptprobe.indexing.storage.faiss_files.require_faiss", lambda purpose: FakeGpu(gpus, fits))
    index = object()
    if moved:
        assert on_gpu(index) == SimpleNamespace(device=0, index=index)
    else:
        assert on_gpu(index) is index
