import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from conceptprobe.indexing import index_activations
from conceptprobe.indexing.storage import files
from conceptprobe.indexing.storage.files import IndexFiles
from conceptprobe.indexing.storage.layout import layer_folder


@pytest.mark.parametrize(("room", "reads"), [(1, 4), (1 << 20, 2)])
def test_the_least_recently_used_arrays_leave_a_full_cache(
    room: int, reads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths: list[Path] = []
    monkeypatch.setattr(files, "CACHED_BYTES", room)
    monkeypatch.setattr(files, "load_file", lambda path, load=files.load_file: paths.append(path) or load(path))
    values = np.arange(12, dtype=np.float32).reshape(6, 2)
    index = index_activations(values, list("abcdef"), tmp_path / "i", layer="own", k=2, vectors=False)
    for _ in range(2):
        assert index.top("own:1").ids == ("f", "e")
        assert index.top("own:0").ids == ("f", "e")
        assert index.stats("own")["max"].tolist() == [10, 11]
    assert len(paths) == reads


def test_threads_can_share_a_full_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "CACHED_BYTES", 300)
    names = [f"layer{number}" for number in range(8)]
    for number, name in enumerate(names):
        folder = layer_folder(tmp_path, name)
        folder.mkdir(parents=True)
        save_file({"values": np.full(16, number, np.float64)}, folder / "top.safetensors")
    opened = IndexFiles(tmp_path)
    monkeypatch.setattr(files, "load_file", lambda path, load=files.load_file: time.sleep(0.0001) or load(path))
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            read = list(pool.map(lambda at: opened.arrays(names[at % 8], "top")["values"][0], range(2_000)))
    finally:
        sys.setswitchinterval(switching)
    assert read == [at % 8 for at in range(2_000)]
