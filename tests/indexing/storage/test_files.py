from pathlib import Path

import numpy as np
import pytest

from conceptprobe.indexing import index_activations
from conceptprobe.indexing.storage import files


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
