"""A model, a source and an index may be named by a spec or a path wherever they may be given as objects."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import conceptprobe as cp

LAYER = "blocks.5.mlp.out"
IMAGES = "mini:emoji/fxemoji"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cp.build_index("mini:clip", IMAGES, LAYER, tmp_path_factory.mktemp("named") / "index", workers=0).path


@pytest.fixture(scope="module")
def index(path: Path) -> cp.Index:
    return cp.open_index(path)


def test_scores_and_reports_by_a_path(path: Path, index: cp.Index, tmp_path: Path) -> None:
    scores = cp.score_features(path, visual=None)
    pd.testing.assert_frame_equal(scores.frame, cp.score_features(index, visual=None).frame)
    for number, indices in enumerate((path, index, [path], [index])):
        assert cp.write_report(tmp_path / str(number), indices, scores=[scores]).is_file()
    with pytest.raises(cp.OutputError, match="no earlier scores"):
        scores.save(path)
    assert cp.verify_index(path).ok


def test_features_are_found_by_names_alone(path: Path, index: cp.Index) -> None:
    model, images = cp.load_model("mini:clip"), cp.load_images(IMAGES)
    named = cp.find_features(str(path), text="cat", scorer="mini:clip", images=IMAGES, k=3, cache=None)
    given = cp.find_features(index, text="cat", scorer=model, images=images, k=3, cache=None)
    pd.testing.assert_frame_equal(named, given)


def test_a_visualization_by_a_spec_and_a_path(path: Path, index: cp.Index) -> None:
    named = cp.visualize("mini:clip", f"{LAYER}:3", index=path, steps=2)
    given = cp.visualize(cp.load_model("mini:clip"), f"{LAYER}:3", index=index, steps=2)
    np.testing.assert_array_equal(named.images_nhwc, given.images_nhwc)


def test_a_localisation_takes_the_name_of_one_layer(path: Path, index: cp.Index) -> None:
    concepts = cp.concepts_of(path)
    named = cp.localise(path, concepts, names=concepts.names[-3:], layers=LAYER, group=None)
    given = cp.localise(index, concepts, names=concepts.names[-3:], layers=[LAYER], group=None)
    pd.testing.assert_frame_equal(named.frame, given.frame)
    with pytest.raises(cp.IndexingError, match="has no layer 'activations'"):
        cp.localise(path, concepts, layers="activations")


def test_what_is_exported_is_there() -> None:
    assert cp.__version__
    assert {"fourier", "maco"} <= {*cp.PRESETS}
    assert "shuffle" in cp.PROBES
    assert repr(cp.objectives.feature(f"{LAYER}:3"))
    assert issubclass(cp.FolderBusyError, cp.OutputError)
