from pathlib import Path

import faiss
import numpy as np
import pytest

from conceptprobe.indexing.vectors import FlatIndexWriter, read_flat


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
    np.testing.assert_array_equal(read_flat(tmp_path / "ours").reconstruct_n(0, 7), vectors)
