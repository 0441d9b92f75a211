from pathlib import Path

import numpy as np
import pytest

from conceptprobe.concepts.scoring.scores import load_scores
from conceptprobe.demo import run_demo
from conceptprobe.indexing import open_index
from conceptprobe.indexing.storage.manifest import Counts


@pytest.mark.slow
def test_the_main_job_on_the_embedded_default(tmp_path: Path) -> None:
    page = run_demo(tmp_path / "demo")
    assert page == tmp_path / "demo" / "report" / "index.html"
    for twin in ("mini-clip", "mini-supervised"):
        index = open_index(tmp_path / "demo" / "indices" / twin)
        assert index.manifest.counts == Counts(listed=12359, indexed=12359)
        assert index.layers == tuple(f"blocks.{i}.mlp.hidden" for i in (2, 3, 4, 5))
        # A trained feature shows one object in several hands far more often than chance would.
        rows, _ = index.top_rows(index.layers[-1])
        labels = index.images["label"].astype("category").cat.codes.to_numpy()
        distinct = np.array([len(set(row)) for row in labels[rows[:, :8]]])
        chance = np.array([len(set(np.random.default_rng(i).choice(labels, 8))) for i in range(len(distinct))])
        assert distinct.mean() < chance.mean() - 1
        scores = load_scores(tmp_path / "demo" / "scores" / twin)
        assert len(scores) == 4 * 768
        assert {"object", "conceptual", "unresolved"} <= set(scores.frame["verdict"])
    summary = (tmp_path / "demo" / "contrast" / "summary.txt").read_text(encoding="utf-8")
    assert "mini:clip" in summary or "mini-clip" in summary
