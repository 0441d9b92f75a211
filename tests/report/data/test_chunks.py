"""What the data files of a report say is what the index and the results say."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from conceptprobe.concepts.comparison.contrast import contrast
from conceptprobe.concepts.naming.names import FeatureNames
from conceptprobe.concepts.scoring.scores import score_features
from conceptprobe.concepts.scoring.verdicts import POSITIVE, VERDICTS, counted_verdicts
from conceptprobe.concepts.sets.from_index import concepts_of
from conceptprobe.concepts.statistics.enrichment import log_likelihood_ratio
from conceptprobe.indexing import build_index
from conceptprobe.indexing.activations import image_vectors
from conceptprobe.models import load_model
from conceptprobe.report import ReportError, write_report
from conceptprobe.report.collect.concepts import collect_concepts
from conceptprobe.report.collect.models import make_models
from conceptprobe.report.data.features import NAME_COLUMNS
from conceptprobe.report.scripts import number
from conceptprobe.visualization.results.record import VisualizationRecord
from conceptprobe.visualization.results.visualizations import Visualizations

LAYERS = ("blocks.4.mlp.hidden", "blocks.5.mlp.hidden")
WIDTH, K = 768, 6
SAMPLE = np.random.default_rng(0).choice(2 * WIDTH, 12, replace=False)


@pytest.fixture(scope="module")
def model():
    return load_model("mini:supervised@random", device="cpu")


@pytest.fixture(scope="module")
def index(model, make_source, tmp_path_factory):
    return build_index(
        model, make_source(), list(LAYERS), tmp_path_factory.mktemp("index") / "own", k=K, bottom=3, workers=0,
        batch_size=8,
    )  # fmt: skip


@pytest.fixture(scope="module")
def scores(index):
    return score_features(index, k=4, draws=200, visual=None)


def make_names(index) -> FeatureNames:
    """Two words and a concept for some features."""
    rows = [
        (layer, feature, "mean", source, rank, word, 1.5, 0.75, 0.01, 0.02, rank == 2, "labels", 3, "")
        for layer in index.layers
        for feature in (0, 5, 70)
        for source, rank, word in (("concepts", 1, "music"), ("words", 1, "tone"), ("words", 2, "sound"))
    ]
    frame = pd.DataFrame(rows, columns=["layer", "feature", "pooling", *NAME_COLUMNS])
    manifest = index.manifest
    settings = {
        "model": manifest.model["spec"], "source": manifest.source["spec"], "scorer": "mini:clip", "words": 2, "k": 5,
        "fingerprints": {"model": manifest.model["fingerprint"], "source": manifest.source["fingerprint"]},
        "layers": list(index.layers), "pooling": "mean", "q": 0.05, "seed": 0, "templates": ["{}"],
        "test_images": 9, "choosing_images": 9,
    }  # fmt: skip
    return FeatureNames(frame, settings)


def make_visualizations(index) -> Visualizations:
    """Of feature 70 of the last layer, twice, and of a text."""
    record = VisualizationRecord(
        "x:70", LAYERS[1], 70, "mean", 0, 0, 0, {"name": "fourier"}, 200, 8, (32, 32),
        {"spec": "mini:supervised", "fingerprint": index.manifest.model["fingerprint"]}, 1.25, None,
        tuple(np.arange(200.0)), None, {},
    )  # fmt: skip
    records = (replace(record, target="text('x')", layer=None, feature=None), record, replace(record, restart=1))
    images = np.zeros((3, 32, 32, 3), np.uint8)
    images[1, :, :, 0] = 250
    return Visualizations(images, records, np.repeat(images[:, None], 2, axis=1))


@pytest.fixture(scope="module")
def report(index, scores, tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "out"
    write_report(
        out, [index], scores=[scores], names=[make_names(index)], visualizations=[make_visualizations(index)], maps=True
    )
    return out


@pytest.fixture(scope="module")
def ids(report, read_data):
    return np.array(read_data(report, "images/0")["id"], object)


def chunk_of(report, read_data, feature):
    """The chunk of a feature by its number in the report, and its row there."""
    layer, own = divmod(int(feature), WIDTH)
    return read_data(report, f"features/0-{layer}-{own // 64}"), own % 64, f"{LAYERS[layer]}:{own}"


def assert_list(shown, row, top, ids):
    """A list of a chunk is one of the index's, image by image."""
    numbers = shown["images"][row]
    assert ids[numbers[numbers >= 0]].tolist() == list(top.ids)
    assert shown["values"][row][: len(top)].tolist() == top.values.tolist()
    if top.positions is None:
        assert shown["positions"] is None
    else:
        assert shown["positions"][row][: len(top)].tolist() == top.positions.tolist()


@pytest.mark.parametrize("feature", SAMPLE.tolist())
def test_every_list_is_the_indexs(report, read_data, index, ids, feature):
    chunk, row, name = chunk_of(report, read_data, feature)
    assert chunk["first"] + row == feature % WIDTH
    for at, pooling in enumerate(("mean", "max")):
        assert [chunk[kind][at]["pooling"] for kind in ("lists", "bottom", "strip")] == [pooling] * 3
        assert_list(chunk["lists"][at], row, index.top(name, K, pooling), ids)
        assert_list(chunk["bottom"][at], row, index.bottom(name, 3, pooling), ids)
        strip = chunk["strip"][at]
        for tenth, top in enumerate(index.strip(name, pooling)):
            parts = {key: strip[key] if strip[key] is None or key == "pooling" else strip[key][row] for key in strip}
            assert_list(parts, tenth, top, ids)


def test_every_number_of_a_feature_is_the_indexs(report, read_data, index, ids):
    random = ids[read_data(report, "report")["models"][0]["random"]]
    rows = pd.Index(index.images["id"]).get_indexer(random)
    assert len(rows) == 16
    high = [layer["high"]["mean"] for layer in read_data(report, "report")["models"][0]["layers"]]
    for feature in SAMPLE:
        chunk, row, name = chunk_of(report, read_data, feature)
        layer, own = name.split(":")
        stats = index.stats(layer).iloc[int(own)]
        for column in ("count", "nonfinite", "mean", "std", "min", "max", "firing_rate", "high_rate"):
            assert chunk["stats"][column][row] == np.float32(stats[column]), column
        assert chunk["stats"]["quantiles"][row].tolist() == [
            stats[f"q{level}"] for level in ["01", "05", "25", "50", "75", "95", "99"]
        ]
        values = image_vectors(index, layer, np.arange(18))[:, int(own)]
        assert chunk["random"][row].tolist() == values[rows].tolist()
        assert stats["high_rate"] == pytest.approx((values > high[LAYERS.index(layer)]).mean())
        counts, _ = np.histogram(values.astype(np.float64), 40, (float(stats["min"]), float(stats["max"])))
        assert chunk["histogram"]["images"] == 18
        assert chunk["histogram"]["counts"][row].tolist() == counts.tolist()
        expected = [
            (row.feature, pytest.approx(row.correlation, abs=1e-5)) for row in index.neighbours(name, 10).itertuples()
        ]
        assert [tuple(pair) for pair in chunk["neighbours"][row]] == expected


def test_scores_and_names_are_those_that_were_given(report, read_data, index, scores):
    catalogue = read_data(report, "catalogue")
    concepts = read_data(report, "concepts")["name"]
    columns = catalogue["columns"]
    for feature in SAMPLE:
        chunk, row, name = chunk_of(report, read_data, feature)
        known = scores.frame.iloc[feature]
        assert f"{known['layer']}:{known['feature']}" == name
        shown = chunk["scores"][row]
        for column in ("concept", "verdict", "reason", "hits", "k", "size", "second_concept"):
            assert shown[column] == (None if pd.isna(known[column]) else known[column]), column
        for column in ("llr", "p", "q", "p_random", "p_hub", "p_visual", "abstraction", "clarity"):
            assert shown[column] == number(known[column]), column
        curve = scores.curve[(scores.curve["layer"] == known["layer"]) & (scores.curve["feature"] == known["feature"])]
        assert [line[0] for line in chunk["curve"][row]] == curve["k"].tolist()
        assert [line[4] for line in chunk["curve"][row]] == [number(p) for p in curve["p"]]
        assert VERDICTS[columns["verdict"][feature]] == counted_verdicts(scores.frame)[feature]
        for column in ("llr", "p", "q"):
            np.testing.assert_array_equal(columns[column][feature], np.float32(known[column]))
        place = columns["concept"][feature, 0]
        assert (concepts[place] if place >= 0 else None) == known["concept"]
        if place >= 0:
            assert columns["hits"][feature] == known["hits"]
    assert columns["max"].tolist() == pd.concat([index.stats(layer) for layer in LAYERS])["max"].tolist()
    assert (columns["flags"] & 2 > 0).tolist() == scores.frame["tested"].tolist()
    assert "clarity" not in columns

    named = np.flatnonzero(columns["word"] >= 0)
    assert named.tolist() == [0, 5, 70, WIDTH, WIDTH + 5, WIDTH + 70]
    assert {catalogue["words"][word] for word in columns["word"][named]} == {"tone"}
    assert {catalogue["words"][word] for word in columns["named"][named]} == {"music"}
    assert (columns["auc"][named] == 0.75).all()
    chunk, row, _ = chunk_of(report, read_data, 70)
    assert [line[:3] for line in chunk["names"][row]] == [
        ["concepts", 1, "music"],
        ["words", 1, "tone"],
        ["words", 2, "sound"],
    ]
    assert chunk["names"][row + 1] == []


def test_the_first_images_of_a_card_are_those_of_the_index(report, read_data, index, ids):
    top = read_data(report, "catalogue")["columns"]["top"]
    rows = np.concatenate([index.lists(layer).rows[:, :6] for layer in LAYERS])
    assert ids[top].tolist() == index.images["id"].to_numpy()[rows].tolist()


def test_a_concepts_page_has_its_images_and_features(report, read_data, index, ids, scores):
    concepts, chunk = read_data(report, "concepts"), read_data(report, "concepts/0")
    family = concepts_of(index)
    assert concepts["name"] == list(family.names)
    assert concepts["size"].tolist() == family.sizes.tolist()
    music = concepts["name"].index("music")
    assert set(ids[chunk["images"][music]]) == set(index.images["id"].iloc[family.rows("music")])
    columns = read_data(report, "catalogue")["columns"]
    held = [name for name, verdict in zip(scores.frame["concept"], scores.frame["verdict"], strict=True)
            if verdict in POSITIVE]  # fmt: skip
    assert concepts["held"][:, 0].tolist() == [held.count(name) for name in family.names]
    assert concepts["listed"][:, 0].tolist() == [(columns["concept"] == at).sum() for at in range(len(family))]
    for feature, hits, llr, _p, _q in chunk["features"][music][:5]:
        layer, own = divmod(feature, WIDTH)
        top = index.top(f"{LAYERS[layer]}:{own}", 4)
        assert hits == sum("music" in tags for tags in index.images.set_index("id").loc[list(top.ids), "tags"])
        assert llr == number(float(log_likelihood_ratio(hits, 4, family.sizes[music], 18)))
    assert sorted(chunk["features"][music], key=lambda line: -line[2]) == chunk["features"][music]


def test_maps_are_the_models_activations(report, read_data, index, model, make_source):
    source = make_source()
    feature = 70
    chunk = read_data(report, f"maps/0-1-{feature // 64}")
    row = feature % 64
    top = index.top(f"{LAYERS[1]}:{feature}", K)
    pixels = torch.stack([model.preprocess(source.load(source.row_of(id_)).image) for id_ in top.ids])
    with torch.inference_mode():
        acts_kp = model.capture(pixels, LAYERS[1])[LAYERS[1]][:, 1:, feature].numpy()
    low, high = chunk["low"][row], chunk["high"][row]
    assert chunk["grid"] == [6, 6]
    assert low == pytest.approx(acts_kp.min(), abs=1e-4)
    assert high == pytest.approx(acts_kp.max(), abs=1e-4)
    shown = low + (high - low) * chunk["maps"][row][: len(top)] / 255
    np.testing.assert_allclose(shown, acts_kp, atol=1e-4 + (high - low) / 500)
    assert np.allclose(acts_kp.mean(1), top.values, atol=1e-4)


def test_visualizations_stand_at_their_feature(report, read_data):
    chunk = read_data(report, "features/0-1-1")
    first, second = chunk["visualizations"][70 - 64]
    assert (first["n"], second["n"], second["restart"]) == (1, 2, 1)
    assert first["animation"]
    assert first["activation"] == 1.25
    assert len(first["curve"]) == 64
    assert (first["curve"][0], first["curve"][-1]) == (0, 199)
    assert (report / "vis" / "1-animation.webp").is_file()
    assert read_data(report, "visualizations")["other"][0]["target"] == "text('x')"
    vis = read_data(report, "catalogue")["columns"]["vis"]
    assert np.flatnonzero(vis >= 0).tolist() == [WIDTH + 70]
    assert read_data(report, "report")["has"]["visualizations"] == 3


def test_visualizations_of_another_model_are_refused_by_name(index, make_index, tmp_path):
    other = make_index(np.random.default_rng(0).normal(size=(18, 3)))
    with pytest.raises(ReportError, match="the visualization of text\\('x'\\) is of mini:supervised"):
        write_report(tmp_path / "report", [other], visualizations=[make_visualizations(index)])
    assert list(tmp_path.iterdir()) == []


def test_visualizations_come_from_their_folder_too(index, tmp_path, read_data):
    make_visualizations(index)[1:].save(tmp_path / "vis", animate="gif")
    write_report(tmp_path / "report", [index], visualizations=[tmp_path / "vis"])
    with Image.open(tmp_path / "report" / "vis" / "0.webp") as picture:
        assert picture.convert("RGB").getpixel((5, 5))[0] > 245
    with Image.open(tmp_path / "report" / "vis" / "1-animation.webp") as animation:
        assert animation.size == (32, 32)
    with Image.open(tmp_path / "report" / "vis" / "sheet-0.webp") as sheet:
        assert sheet.size == (128, 128)
    assert read_data(tmp_path / "report", "report")["has"]["visualizations"] == 2


def test_a_contrast_names_features_by_their_numbers(make_index, make_source, tmp_path, read_data):
    rng = np.random.default_rng(1)
    acts, source = rng.normal(size=(18, 30)), make_source()
    order = rng.permutation(30)
    indices = [
        make_index(acts, spec="one:a", source=source, k=8),
        make_index(acts[:, order] + 0.01 * rng.normal(size=(18, 30)), spec="two:b", source=source, k=8),
    ]
    scores = [score_features(index, k=4, draws=200, visual=None) for index in indices]
    found = contrast(*indices, scores=scores, resamples=2)
    write_report(tmp_path / "report", indices, scores=scores[::-1], contrasts=[found])
    columns = read_data(tmp_path / "report", "catalogue")["columns"]
    assert columns["match"].tolist() == [*(30 + np.argsort(order)), *order]
    matches = read_data(tmp_path / "report", "matches/0")
    assert matches["feature"].tolist() == [*range(30), *range(30, 60)]
    assert matches["other"].tolist() == columns["match"].tolist()
    assert matches["r"].tolist() == found.matches["r"].astype(np.float32).tolist()
    (data,) = read_data(tmp_path / "report", "contrast")
    assert data["models"] == [0, 1]
    assert data["words"] == found.summary().split("\n")
    assert [row["difference"] for row in data["differences"]] == [number(d) for d in found.differences["difference"]]
    for number_, side in enumerate(data["concepts"]["models"]):
        own = found.concepts[found.concepts["model"] == found.settings["models"][number_]]
        assert [data["states"][state] for state in side["state"]] == own["state"].tolist()
        expected = [-1 if pd.isna(feature) else 30 * number_ + feature for feature in own["feature"]]
        assert side["feature"].tolist() == expected
    chunk = read_data(tmp_path / "report", "features/1-0-0")
    assert chunk["matches"][7][0][0] == order[7]


def test_given_concepts_must_be_those_of_the_scores(index, scores, tmp_path):
    family = concepts_of(index, "columns:style")
    (model,) = make_models([index], [scores])
    with pytest.raises(
        Exception, match=f"are based on {len(concepts_of(index))} concepts that are not the {len(family)} of the report"
    ):
        write_report(tmp_path / "report", [index], scores=[scores], concepts=family)
    own = score_features(index, family, k=4, draws=200, visual=None)
    (model,) = make_models([index], [own])
    found = collect_concepts([model])
    assert found.family is None
    assert "give the report the same --taxonomy" in str(found.note)
    assert set(own.frame["concept"].dropna()) <= set(found.names)
    assert collect_concepts([model], family).family is family
